"""What all ways to an engine share: its passport, its load, its run on the samples, and its figures."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import passport
from batches import in_batches
from jobkit import Device, Job, Runtime
from latency import measure_engine
from memory import Cuda, open_cuda
from runtime import TrtModel
from trtapi import Api

ENGINE = "model.engine"
DRIVER = "/proc/driver/nvidia/version"

# cuBLAS and cuDNN have no other switch that all which use them reach; they look at it when they start.
NO_TF32 = "NVIDIA_TF32_OVERRIDE"

Arrays = Dict[str, Any]


def obey_tf32(job: Job) -> None:
    """Let NVIDIA's libraries compute in fp32 as it is, unless the job asks for TF32; before the first is loaded."""
    if not job.options.get("tf32"):
        os.environ[NO_TF32] = "0"


def open_gpu(api: Api) -> Cuda:
    """Open the GPU, which lives as long as the process. Raises DeviceError where there is none."""
    return open_cuda(api.version)


def seal(job: Job, api: Api, cuda: Cuda) -> List[str]:
    """Issue the passport of the engine in ``job.out``; give the names of both files."""
    card = cuda.card
    issued = passport.issue(job.out / ENGINE, tensorrt=api.version, gpu=card.name, capability=card.capability,
                            driver=driver(), cuda=card.cuda)  # fmt: skip
    issued.write(job.out)
    job.facts["engine"] = asdict(issued)
    return [ENGINE, passport.NAME]


def driver(file: str = DRIVER) -> str:
    """Give the driver's version, empty where the kernel does not tell it."""
    try:
        words = Path(file).read_text(encoding="utf-8", errors="replace").partition("\n")[0].split()
    except OSError:
        return ""
    return next((word for word in words if word.count(".") and word.replace(".", "").isdigit()), "")


def load_engine(files: Sequence[str], job: Job, api: Api, cuda: Cuda) -> Runtime:
    """Load the engine of a job, whether it was just made or given, and show it as the farm sees runtimes."""
    model = TrtModel(job.out / files[0], trt=api.trt, cuda=cuda, command=f"make {job.target} MODEL={job.model}")
    inputs, outputs = api.tensors(model.bindings.engine)
    card = cuda.card
    where = Device("gpu", "gpu", f"TensorRT {api.version} on {card.name} ({card.architecture})")
    return Runtime(in_batches(model, model.inputs), tuple(inputs), tuple(outputs), where,
                   figures=lambda sample: figures(model, sample))  # fmt: skip


def figures(model: TrtModel, sample: Arrays) -> Dict[str, float]:
    """Measure the engine on a sample, cut to what fits into one run."""
    most = min((each.most[0] for each in model.inputs if each.most), default=1)
    return measure_engine(model, {name: array[:most] for name, array in sample.items()})


def outputs_of(model: Callable[[Arrays], Arrays], samples: Sequence[Arrays]) -> List[Arrays]:
    """Run an engine on each sample."""
    return [model(sample) for sample in samples]


def reference(source: Path) -> Runtime:
    """Give an ONNX file in onnx's own evaluator, for the self-test: the farm compares with the source of the model."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(source))
    names = list(evaluator.output_names)
    where = Device("cpu", "cpu", f"onnx {onnx.__version__}")
    return Runtime(lambda inputs: dict(zip(names, evaluator.run(names, inputs))), (), (), where)  # noqa: B905
