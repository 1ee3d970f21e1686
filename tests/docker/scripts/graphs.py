"""Convert toys in the onnx toolchain, in one process; print what came of each as JSON."""

import copy
import hashlib
import json
import shutil
import sys
from pathlib import Path

import converter
import nets
import numpy as np
import onnx
import onnxruntime
import torch
from jobfolder import write_job
from jobkit import Events, Refused
from jobkit.job import read_job
from onnx import TensorProto, helper, numpy_helper
from simplify import difference, simplify
from versions import raise_opset

root = Path(sys.argv[1])
data = Path(sys.argv[2]) if len(sys.argv) > 2 else None
found = {}
rng = np.random.default_rng(0)
PICTURES = [{"picture": rng.standard_normal((1, 3, 8, 8), dtype=np.float32)} for _ in range(2)]
OPTIONS = {"opset": None, "simplify": True, "dynamic": {}, "external_data_above": 2**31}
PICTURE = {"name": "picture", "shape": [1, 3, 8, 8], "dtype": "float32", "layout": "NCHW"}


def named(*names):
    return [{"name": name, "shape": None, "dtype": None} for name in names]


def converted(name, source, samples, inputs, outputs, **options):
    """Make a job folder, convert in it, and describe the files; or the refusal."""
    folder = root / name
    (folder / "in" / "source").mkdir(parents=True)
    for file in [source.get("module"), source.get("file"), source.get("weights")]:
        if file and (root / Path(file).name).exists():
            shutil.copy(root / Path(file).name, folder / file)
    shutil.rmtree(folder / "out", ignore_errors=True)
    write_job(
        folder,
        samples,
        source=source,
        inputs=inputs,
        outputs=outputs,
        options={**OPTIONS, **options},
        promises=["model.onnx"],
        target="onnx",
    )
    job = read_job(folder, Events(folder / "out" / "events.jsonl"))
    try:
        converter.prepare(job)
        reference = converter.reference(job)
        expected = [reference(sample) for sample in job.samples]
        files = converter.convert(job)
        runtime = converter.load(files, job)
    except Refused as error:
        left = sorted(path.name for path in job.out.iterdir())
        return {"class": type(error).__name__, "message": error.message, "remedy": error.remedy, "left": left}
    return described(job, files, runtime, expected)


def described(job, files, runtime, expected):
    model = onnx.load(job.out / "model.onnx")
    errors = [
        float(np.abs(runtime(sample)[name] - array).max())
        for sample, outputs in zip(job.samples, expected, strict=True)
        for name, array in outputs.items()
    ]
    return {
        "files": files,
        "opset": [entry.version for entry in model.opset_import if not entry.domain],
        "domains": [entry.domain for entry in model.opset_import],
        "ir": model.ir_version,
        "error": max(errors),
        "digest": hashlib.sha256((job.out / "model.onnx").read_bytes()).hexdigest(),
        "inputs": {tensor.name: tensor.shape for tensor in runtime.inputs},
        "outputs": {tensor.name: tensor.shape for tensor in runtime.outputs},
        "listed inputs": [value.name for value in model.graph.input],
        "device": runtime.device.used,
        "facts": job.facts,
        "left": sorted(path.name for path in job.out.iterdir()),
        "strings": sum(bool(node.doc_string) for node in model.graph.node),
    }


shutil.copy(nets.__file__, root / "nets.py")
torch.manual_seed(3)
trained = nets.tiny()
for buffer in (trained.body[1].running_mean, trained.body[1].running_var):
    buffer.copy_(torch.rand(4) + 0.5)
torch.save(trained.state_dict(), root / "tiny.pt")


def from_torch(
    name, factory="tiny", outputs=("scores",), weights=True, arguments=None, seed=0, module="nets.py", **options
):
    source = {
        "kind": "torch",
        "module": f"in/source/{module}",
        "factory": factory,
        "arguments": arguments or {},
        "weights": "in/source/tiny.pt" if weights else None,
        "seed": seed,
    }
    found[name] = converted(name, source, PICTURES, [PICTURE], named(*outputs), **options)
    return root / name / "out" / "model.onnx"


def from_onnx(name, model, samples, inputs, outputs, **options):
    if isinstance(model, onnx.ModelProto):
        onnx.save(model, root / f"{name}.onnx")
    elif isinstance(model, bytes):
        (root / f"{name}.onnx").write_bytes(model)
    else:
        shutil.copy(model, root / f"{name}.onnx")
    source = {"kind": "onnx", "file": f"in/source/{name}.onnx"}
    found[name] = converted(name, source, samples, inputs, named(*outputs), **options)


# From PyTorch
for opset in (9, 11, 12, 17, 23):
    from_torch(f"opset {opset}", opset=opset)
