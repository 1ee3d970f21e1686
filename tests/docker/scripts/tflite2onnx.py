"""Bring toys and damaged files from TFLite to ONNX in the tflite2onnx toolchain; print what came of each as JSON."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import converter
import flatfiles
import numpy as np
import onnx
from jobfolder import write_job
from jobkit import Events, Refused
from jobkit.job import read_job

root = Path(sys.argv[1])
data = Path(sys.argv[2]) if len(sys.argv) > 2 else None
found = {}


def converted(name, source, inputs, outputs, opset=17):
    """Make a job folder, convert in it, and describe what came out; or the refusal."""
    rng = np.random.default_rng(0)
    samples = [{item["name"]: rng.random(item["shape"], np.float32) for item in inputs} for _ in range(2)]
    folder = root / name.replace(" ", "-")
    (folder / "in" / "source").mkdir(parents=True)
    shutil.copy(source, folder / "in" / "source" / "model.tflite")
    write_job(
        folder,
        samples,
        target="tflite2onnx",
        source={"kind": "tflite", "file": "in/source/model.tflite"},
        inputs=inputs,
        outputs=[{"name": output, "shape": None, "dtype": None} for output in outputs],
        options={"opset": opset},
        promises=["model.onnx"],
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
        found[name] = {"class": type(error).__name__, "message": error.message, "remedy": error.remedy, "left": left}
        return
    found[name] = described(job, runtime, expected, reference)


def described(job, runtime, expected, reference):
    model = onnx.load(job.out / "model.onnx")
    made = [runtime(sample) for sample in job.samples]
    return {
        "error": max(float(np.abs(one[name] - two[name]).max())
                     for one, two in zip(made, expected, strict=True) for name in two),
        "opset": [entry.version for entry in model.opset_import if not entry.domain],
        "inputs": {value.name: shape(value) for value in model.graph.input},
        "outputs": {value.name: shape(value) for value in model.graph.output},
        "layouts": [tensor.layout for tensor in runtime.inputs],
        "digest": hashlib.sha256((job.out / "model.onnx").read_bytes()).hexdigest(),
        "facts": job.facts,
        "reference": reference.device.detail,
        "expected": {name: array.tolist() for name, array in expected[0].items() if array.size < 20},
        "fed": {name: array.tolist() for name, array in job.samples[0].items() if array.size < 20},
        "left": sorted(path.name for path in job.out.iterdir()),
    }


def shape(value):
    return [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]


def item(name, *sizes, layout=None, dtype="float32"):
    return {"name": name, "shape": list(sizes), "dtype": dtype, "layout": layout}


def toy(name, write, *arguments, **options):
    path = root / f"{name.replace(' ', '-')}.tflite"
    write(path, *arguments, **options)
    return path


X = {2: item("x", 1, 12), 3: item("x", 1, 1, 12), 4: item("x", 1, 2, 2, 3)}


def dense(name, rank, **options):
    converted(name, toy(name, flatfiles.dense, rank=rank, **options), [X[rank]], ["y"])


def fully_connected():
    dense("rank 2", 2)
    dense("rank 3", 3)
    dense("rank 4 relu", 4, relu=True)
    dense("rank 4 without bias", 4, bias=False)
    dense("rank 4 keeping", 4, keep=True)
    dense("rank 4 inner", 4, inner=True)
    path = toy("again", flatfiles.dense, rank=4, inner=True)
    converted("rank 4 inner again", path, [X[4]], ["y"])
    # As tf2onnx does it by itself: the proof must see that.
    whole = converter.Child.call
    converter.Child.call = uncorrected(whole)
    converted("uncorrected", path, [X[4]], ["y"])
    converter.Child.call = whole


def uncorrected(call):
    """Let the process that translates leave the biases to tf2onnx."""

    def called(self, function, *arguments, **words):
        return call(self, function.replace("translate:", "untreated:"), *arguments, **words)

    return called


def others():
    converted("halves", toy("halves", flatfiles.halves), [item("picture", 1, 6, 6, 3, layout="NHWC")], ["features"], 13)
    converted("planes", toy("planes", flatfiles.planes), [item("x", 1, 3, 4, 4, layout="NCHW")], ["y"])
    converted("open batch", toy("open", flatfiles.sums, open_batch=True), [item("a", 3, 4), item("b", 3, 4)],
              ["second", "first"])


def wrong():
    halves, sums = root / "halves.tflite", toy("sums", flatfiles.sums)
    pair = [item("a", 1, 4), item("b", 1, 4)]
    picture = item("picture", 1, 6, 6, 3, layout="NHWC")
    converted("another layout", halves, [{**picture, "layout": "NCHW"}], ["features"])
    converted("another shape", halves, [item("picture", 1, 3, 6, 6, layout="NCHW")], ["features"])
    converted("another dtype", halves, [{**picture, "dtype": "uint8"}], ["features"])
    converted("another input", halves, [{**picture, "name": "image"}], ["features"])
    converted("an output left out", sums, pair, ["first"])
    converted("one name twice", toy("twice", flatfiles.sums, names=("y", "y")), pair, ["y"])
    converted("custom", toy("custom", flatfiles.custom, "MyFilter"), [item("x", 1, 4)], ["y"])
    converted("flex", toy("flex", flatfiles.custom, "FlexErf"), [item("x", 1, 4)], ["y"])
    converted("unknown to tf2onnx", toy("gelu", flatfiles.custom, "GELU"), [item("x", 1, 4)], ["y"])


def damaged():
    whole = (root / "halves.tflite").read_bytes()
    absurd = bytearray(whole)
    absurd[0:4] = (2**31 - 1).to_bytes(4, "little")
    for name, content in {
        "empty": b"",
        "eight bytes": whole[:8],
        "half": whole[: len(whole) // 2],
        "without its last tenth": whole[: len(whole) * 9 // 10],
        "another identifier": whole[:4] + b"TFL2" + whole[8:],
        "a page": b"<!DOCTYPE html><html><title>404</title></html>" + b" " * 99,
        "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n" + b" " * 99,
        "absurd offset": bytes(absurd),
        "noise": whole[:8] + np.random.default_rng(0).bytes(4096),
    }.items():
        path = root / f"damaged-{name.replace(' ', '-')}.tflite"
        path.write_bytes(content)
        converted(name, path, [item("picture", 1, 6, 6, 3, layout="NHWC")], ["features"])


def flipped():
    """Change bytes here and there: what comes of each must be a result or a refusal."""
    whole, rng = (root / "halves.tflite").read_bytes(), np.random.default_rng(1)
    for number in range(12):
        content = bytearray(whole)
        for place in rng.integers(8, len(whole), 6):
            content[place] = rng.integers(256)
        path = root / f"flipped-{number}.tflite"
        path.write_bytes(content)
        converted(f"flipped {number}", path, [item("picture", 1, 6, 6, 3, layout="NHWC")], ["features"])


def real():
    weights = data / "weights"
    # Once more where objects lie elsewhere in memory, of which tf2onnx makes choices.
    for name, allocator in (("landmark", "pymalloc"), ("landmark elsewhere", "malloc")):
        os.environ["PYTHONMALLOC"] = allocator
        converted(name, weights / "mediapipe-face-landmark-2020.tflite",
                  [item("input_1", 1, 192, 192, 3, layout="NHWC")], ["conv2d_20", "conv2d_30"])
    converted("detection", weights / "mediapipe-face-detection-short-range.tflite",
              [item("input", 1, 128, 128, 3, layout="NHWC")], ["regressors", "classificators"])


if __name__ == "__main__":
    fully_connected()
    others()
    wrong()
    damaged()
    flipped()
    if data:
        real()
    print(json.dumps(found))
