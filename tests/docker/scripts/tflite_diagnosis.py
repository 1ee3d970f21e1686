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
import numpy as np
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

# Operators of TensorFlow's own run in a delegate, which the others are run without here.
erf = nets.graph(
    [("Flatten", ["x"], ["f"], {"axis": 1}), ("MatMul", ["f", "w"], ["g"], {}), ("Erf", ["g"], ["y"], {})],
    {"w": np.linspace(-0.1, 0.1, 960, dtype=np.float32).reshape(192, 5)},
)
wish = {"samples": eight[:2], "calibration": eight, "options": {"select_ops": True}}
found["flex"] = shop.done(shop.job("flex", erf, "int8", **wish))
# Branches are graphs of their own.
branches = nets.graph([("Relu", ["x"], ["r"], {}), ("GatherND", ["r", "i"], ["y"], {})], {"i": np.array([[0, 1]])})
found["branches"] = shop.done(shop.job("branches", branches, "uint8", samples=eight[:2], calibration=eight))

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