from_torch("opset unsaid")
from_torch("opset 8", opset=8)
from_torch("opset 24", opset=24)
from_torch("again", opset=12)
from_torch("two outputs", "two", ("logits", "features"))
from_torch("one name for two outputs", "two", ("logits",))
from_torch("dictionary", "named")
from_torch("free batch fixed inside", "fixed", dynamic={"picture": {"0": "batch"}})
from_torch("fixed batch", "fixed")
from_torch("no such axis", dynamic={"picture": {"4": "batch"}})
from_torch("no such input", dynamic={"image": {"0": "batch"}})
from_torch("redundant", "redundant")
from_torch("redundant, kept", "redundant", simplify=False)
from_torch("sampled 12", "sampled", weights=False, opset=12)
from_torch("sampled 16", "sampled", weights=False, opset=16)
from_torch("large", weights=False, arguments={"width": 64}, external_data_above=100)
from_torch("large, but small weights", external_data_above=100)
from_torch("random", weights=False)
from_torch("random again", weights=False)
from_torch("random, other seed", weights=False, seed=1)
from_torch("wider", arguments={"width": 8})
from_torch("wrong name", "tini")
from_torch("wrong argument", arguments={"widht": 8})
from_torch("failing", "failing")
from_torch("no module", "no_module")
(root / "syntax.py").write_text("import torch\n\ndef tiny(:\n")
(root / "imports.py").write_text("import torch\nimport no_such_package\n")
from_torch("syntax", module="syntax.py")
from_torch("imports", module="imports.py")

free = from_torch("free batch", dynamic={"picture": {"0": "batch"}}, opset=12)
batch = torch.from_numpy(rng.standard_normal((4, 3, 8, 8), dtype=np.float32))
with torch.inference_mode():
    eager = trained.eval()(batch).numpy()
four = onnxruntime.InferenceSession(free).run(None, {"picture": batch.numpy()})[0]
one = onnxruntime.InferenceSession(root / "opset 12/out/model.onnx")
ones = np.concatenate([one.run(None, {"picture": picture[None]})[0] for picture in batch.numpy()])
found["batches"] = [float(np.abs(four - eager).max()), float(np.abs(four - ones).max())]

# The simplifier
model = onnx.load(root / "redundant, kept/out/model.onnx")


def broken(proto):
    weight = proto.graph.initializer[0]
    array = numpy_helper.to_array(weight).copy()
    array.flat[0] += 1e-2
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    return proto


def renaming(proto):
    proto.graph.node[-1].output[0] = proto.graph.output[0].name = "other"
    return proto


def raising(proto):
    raise KeyError("lost")


def nothing(proto):
    return None


for simplifier in (broken, renaming, raising, nothing, copy.deepcopy):
    try:
        simplify(model, PICTURES, root, simplifier)
        found[simplifier.__name__] = None
    except Refused as error:
        found[simplifier.__name__] = [type(error).__name__, error.message, error.remedy]

predictions = rng.random((1, 1000, 6)).astype(np.float32) * [640, 640, 640, 640, 1, 1]
touched = predictions.copy()
touched[0, 7, 4] += 1e-3
nan = np.array([1.0, np.nan])
found["differences"] = {
    "equal": difference(predictions, predictions),
    "a score by 0.001": difference(predictions, touched),
    "a pixel by 0.001": difference(predictions, predictions + np.float32([1e-3, 0, 0, 0, 0, 0])),
    "same NaN": difference(nan, nan.copy()),
    "other NaN": difference(nan, np.array([1.0, 2.0])) == float("inf"),
    "one step of int8": difference(np.array([3], np.int8), np.array([4], np.int8)),
}

# From ONNX


def graph(nodes, inputs, outputs, weights=(), opset=13, ir=7):
    made = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir, producer_name="hand")


