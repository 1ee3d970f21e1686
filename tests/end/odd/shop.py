"""All odd models in one folder, converted by one command, and what became of each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.end.conftest import Ran, Shop
from tests.end.odd.recipes import BAD, GOOD, ONNX

HERE = Path(__file__).parent

# A picture of the networks' size, so that nothing is resized: grey, and red, green and blue in its corner.
CORNER = (200, 110, 40)
ROWS = np.array([[1, 2, 3], [4, 1, 1], [-3, -2, -1]], np.float32)

_MAKE = """
import importlib.util, json, sys
from pathlib import Path
import onnx, torch
from onnx import TensorProto, helper
folder, factories = Path(sys.argv[1]), json.loads(sys.argv[2])
spec = importlib.util.spec_from_file_location("nets", folder / "architectures" / "nets.py")
nets = importlib.util.module_from_spec(spec)
spec.loader.exec_module(nets)
for name, factory in factories.items():
    torch.save(getattr(nets, factory)().state_dict(), folder / name / "weights.pt")

def save(name, opset, operator):
    x, y = (helper.make_tensor_value_info(side, TensorProto.FLOAT, [1, 3]) for side in "xy")
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "odd", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.save(model, folder / name / "source.onnx")

save("onnx-input", 12, "Relu")
save("onnx-opset", 12, "Celu")
save("onnx-good", 9, "Relu")
print("null")
"""

_RUN = """
import json, sys
import numpy as np, onnxruntime
answers = []
for file, inputs in json.loads(sys.argv[1]):
    session = onnxruntime.InferenceSession(file)
    types = {entry.name: {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}[entry.type]
             for entry in session.get_inputs()}
    arrays = {name: np.array(values, types[name]) for name, values in inputs.items()}
    shapes = [[entry.shape for entry in side] for side in (session.get_inputs(), session.get_outputs())]
    answers.append([[array.tolist() for array in session.run(None, arrays)], shapes])
print(json.dumps(answers))
"""


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """How the command put a failure: its exit code, and all that it said."""

    code: int
    said: str


@dataclass(frozen=True, kw_only=True)
class Odd:
    """What one command made of all odd models."""

    shop: Shop
    ran: Ran
    stopped: Mapping[str, Stopped]
    toolchain: Callable[..., Any]

    def json(self, model: str, file: str) -> Any:
        """Return a JSON file of an artifact."""
        assert model not in self.stopped, self.stopped[model].said
        return json.loads((self.shop.latest(model) / file).read_text())

    def failed(self, model: str) -> Any:
        """Return the smoke.json of what did not pass a gate."""
        (folder,) = (self.shop.artifacts / "failed" / model / "onnx").iterdir()
        return json.loads((folder / "smoke.json").read_text())

    def run(self, *calls: tuple[str, Mapping[str, Any]]) -> list[tuple[list[Any], Any]]:
        """Run artifacts in ONNX Runtime: for each call the outputs, and the shapes of inputs and outputs."""
        for model, _ in calls:
            assert model not in self.stopped, self.stopped[model].said
        return self.toolchain(_RUN, json.dumps([(str(self.shop.latest(model) / "model.onnx"), inputs)
                                                for model, inputs in calls]))


def convert_all(folder: Path, toolchain: Callable[..., Any]) -> Odd:
    """Write all models, and convert them with one command."""
    models = folder / "models"
    _write_models(models)
    sources = {name: factory for name, (factory, _) in {**GOOD, **BAD}.items()}
    usable = {name: "linear" if factory in ("linaer", "raising", "demanding", "no_module") else factory
              for name, factory in sources.items()}
    toolchain(_MAKE, str(models), json.dumps(usable))
    shop = Shop(artifacts=folder / "artifacts", models=models)
    ran = shop.run("convert", "--model", "all", JOBS="2")
    return Odd(shop=shop, ran=ran, stopped=_failures(ran.err), toolchain=toolchain)


def _failures(err: str) -> dict[str, Stopped]:
    parts = [part for part in re.split(r"^modelfarm: ", err, flags=re.MULTILINE) if part.strip()]
    return {re.split(r"[/:]", part)[0]: Stopped(code=int(re.findall(r"\(exit code (\d+)", part)[-1]), said=part)
            for part in parts}


def _write_models(models: Path) -> None:
    (models / "architectures").mkdir(parents=True)
    (models / "architectures" / "nets.py").write_text((HERE / "nets.py").read_text())
    for name, (factory, rest) in {**GOOD, **BAD}.items():
        weights = "weights: {file: weights.pt}"
        _write(models / name, f"torch: {{module: nets.py, factory: {factory}, {weights}}}", rest)
    for name, rest in ONNX.items():
        _write(models / name, "onnx: {file: source.onnx}", rest)
    (models / "syntax" / "nets.py").write_text("import torch\n\ndef linear(:\n")
    (models / "import" / "nets.py").write_text("import torch\nimport no_such_package\n")
    (models / "own-decoder" / "decoder.py").write_text((HERE / "decoder.py").read_text())
    (models / "bad-decoder" / "decoder.py").write_text(
        "class Decoder:\n    def __init__(self, options):\n        pass\n\n    def columns(self, outputs, size):\n"
        "        return []\n\n    def decode(self, outputs, placements):\n        return outputs['nothing']\n")
    (models / "four-pictures" / "colours.txt").write_text("red\ngreen\nblue\n")


def _write(folder: Path, source: str, rest: str) -> None:
    folder.mkdir()
    (folder / "model.yaml").write_text(f"name: {folder.name}\nsource: {{{source}}}\n{rest}")
    pixels = np.full((8, 8, 3), 10, np.uint8)
    pixels[0, 0] = CORNER[::-1]  # OpenCV writes blue first
    cv2.imwrite(str(folder / "corner.png"), pixels)
    np.savez(folder / "rows.npz", x=ROWS)
    np.savez(folder / "eight.npz", x=np.tile([[1, 0, 0]], (8, 1)).astype(np.float32), label=np.ones(8, np.int64))
    np.savez(folder / "seven.npz", x=np.ones((7, 3), np.float32))
    np.savez(folder / "words.npz", words=np.array([[0, 1, 2, 3, 4, 5], [9, 9, 9, 9, 9, 9]]))
    np.savez(folder / "driver.npz", camera=np.ones((2, 3, 8, 8), np.float32), state=np.eye(2, 4, dtype=np.float32))
