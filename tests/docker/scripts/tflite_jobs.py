"""Do whole jobs of the tflite target in its own environment, all in one process of TensorFlow; print what came of them.

Arguments: a folder, and where there is one, that of the data.
"""

import json
import sys
from pathlib import Path

import tflitenets as nets
from tfliteshop import Shop

shop, found = Shop(Path(sys.argv[1])), {}
job, done, values = shop.job, shop.done, shop.values

conv = nets.convolutions()
measured = values((1, 3, 8, 8), 8)
for precision in ("fp32", "fp16", "dynamic", "int8", "uint8"):
    wish = {"calibration": measured} if precision in ("int8", "uint8") else {}
    found[precision] = done(job(precision, conv, precision, samples=measured[:3], **wish))
# Under a name of its own: a file that holds the place where it was made would differ.
found["uint8 again"] = done(job("uint8-again", conv, "uint8", samples=measured[:3], calibration=measured))
found["fp32 again"] = done(job("fp32-again", conv, samples=measured[:3]))

found["no calibration"] = done(job("no-calibration", conv, "int8"))
found["precision"] = done(job("precision", conv, "int4"))
found["names"] = done(job("names", nets.odd_names(), outputs=nets.ODD))
found["free"] = done(job("free", nets.convolutions(batch="batch"), samples=values((1, 3, 8, 8))))
found["opset 18"] = done(job("opset", nets.convolutions(opset=18)))
found["other shape"] = done(job("other-shape", conv, samples=values((1, 3, 9, 8))))
found["no onnx"] = done(job("no-onnx", conv, kind="tflite"))
broken = job("broken", conv)
broken.source.file.write_bytes(broken.source.file.read_bytes()[:200])
found["broken"] = done(broken)
found["wrong resize"] = done(job("wrong-resize", nets.resized(1.5)))
found["right resize"] = done(job("right-resize", nets.resized(2.0)))
found["no operator"] = done(job("no-operator", nets.one("Unique", outputs=["y"])))
found["refused node"] = done(job("refused-node", nets.padded_by_computed_numbers()))
picture = values((1, 3, 8, 8))
for name, net in {
    "constant": nets.padded("constant"),
    "reflect": nets.padded("reflect", (0, 0, 1, 2, 0, 2, 7, 1)),
    "edge": nets.padded("edge", (0, 0, 1, 20, 0, 0, 2, 0)),
    "negative": nets.padded("constant", (0, -1, 3, -2, 0, 1, -4, 0)),
    "attributes": nets.padded("constant", opset=10),
}.items():
    found[f"padded {name}"] = done(job(f"padded-{name}", net, samples=picture))
found["left out"] = done(job("left-out", nets.left_out(), samples=values((1, 3, 8, 8))))
found["one number"] = done(job("one-number", nets.one_number(), samples=values((1, 3, 8, 8))))
found["erf"] = done(job("erf", nets.one("Erf")))
found["erf allowed"] = done(job("erf-allowed", nets.one("Erf"), options={"select_ops": True}))
found["unread"] = done(job("unread", nets.unread()))
print(json.dumps(found, default=str))
