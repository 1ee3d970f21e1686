"""Do jobs of quantised models in the tflite target's own environment; print what its diagnosis found.

Arguments: a folder.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import diagnosis
import inside
import noise
import tflitenets as nets
from tfliteshop import Shop

shop, found = Shop(Path(sys.argv[1])), {}
eight = shop.values((1, 3, 8, 8), 8)
four = eight[:4]

conv = nets.convolutions()
healthy = shop.job("healthy", conv, "uint8", samples=eight[:2], calibration=eight)
found["healthy"] = shop.done(healthy)
found["inside"] = asdict(inside.read_inside(healthy.out / "model.tflite"))
found["healthy int8"] = shop.done(shop.job("int8", conv, "int8", samples=eight[:2], calibration=eight))
found["dynamic"] = shop.done(shop.job("dynamic", conv, "dynamic", samples=eight))

# The diagnosis takes four of the calibration samples, from all over: here those that are run, too.
floats = shop.job("mixed-floats", nets.mixed(), samples=four)
found["mixed floats"] = shop.done(floats)
mixed = shop.job("mixed", nets.mixed(), "uint8", samples=four, calibration=four)
found["mixed"] = shop.done(mixed)
found["mixed again"] = shop.done(shop.job("mixed-again", nets.mixed(), "uint8", samples=four, calibration=four))
rows = noise.measure(
    str(floats.out / "model.tflite"), str(mixed.out / "model.tflite"), mixed.inputs, "NCHW", four, threads=1
)
found["table"] = {row.tensor: row.decibels for row in rows}

found["pooled"] = shop.done(shop.job("pooled", nets.pooled(), "uint8", calibration=eight))
diagnosis._check_ranges = lambda inside: None
found["pooled, run all the same"] = shop.done(shop.job("aborted", nets.pooled(), "uint8", calibration=eight))
found["after it"] = shop.done(shop.job("after", nets.pooled()))
print(json.dumps(found, default=str))
