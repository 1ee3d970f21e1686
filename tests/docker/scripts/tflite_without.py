"""Convert each operator that lint warns of for want of a builtin, in the tflite toolchain; print what was said.

Arguments: a folder.
"""

import json
import sys
from pathlib import Path

import tflitenets as nets
from tfliteshop import Shop

shop = Shop(Path(sys.argv[1]))
found = {}
for name in ("Acos", "Asinh", "Atan", "Cosh", "Tan", "Erf", "Softsign", "Relu"):
    found[name] = shop.done(shop.job(name, nets.one(name)))
fine = {"kernel_shape": [2, 2]}
found["gaps"] = shop.done(shop.job("gaps", nets.one("MaxPool", dilations=[2, 2], **fine)))
found["remainder"] = shop.done(shop.job("remainder", nets.graph(
    [("Mod", ["x", "h"], ["y"], {"fmod": 1})], {"h": nets.np.float32(0.3)})))
found["places"] = shop.done(shop.job("places", nets.graph(
    [("GatherND", ["x", "i"], ["y"], {})], {"i": nets.np.array([[0, 1]])})))
print(json.dumps(found))
