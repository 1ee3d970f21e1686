"""Read and load checkpoints in the onnx toolchain; print what came of each as JSON."""

import copy
import json
import sys
from pathlib import Path

import torch
from checkpoint import read_checkpoint
from jobkit import Refused
from nets import Tiny, tiny
from weights import load_into

folder, attacks = Path(sys.argv[1]), Path(sys.argv[2])
torch.manual_seed(7)
source = tiny()
weights = source.state_dict()
found = {}


def saved(name, document, **options):
    torch.save(document, folder / name, **options)
    return folder / name


def refusal(action):
    try:
        action()
    except Refused as error:
        return {"class": type(error).__name__, "message": error.message, "remedy": error.remedy}
    return None


def loads(path, model=None):
    """Load into a fresh model; say whether it became equal to the source, and how."""
    model = model or tiny()
    checkpoint = read_checkpoint(path)
    loaded = load_into(model, checkpoint)
    close = {key: (tensor.half() if tensor.is_floating_point() else tensor) for key, tensor in weights.items()}
    state = model.state_dict()
    equal = all(torch.equal(state[key].to(close[key].dtype), close[key]) for key in weights)
    types = sorted({str(tensor.dtype) for tensor in state.values()})
    return {
        "equal": equal,
        "types": types,
        "nesting": checkpoint.nesting,
        "reader": checkpoint.reader,
        "prefix": loaded.prefix,
        "converted": loaded.converted,
        "ignored": loaded.ignored,
    }


def prefixed(prefix):
    return {prefix + key: tensor for key, tensor in weights.items()}


half = copy.deepcopy(source).half()
other = tiny()
old = {"_use_new_zipfile_serialization": False}
good = {
    "plain": saved("plain.pt", weights),
    "legacy": saved("legacy.pt", weights, **old),
    "module": saved("module.pt", {"state_dict": prefixed("module."), "epoch": 3}),
    "compiled": saved("compiled.pt", {"model": prefixed("_orig_mod.module.")}),
    "attribute": saved("attribute.pt", prefixed("model.")),
    "deep": saved("deep.pt", {"ema": {"state_dict": weights}, "model": other.state_dict()}),
    "pickled": saved("pickled.pt", {"epoch": -1, "ema": None, "model": half}),
    "pickled, legacy": saved("pickled_legacy.pt", {"model": half}, **old),
    "averaged": saved("averaged.pt", {"model": copy.deepcopy(other), "ema": copy.deepcopy(source)}),
    "whole": saved("whole.pt", source),
    "parallel": saved("parallel.pt", {"model": torch.nn.DataParallel(copy.deepcopy(source))}),
    "half": saved(
        "half.pt", {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
    ),
    "counters": saved("counters.pt", {key: tensor for key, tensor in weights.items() if "num_batches" not in key}),
    "constants": saved(
        "constants.pt", {**{k: t for k, t in weights.items() if k != "table"}, "head.anchor_grid": torch.ones(2)}
    ),
}
found["good"] = {name: loads(path) for name, path in good.items()}

model = torch.jit.trace(source.eval(), torch.zeros(1, 3, 8, 8))
torch.jit.save(model, folder / "script.pt")
content = {name: good[name].read_bytes() for name in ("plain", "legacy", "pickled", "pickled, legacy")}
files = {
    "empty": b"",
    "web page": b"<!DOCTYPE html><html><body>Not found</body></html>",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    "json": b'{"a": 1}',
    "safetensors": (60).to_bytes(8, "little") + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(64),
    "onnx": b"\x08\x07\x12\x07pytorch",
    "text": b"these are the weights",
    "keras": b"\x89HDF\r\n\x1a\n",
    "plain pickle": __import__("pickle").dumps({"a": 1}),
    "other zip": b"",
    "script": (folder / "script.pt").read_bytes(),
    "nothing": saved("nothing.pt", {"epoch": 1, "args": "x"}).read_bytes(),
    "flipped": content["pickled"][:-2000] + b"\0" * 40 + content["pickled"][-1960:],
    **{f"{name}, truncated": whole[: len(whole) * 2 // 3] for name, whole in content.items()},
    **{f"{name}, cut at the end": whole[:-9] for name, whole in content.items()},
}
with __import__("zipfile").ZipFile(folder / "other.zip", "w") as archive:
    archive.writestr("readme.txt", "hello")
files["other zip"] = (folder / "other.zip").read_bytes()
found["bad files"] = {}
for name, whole in files.items():
    path = folder / "bad.pt"
    path.write_bytes(whole)
    found["bad files"][name] = refusal(lambda path=path: read_checkpoint(path))

found["attacks"] = {path.name: refusal(lambda path=path: read_checkpoint(path)) for path in sorted(attacks.iterdir())}

wrong = {
    "wider": {**weights, "head.weight": torch.ones(3, 5), "body.0.weight": torch.ones(8, 3, 3, 3)},
    "renamed": {key.replace("head", "heads"): tensor for key, tensor in weights.items()},
    "foreign": {f"layer{index}.weight": torch.ones(2) for index in range(30)},
    "spoilt": {
        **weights,
        "head.bias": torch.tensor([1.0, float("nan"), 2.0]),
        "body.1.running_var": torch.full((4,), float("inf")),
    },
    "integers": {**weights, "head.bias": torch.tensor([1, 2, 3])},
    "endless": {**weights, "head.bias": torch.ones(1).expand(10**12)},
}
found["wrong"] = {}
for name, state in wrong.items():
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    path = folder / "wrong.pt"
    torch.save(state, path)
    found["wrong"][name] = refusal(lambda model=model, path=path: load_into(model, read_checkpoint(path)))
    after = model.state_dict()
    found["wrong"][name]["untouched"] = all(torch.equal(before[key], after[key]) for key in before)


class Looping(Tiny):
    pass


loop = Looping()
loop._modules["body"]._modules["self"] = loop
torch.save({"model": loop}, folder / "loop.pt")
found["loop"] = refusal(lambda: read_checkpoint(folder / "loop.pt"))

data = Path(sys.argv[3]) if len(sys.argv) > 3 else None
if data:
    plain = torch.load(data / "weights" / "yolov5n-0.5-face.state_dict.pt", weights_only=True)
    pickled = read_checkpoint(data / "weights" / "yolov5n-0.5-face.pickled.pt")
    found["yolov5"] = {
        "same names": set(pickled.state) == set(plain),
        "equal in half precision": all(torch.equal(pickled.state[key].half(), plain[key].half()) for key in plain),
        "reader": pickled.reader,
        "nesting": pickled.nesting,
        "foreign modules": sorted(name for name in sys.modules if name.split(".")[0] == "models"),
    }
    found["real"] = {}
    for name in ("resnet20-cifar10.th", "resnet56-cifar10.th", "ultraface-slim-320.pth", "slim-face-landmark.pth"):
        checkpoint = read_checkpoint(data / "weights" / name)
        devices = {str(tensor.device) for tensor in checkpoint.state.values()}
        numbers = sum(t.numel() for k, t in checkpoint.state.items() if "running" not in k and "num_batches" not in k)
        found["real"][name] = [checkpoint.nesting, sorted(devices), numbers]
print(json.dumps(found))
