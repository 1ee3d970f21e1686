"""Whole jobs of a way to TFLite, all in one process of TensorFlow, for scripts that run in its own environment."""

import hashlib
import shutil
import traceback

import converter
import numpy as np
import onnx
import opening
import tflitenets as nets
import way
from child import Child
from jobfolder import write_job
from jobkit import Events, Refused
from jobkit.job import read_job


class Shop:
    """Makes jobs in folders below `root`, and does them."""

    def __init__(self, root):
        """Let all jobs have one process; `usual` is the layout that this way gives its inputs."""
        self.root, self.random, self.usual = root, np.random.default_rng(0), converter.WAY.layout
        self.child = Child("tensorflow")
        way.child_of = opening.child_of = lambda job: self.child

    def anew(self):
        """End the process, so that the next job has one of its own."""
        self.child.close()

    def values(self, shape, count=3):
        """Give samples of random numbers from 0 to 1."""
        return [{"x": self.random.random(shape, dtype=np.float32)} for _ in range(count)]

    def job(self, name, model, precision="fp32", *, samples=None, calibration=None, outputs=("y",), **rest):
        """Make a job folder; give the job."""
        folder = self.root / name
        samples = samples if samples is not None else self.values(nets.shape_of(model))
        shutil.rmtree(folder, ignore_errors=True)
        write_job(
            folder,
            samples,
            source={"kind": rest.pop("kind", "onnx"), "file": "in/source/model.onnx"},
            precision=precision,
            target="tflite",
            inputs=[{"name": "x", "shape": list(samples[0]["x"].shape), "dtype": "float32", "layout": "NCHW"}],
            outputs=[{"name": output, "shape": None, "dtype": None} for output in outputs],
            calibration="in/calibration.npz" if calibration else None,
            promises=["model.tflite"],
            options=rest.pop("options", {}),
            **rest,
        )
        if calibration:
            arrays = {f"{index}/x": item["x"] for index, item in enumerate(calibration)}
            np.savez(folder / "in" / "calibration.npz", **arrays)
        onnx.save(model, str(folder / "in" / "source" / "model.onnx"))
        return read_job(folder, Events(folder / "out" / "events.jsonl"))

    def done(self, task):
        """Convert, load and run; give what a test may want to know, or the refusal."""
        try:
            converter.prepare(task)
            files = converter.convert(task)
            runtime = converter.load(files, task)
            outputs = [runtime(sample) for sample in task.samples]
            reference = converter.reference(task)
            wanted = [reference(sample) for sample in task.samples]
        except Refused as error:
            left = sorted(path.name for path in task.out.iterdir())
            return {"class": type(error).__name__, "message": error.message, "remedy": error.remedy, "left": left}
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
            "values": {name: [array[name].ravel().tolist() for array in outputs] for name in outputs[0]},
            "shapes": {name: list(array.shape) for name, array in outputs[0].items()},
            "dtypes": sorted({str(array.dtype) for array in outputs[0].values()}),
            "errors": {name: error_of(outputs, wanted, name) for name in outputs[0]},
            "seconds": runtime.measured() > 0,
        }


def error_of(outputs, wanted, name):
    """Give the largest error of an output as a part of its range."""
    most = max(float(np.abs(got[name] - want[name]).max()) for got, want in zip(outputs, wanted, strict=True))
    return most / max(float(np.ptp(np.stack([want[name] for want in wanted]))), 1e-9)
