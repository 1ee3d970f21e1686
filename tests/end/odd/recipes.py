"""The recipes of the odd models: by name, what stands below the source."""

from __future__ import annotations

ROW = "x: {shape: [1, 3]}"
PICTURE = "picture: {shape: [1, 3, 8, 8], layout: NCHW, picture: {color: rgb, scale: 1/255}}"
OPEN_SIZE = "{picture: {0: batch, 2: height, 3: width}}"

# name: (source, rest of the recipe)
GOOD: dict[str, tuple[str, str]] = {
    "driver": ("driver", f"""
inputs:
  {PICTURE.replace("picture:", "camera:", 1)}
  state: {{shape: [1, 4]}}
outputs: {{y: {{shape: [1, 2], dtype: float32}}}}
samples: {{pictures: [corner.png], arrays: [driver.npz], random: 1}}
targets: {{onnx: {{dynamic: {{camera: {{0: batch}}, state: {{0: batch}}}}}}}}
"""),
    "words": ("words", """
inputs:
  words: {shape: [1, 6], dtype: int64}
outputs: {y: {shape: [1, 2]}}
samples: {arrays: [words.npz], random: 2}
targets: {onnx: {dynamic: {words: {0: batch, 1: length}}}}
"""),
    "channels-last": ("corner", """
inputs:
  picture: {shape: [1, 8, 8, 3], layout: NHWC,
            picture: {color: rgb, scale: max, mean: [0.5, 0.25, 0.125], std: [0.5, 2, 1]}}
outputs: [y]
decoder: {classification: {}}
samples: {pictures: [corner.png], random: 1}
targets: {onnx: {dynamic: {picture: {0: batch}}}}
"""),
    "channels-first": ("first_pixel", """
inputs:
  picture: {shape: [1, 3, 8, 8], layout: NCHW, picture: {color: bgr, scale: 1/255, mean: 0.5, std: [0.5, 2, 1]}}
outputs: [y]
decoder: {classification: {}}
samples: {pictures: [corner.png]}
targets: {onnx: {}}
"""),
    "bytes": ("byte_means", """
inputs:
  picture: {shape: [1, 8, 8, 3], dtype: uint8, layout: NHWC, picture: {color: rgb}}
outputs: {y: {shape: [1, 3], dtype: float32}}
decoder: {classification: {}}
samples: {pictures: [corner.png], random: 1}
targets: {onnx: {dynamic: {picture: {0: batch}}}}
"""),
    "two": ("two", f"""
inputs: {{{ROW}}}
outputs: {{y: {{shape: [1, 2]}}, table: {{shape: [5, 2]}}}}
targets: {{onnx: {{dynamic: {{x: {{0: batch}}}}}}}}
"""),
    "argmax": ("argmax", f"""
inputs: {{{ROW}}}
outputs: {{scores: {{}}, best: {{shape: [1], dtype: int64}}}}
samples: {{arrays: [rows.npz]}}
targets: {{onnx: {{dynamic: {{x: {{0: batch}}}}}}}}
"""),
    "echo": ("echo", f"""
inputs: {{{ROW}}}
outputs: [input_again, twice, once_more]
targets: {{onnx: {{dynamic: {{x: {{0: batch}}}}}}}}
"""),
    "four": ("linear", """
inputs: {x: {shape: [4, 3]}}
outputs: {y: {shape: [4, 2]}}
decoder: {classification: {}}
samples: {arrays: [eight.npz], random: 1}
expect: {eight.npz: {accuracy: 1}}
targets: {onnx: {}}
"""),
    "four-pictures": ("first_pixel", """
inputs: {picture: {shape: [4, 3, 8, 8], layout: NCHW, picture: {color: rgb}}}
outputs: {y: {shape: [4, 3]}}
decoder: {classification: {labels: colours.txt}}
samples: {pictures: [corner.png], random: 0}
expect: {corner.png: {top1: green}}
targets: {onnx: {}}
"""),
    "sizes": ("sizes", f"""
inputs: {{{PICTURE.replace("8, 8", "64, 64")}}}
outputs: {{y: {{shape: [1, 2]}}, seen: {{}}}}
samples: {{pictures: [corner.png], random: 1}}
targets: {{onnx: {{dynamic: {OPEN_SIZE}}}}}
"""),
    "scalar": ("mean", f"""
inputs: {{{ROW}}}
outputs: [y]
targets: {{onnx: {{}}}}
"""),
    "own-decoder": ("linear", f"""
inputs: {{{ROW}}}
outputs: [y]
decoder: {{module: decoder.py, options: {{share: 0.5}}}}
samples: {{arrays: [rows.npz], random: 1}}
targets: {{onnx: {{}}}}
"""),
    "widened": ("linear", f"""
inputs: {{{ROW}}}
outputs: [y]
limits:
  - {{unit: relative, limit: 0.001, because: "the sensor has ten bits"}}
targets: {{onnx: {{}}}}
"""),
    "heavy": ("wide", f"""
inputs: {{{ROW}}}
outputs: [y]
targets: {{onnx: {{external_data_above: 1KB, dynamic: {{x: {{0: batch}}}}}}}}
"""),
}