X = [{"x": np.array([[1, -2, 3]], np.float32)}]
IN = [{"name": "x", "shape": [1, 3], "dtype": "float32", "layout": None}]
relu = graph([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]})
from_onnx("kept", relu, X, IN, ["y"])
from_onnx("raised", relu, X, IN, ["y"], opset=17)
from_onnx("lowered", relu, X, IN, ["y"], opset=11)
from_onnx("kept free", relu, X, IN, ["y"], dynamic={"x": {"0": "batch"}})
from_onnx("other names", relu, X, IN, ["z"])
from_onnx("other shape", graph(relu.graph.node, {"x": [1, 4]}, {"y": [1, 4]}), X, IN, ["y"])
from_onnx("other rank", graph(relu.graph.node, {"x": [1, 1, 3]}, {"y": [1, 1, 3]}), X, IN, ["y"])
whole = relu.SerializeToString()
from_onnx("truncated", whole[: len(whole) // 2], X, IN, ["y"])
from_onnx("text", b"these are no weights", X, IN, ["y"])
from_onnx("no nodes", helper.make_model(helper.make_graph([], "empty", [], [])), X, IN, ["y"])
wrong = graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 3]}, {"y": [1, 2]}, [("w", np.ones((4, 2), np.float32))]
)
from_onnx("wrong inside", wrong, X, IN, ["y"])
unknown = graph([helper.make_node("Reelu", ["x"], ["y"])], {"x": [1, 3]}, {"y": [1, 3]})
from_onnx("unknown operator", unknown, X, IN, ["y"])
mish = graph([helper.make_node("Mish", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]}, opset=18, ir=8)
from_onnx("written out", mish, X, IN, ["y"], opset=12, dynamic={"x": {"0": "batch"}})
einsum = helper.make_node("Einsum", ["x"], ["y"], name="sum_rows", equation="ij->ij")
from_onnx("impossible", graph([einsum], {"x": [1, 3]}, {"y": [1, 3]}), X, IN, ["y"], opset=11)
half_way = helper.make_node("Resize", ["x", "", "s"], ["y"], name="up", mode="linear")
scales = [("s", np.float32([1, 1.5]))]
from_onnx("another meaning", graph([half_way], {"x": [1, 3]}, {"y": [1, 4]}, scales), X, IN, ["y"], opset=10)
constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array([10, 20, 30], np.float32)))
plus = graph([constant, helper.make_node("Add", ["x", "c"], ["y"])], {"x": [1, 3]}, {"y": [1, 3]}, opset=12)
from_onnx("constant lowered", plus, X, IN, ["y"], opset=11)
recurrent = helper.make_node("RNN", ["x", "w", "r"], ["y"], hidden_size=3)
weights = [("w", np.ones((1, 3, 3), np.float32)), ("r", np.ones((1, 3, 3), np.float32))]
try:
    raise_opset(graph([recurrent], {"x": [1, 1, 3]}, {"y": [1, 1, 1, 3]}, weights, opset=6, ir=4), 13)
except Refused as error:
    found["raised too far"] = [type(error).__name__, error.message, error.remedy]
shape = ("s", np.array([1, 3], np.int64))
pinned = graph([helper.make_node("Reshape", ["x", "s"], ["y"])], {"x": [1, 3]}, {"y": [1, 3]}, [shape])
from_onnx("pinned", pinned, X, IN, ["y"])
from_onnx("pinned, free", pinned, X, IN, ["y"], dynamic={"x": {"0": "batch"}})
listed = graph(
    [helper.make_node("Mul", ["x", "w"], ["y"])],
    {"x": [1, 3], "w": [3]},
    {"y": [1, 3]},
    [("w", np.float32([2, 2, 2]))],
    ir=3,
)
from_onnx("weights as inputs", listed, X, IN, ["y"])
apart = root / "apart"
apart.mkdir()
onnx.save(
    graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])], {"x": [1, 3]}, {"y": [1, 3]}, [("w", np.ones((3,), np.float32))]
    ),
    apart / "apart.onnx",
    save_as_external_data=True,
    location="gone.bin",
    size_threshold=0,
)
from_onnx("without its data", apart / "apart.onnx", X, IN, ["y"])

if data:
    picture = [{"input": rng.standard_normal((1, 3, 240, 320), dtype=np.float32)}]
    fit = [{"name": "input", "shape": [1, 3, 240, 320], "dtype": "float32", "layout": "NCHW"}]
    ultraface = data / "weights" / "ultraface-slim-320.onnx"
    from_onnx("ultraface", ultraface, picture, fit, ["scores", "boxes"])
    from_onnx(
        "ultraface free 12", ultraface, picture, fit, ["scores", "boxes"], opset=12, dynamic={"input": {"0": "batch"}}
    )
    picture = [{"input": rng.standard_normal((1, 3, 224, 224), dtype=np.float32)}]
    fit = [{**fit[0], "shape": [1, 3, 224, 224]}]
    from_onnx("shufflenet", data / "weights" / "shufflenet-v2-12-int8.onnx", picture, fit, ["output"])
    from_onnx("shufflenet 11", data / "weights" / "shufflenet-v2-12-int8.onnx", picture, fit, ["output"], opset=11)
    picture = [{"data": rng.random((1, 3, 640, 640), dtype=np.float32)}]
    fit = [{**fit[0], "name": "data", "shape": [1, 3, 640, 640]}]
    heads = data / "weights" / "yolov5n-0.5-face.upstream-heads.onnx"
    strides = ["stride_8", "stride_16", "stride_32"]
    from_onnx("heads 11", heads, picture, fit, strides, opset=11)
    from_onnx("heads free", heads, picture, fit, strides, dynamic={"data": {"0": "batch"}}, simplify=False)
print(json.dumps(found))
