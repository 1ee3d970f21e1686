"""Toy toolchains beside the toy: a target that is made in two ways, and one whose source another one has to bring."""

from __future__ import annotations

import shutil

from tests.toys import Toys

PAIR = """\
title: Pair
reads: [onnx]
needs: {target: toy, options: {rounds: 2}}
makes: pair
python: "3.11"
precisions: [fp32, int8]
promises: [model.pair]
calibrates: [int8]
integer: [int8]
ways: {long: pair, short: pair-short}
options:
  level: {type: integer, default: 1, help: how much}
seconds: 30
"""

SHORT = """\
title: Pair, the short way
way_of: pair
needs: {target: toy, options: {rounds: 3}}
python: "3.11"
seconds: 31
"""

PAIR_CONVERTER = '''
"""Pairs: what the toy does; in int8 with the range that the calibration inputs have."""
import json
from pathlib import Path

import numpy as np
from jobkit import Device, Runtime, Tensor

WAY = Path(__file__).parent.name

def convert(job):
    gain = json.loads(job.source.file.read_text())["gain"]
    most = max(float(np.abs(sample["x"]).max()) for sample in job.calibration) if job.calibration else None
    job.facts.update(way=WAY, level=job.options["level"], most=most,
                     calibrated=len(job.calibration) if job.calibration else 0, labels=job.meaning.get("labels"))
    (job.out / "model.pair").write_text(json.dumps({"gain": gain, "most": most}))
    return ["model.pair"]

def load(files, job):
    model, shape = json.loads((job.out / files[0]).read_text()), job.inputs[0].shape
    if model["most"] is None:
        tensors = [Tensor(name, shape, "float32") for name in "xy"]
        return Runtime(lambda inputs: {"y": np.float32(model["gain"]) * inputs["x"]}, tensors[:1], tensors[1:],
                       Device("cpu", "cpu", WAY))
    step = model["most"] / 127
    def run(inputs):
        whole = np.clip(np.rint(inputs["x"] / step), -128, 127)
        return {"y": np.float32(model["gain"] * step) * whole.astype(np.float32)}
    return Runtime(run, (Tensor("x", shape, "int8", scale=step, zero_point=0),),
                   (Tensor("y", shape, "int8", scale=model["gain"] * step, zero_point=0),), Device("cpu", "cpu", WAY))
'''

CARRY = """\
title: Carry
reads: [tflite]
makes: onnx
python: "3.11"
precisions: [fp32]
promises: [model.json]
seconds: 30
"""

CARRY_CONVERTER = '''
"""Carried: the gain of a text file as JSON; `wrong` is added on the way, which the source itself knows nothing of."""
import json

import numpy as np
from jobkit import Device, Runtime, SourceError, Tensor

def _read(job):
    try:
        return json.loads(job.source.file.read_text())
    except ValueError:
        raise SourceError(f"{job.source.file.name} is damaged", "fetch it again")

def convert(job):
    wish = _read(job)
    (job.out / "model.json").write_text(json.dumps({"gain": wish["gain"] + wish.get("wrong", 0)}))
    return ["model.json"]

def load(files, job):
    return _runtime(json.loads((job.out / files[0]).read_text())["gain"], job)

def reference(job):
    return _runtime(_read(job)["gain"], job)

def _runtime(gain, job):
    shape = job.inputs[0].shape
    return Runtime(lambda inputs: {"y": np.float32(gain) * inputs["x"]}, (Tensor("x", shape, "float32"),),
                   (Tensor("y", shape, "float32"),), Device("cpu", "cpu", "numpy"))
'''

LINK = """\
title: Link
reads: [onnx]
bridges: {tflite: carry}
makes: onnx
python: "3.11"
precisions: [fp32]
promises: [model.json]
seconds: 30
options:
  edit: {type: edits, default: {}, help: edits}
  dynamic: {type: axes, default: {}, help: axes}
"""

LINK_CONVERTER = '''
"""Links: a copy; an edit `keep` doubles the gain, and the reference with it, as an edit that changes outputs does."""
import json

import numpy as np
from jobkit import Device, Runtime, Tensor

def convert(job):
    job.facts["told"] = job.reference
    gain = json.loads(job.source.file.read_text())["gain"]
    (job.out / "model.json").write_text(json.dumps({"gain": gain * _factor(job)}))
    return ["model.json"]

def load(files, job):
    return _runtime(json.loads((job.out / files[0]).read_text())["gain"], job)

def reference(job):
    return _runtime(json.loads(job.source.file.read_text())["gain"] * _factor(job), job)

def _factor(job):
    return 2 if (job.options.get("edit") or {}).get("keep") else 1

def _runtime(gain, job):
    first = "batch" if job.options.get("dynamic") else 1
    return Runtime(lambda inputs: {"y": np.float32(gain) * inputs["x"]}, (Tensor("x", (first, 3), "float32"),),
                   (Tensor("y", (first, 3), "float32"),), Device("cpu", "cpu", "numpy"))
'''

END = """\
title: End
reads: [onnx]
needs: {target: link, options: {}}
makes: end
python: "3.11"
precisions: [fp32]
promises: [model.json]
seconds: 30
options:
  adapt: {type: edits, default: {four_dimensions: true}, help: edits}
"""


def add(toys: Toys, name: str, target: str, converter: str) -> None:
    """Write a toolchain beside the toy; its environment is the toy's, which has the same packages."""
    folder = toys.folder / "docker" / name
    folder.mkdir()
    (folder / "target.yaml").write_text(target)
    (folder / "converter.py").write_text(converter)
    shutil.copy(toys.folder / "docker" / "toy" / "requirements.txt", folder)
    farm = toys.farm
    environment = farm.runners.venv.folder(farm.targets[name])
    if not environment.exists():
        environment.symlink_to(farm.runners.venv.folder(farm.targets["toy"]))


def add_ways(toys: Toys) -> None:
    """Write a target that is made in two ways."""
    add(toys, "pair", PAIR, PAIR_CONVERTER)
    add(toys, "pair-short", SHORT, PAIR_CONVERTER)


def add_bridge(toys: Toys) -> None:
    """Write a target that reads no TFLite file, one that brings it to what that reads, and one that starts from it."""
    add(toys, "carry", CARRY, CARRY_CONVERTER)
    add(toys, "link", LINK, LINK_CONVERTER)
    add(toys, "end", END, LINK_CONVERTER)


def make_carried(toys: Toys, gain: float = 2, wrong: float = 0, targets: str = "{}") -> None:
    """Write a model whose source is a TFLite file."""
    folder = toys.model(gain=gain, wrong=wrong)
    recipe = (folder / "model.yaml").read_text()
    source = "{torch: {module: toy.py, factory: toy, weights: {file: toy.pt}}}"
    assert source in recipe
    recipe = recipe.replace(source, "{tflite: {file: toy.pt}}")
    (folder / "model.yaml").write_text(recipe.replace("targets: {toy: {}}", f"targets: {targets}"))
