"""Convert small graphs by onnx2tf in its toolchain; print what came of each as JSON."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import converter
import numpy as np
import onnx
from jobfolder import write_job
from jobkit import Events, Refused
from jobkit.job import read_job
from onnx import TensorProto, helper, numpy_helper

root = Path(sys.argv[1])
found = {}
rng = np.random.default_rng(0)


def model(name, nodes, inputs, outputs, weights):
    values = [[helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in entries.items()]
              for entries in (inputs, outputs)]
    tensors = [numpy_helper.from_array(array, key) for key, array in weights.items()]
    graph = helper.make_graph(nodes, "toy", *values, tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, root / f"{name}.onnx")


def heads(name):
    """Two outputs of one shape, with a slash and a colon in their names, and a third in another order of axes."""
    weights = {"w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32) / 5, "b": np.ones(4, np.float32)}
    nodes = [
        helper.make_node("Conv", ["picture", "w", "b"], ["c"], name="/conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["/z:0"], name="/relu"),
        helper.make_node("Neg", ["c"], ["a"], name="/neg"),
        helper.make_node("Transpose", ["c"], ["rows"], name="/turn", perm=[0, 2, 3, 1]),
    ]
    outputs = {"/z:0": [1, 4, 8, 8], "a": [1, 4, 8, 8], "rows": [1, 8, 8, 4]}
    model(name, nodes, {"picture": [1, 3, 8, 8]}, outputs, weights)


def grouped(name):
    """A convolution in two groups, and one that has a group for each channel, as MobileNets have."""
    weights = {"w": rng.standard_normal((8, 3, 3, 3)).astype(np.float32) / 5,
               "two": rng.standard_normal((8, 4, 3, 3)).astype(np.float32) / 5,
               "each": rng.standard_normal((8, 1, 3, 3)).astype(np.float32) / 2}
    how = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["picture", "w"], ["a"], name="first", **how),
        helper.make_node("Conv", ["a", "two"], ["b"], name="halves", group=2, **how),
        helper.make_node("Conv", ["b", "each"], ["y"], name="each", group=8, **how),
    ]
    model(name, nodes, {"picture": [1, 3, 8, 8]}, {"y": [1, 8, 8, 8]}, weights)


def strange(name):
    model(name, [helper.make_node("Bernoulli", ["x"], ["y"], name="coin")], {"x": [2, 3]}, {"y": [2, 3]}, {})


def converted(name, source, precision, inputs, outputs, shape=None):
    folder = root / name.replace(" ", "-")
    (folder / "in" / "source").mkdir(parents=True)
    shutil.copy(source, folder / "in" / "source" / "model.onnx")
    before, rng = source.read_bytes(), np.random.default_rng(1)
    pictures = [{key: rng.random(shape, np.float32) for key, (shape, _) in inputs.items()} for _ in range(4)]
    np.savez(folder / "in" / "calibration.npz", **{f"{index}/{key}": array for index, sample in enumerate(pictures)
                                                    for key, array in sample.items()})
    write_job(
        folder,
        pictures[:2],
        target="tflite",
        precision=precision,
        source={"kind": "onnx", "file": "in/source/model.onnx"},
        inputs=[{"name": key, "shape": list(shape), "dtype": "float32", "layout": layout}
                for key, (shape, layout) in inputs.items()],
        outputs=[{"name": output, "shape": shape, "dtype": None} for output in outputs],
        options={},
        promises=["model.tflite"],
        calibration="in/calibration.npz" if precision in ("int8", "uint8") else None,
    )
    job = read_job(folder, Events(folder / "out" / "events.jsonl"))
    try:
        converter.prepare(job)
        reference = converter.reference(job)
        files = converter.convert(job)
        runtime = converter.load(files, job)
        pairs = [(runtime(sample), reference(sample)) for sample in job.samples]
    except Refused as error:
        found[name] = {"class": type(error).__name__, "message": error.message, "remedy": error.remedy}
        return
    content = (job.out / "model.tflite").read_bytes()
    found[name] = {
        "errors": {key: max(float(np.abs(made[key] - wanted[key]).max()) for made, wanted in pairs)
                   for key in outputs},
        "shapes": {key: list(pairs[0][0][key].shape) for key in outputs},
        "inputs": [[tensor.name, list(tensor.shape), tensor.dtype, tensor.layout] for tensor in runtime.inputs],
        "outputs": [[tensor.name, tensor.dtype, tensor.scale is not None] for tensor in runtime.outputs],
        "digest": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "untouched": (folder / "in" / "source" / "model.onnx").read_bytes() == before,
        "left": sorted(path.name for path in job.out.iterdir()),
    }


PICTURE = {"picture": ((1, 3, 8, 8), "NCHW")}

if __name__ == "__main__":
    heads("heads")
    strange("strange")
    grouped("grouped")
    names = ["/z:0", "a", "rows"]
    for precision in ("fp32", "fp16", "dynamic", "int8", "uint8"):
        converted(precision, root / "heads.onnx", precision, PICTURE, names)
    converted("again", root / "heads.onnx", "uint8", PICTURE, names)
    converted("grouped", root / "grouped.onnx", "fp32", PICTURE, ["y"], shape=[1, 8, 8, 8])
    converted("strange", root / "strange.onnx", "fp32", {"x": ((2, 3), None)}, ["y"])
    converted("another shape", root / "heads.onnx", "fp32", {"picture": ((1, 3, 9, 9), "NCHW")}, names)
    print(json.dumps(found))
