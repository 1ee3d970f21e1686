"""Do whole jobs of the tflite target in its own environment, all in one process of TensorFlow; print what came of them.

Arguments: a folder, and where there is one, that of the data.
"""

import hashlib
import json
import shutil
import sys
import traceback
from pathlib import Path

import converter
import numpy as np
import onnx
import tflitenets as nets
from child import Child
from jobfolder import write_job
from jobkit import Events, Refused
from jobkit.job import read_job

root, found = Path(sys.argv[1]), {}
rng = np.random.default_rng(0)
child = Child("tensorflow")
converter.child_of = lambda job: child


def values(shape, count=3):
    return [{"x": rng.random(shape, dtype=np.float32)} for _ in range(count)]


def job(name, model, precision="fp32", *, samples=None, calibration=None, outputs=("y",), kind="onnx", **changes):
    """Make a job folder; give the job."""
    folder, samples = root / name, samples if samples is not None else values(nets.shape_of(model))
    shutil.rmtree(folder, ignore_errors=True)
    write_job(
        folder,
        samples,
        source={"kind": kind, "file": "in/source/model.onnx"},
        precision=precision,
        target="tflite",
        inputs=[{"name": "x", "shape": list(samples[0]["x"].shape), "dtype": "float32", "layout": "NCHW"}],
        outputs=[{"name": output, "shape": None, "dtype": None} for output in outputs],
        calibration="in/calibration.npz" if calibration else None,
        promises=["model.tflite"],
        options=changes.pop("options", {}),
        **changes,
    )
    if calibration:
        arrays = {f"{index}/x": item["x"] for index, item in enumerate(calibration)}
        np.savez(folder / "in" / "calibration.npz", **arrays)
    onnx.save(model, str(folder / "in" / "source" / "model.onnx"))
    return read_job(folder, Events(folder / "out" / "events.jsonl"))


def done(task):
    """Convert, load and run; give what a test may want to know, or the refusal."""
    try:
        converter.prepare(task)
        files = converter.convert(task)
        runtime = converter.load(files, task)
        outputs = [runtime(sample) for sample in task.samples]
        reference = converter.reference(task)
        wanted = [reference(sample) for sample in task.samples]
    except Refused as error:
        return {"class": type(error).__name__, "message": error.message, "remedy": error.remedy,
                "left": sorted(path.name for path in task.out.iterdir())}
    except Exception as error:
        traceback.print_exc()
        return {"class": type(error).__name__, "message": str(error), "remedy": "", "left": []}
    return {
        "files": files,
        "left": sorted(path.name for path in task.out.iterdir()),
        "digest": hashlib.sha256((task.out / files[0]).read_bytes()).hexdigest(),
        "size": (task.out / files[0]).stat().st_size,
        "facts": task.facts,
        "inputs": [vars(tensor) for tensor in runtime.inputs],
        "outputs": [vars(tensor) for tensor in runtime.outputs],
        "shapes": {name: list(array.shape) for name, array in outputs[0].items()},
        "dtypes": sorted({str(array.dtype) for array in outputs[0].values()}),
        "errors": {name: error_of(outputs, wanted, name) for name in outputs[0]},
        "seconds": runtime.measured() > 0,
    }


def error_of(outputs, wanted, name):
    """Give the largest error of an output as a part of its range."""
    most = max(float(np.abs(got[name] - want[name]).max()) for got, want in zip(outputs, wanted, strict=True))
    return most / max(float(np.ptp(np.stack([want[name] for want in wanted]))), 1e-9)


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
found["refused node"] = done(job("refused-node", nets.padded("reflect")))
found["erf"] = done(job("erf", nets.one("Erf")))
found["erf allowed"] = done(job("erf-allowed", nets.one("Erf"), options={"select_ops": True}))
found["unread"] = done(job("unread", nets.unread()))
print(json.dumps(found, default=str))