_PLAIN = f"""
inputs: {{{ROW}}}
outputs: [y]
samples: {{random: 2}}
targets: {{onnx: {{opset: 12}}}}
"""

BAD: dict[str, tuple[str, str]] = {
    "logarithm": ("logarithm", _PLAIN.replace("random: 2", "arrays: [rows.npz], random: 0")),
    "branch": ("branch", _PLAIN.replace("random: 2", "arrays: [rows.npz], random: 0")),
    "cached": ("cached", f"inputs: {{{PICTURE}}}\noutputs: [y]\ntargets: {{onnx: {{dynamic: {OPEN_SIZE}}}}}\n"),
    "grid": ("grid", f"inputs: {{{PICTURE}}}\noutputs: [y]\ntargets: {{onnx: {{dynamic: {OPEN_SIZE}}}}}\n"),
    "dropout": ("dropout", _PLAIN.replace("[1, 3]", "[1, 30]")),
    "dropout-old": ("dropout", _PLAIN.replace("[1, 3]", "[1, 30]").replace("opset: 12", "opset: 11")),
    "chance": ("chance", _PLAIN),
    "dictionary": ("dictionary", _PLAIN),
    "wrong-shape": ("linear", _PLAIN.replace("[y]", "{y: {shape: [1, 3]}}")),
    "wrong-dtype": ("linear", _PLAIN.replace("[y]", "{y: {dtype: int64}}")),
    "wrong-order": ("two", _PLAIN.replace("[y]", "{table: {shape: [5, 2]}, y: {shape: [1, 2]}}")),
    "too-few": ("two", _PLAIN),
    "too-many": ("linear", _PLAIN.replace("[y]", "[y, z]")),
    "wrong-input": ("linear", _PLAIN.replace("[1, 3]", "[1, 4]")),
    "scalar-batch": ("mean", _PLAIN.replace("opset: 12", "dynamic: {x: {0: batch}}")),
    "seven": ("linear", _PLAIN.replace("[1, 3]", "[4, 3]").replace("random: 2", "arrays: [seven.npz]")),
    "bad-decoder": ("linear", _PLAIN + "decoder: {module: decoder.py}\n"),
    "misspelt": ("linaer", _PLAIN),
    "raising": ("raising", _PLAIN),
    "demanding": ("demanding", _PLAIN),
    "no-module": ("no_module", _PLAIN),
    "syntax": ("linear", _PLAIN),
    "import": ("linear", _PLAIN),
    "missing-samples": ("linear", _PLAIN.replace("random: 2", "pictures: [no.png, corner.png], arrays: [no.npz]")),
}

# Of these the source is an ONNX file, made in the toolchain.
ONNX = {
    "onnx-input": "inputs: {image: {shape: [1, 3]}}\noutputs: [y]\ntargets: {onnx: {}}\n",
    "onnx-opset": "inputs: {x: {shape: [1, 3]}}\noutputs: [y]\ntargets: {onnx: {opset: 10}}\n",
    "onnx-good": "inputs: {x: {shape: [1, 3]}}\noutputs: [y]\ntargets: {onnx: {opset: 13}}\n",
}
