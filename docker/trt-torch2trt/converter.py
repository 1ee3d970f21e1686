"""PyTorch to TensorRT by torch2trt, layer by layer and without ONNX; run as the engines of the other ways are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from engines import ENGINE, load_engine, obey_tf32, open_gpu, seal
from jobkit import Device, GraphError, Job, OptionError, Runtime, SourceError, TorchSource, brief
from memory import Cuda
from profiles import read_batch
from trtapi import Api, find

PACKAGES = ("tensorrt", "pycuda", "torch", "torch2trt")
OTHER = "VIA=python can do that"

Arrays = Dict[str, Any]

_open: Dict[Path, Tuple[Api, Cuda]] = {}
_models: Dict[Path, Any] = {}


def check_options(job: Job) -> None:
    """Raise OptionError for what torch2trt cannot do."""
    if read_batch(job.options.get("batch")):
        raise OptionError("torch2trt builds here for the recipe's batch only", OTHER)
    if job.options.get("fp32_layers"):
        raise OptionError("torch2trt cannot keep single layers in fp32", OTHER)
    if job.options.get("adapt"):
        raise OptionError("torch2trt has no ONNX graph that could be edited", OTHER)
    if job.precision == "int8" and job.calibration is None:
        raise OptionError("int8 wants calibration samples", "name some in the recipe: calibration: {pictures: [...]}")


def prepare(job: Job) -> None:
    """Refuse what torch2trt cannot do, and a machine without a GPU; import what the job needs."""
    check_options(job)
    if not isinstance(job.source, TorchSource):
        raise SourceError("torch2trt reads PyTorch models", "VIA=python starts from an ONNX file")
    obey_tf32(job)  # torch2trt has no option for it
    _gpu(job)


def _gpu(job: Job) -> Tuple[Api, Cuda]:
    if job.folder not in _open:
        api = find("tensorrt")
        _open[job.folder] = (api, open_gpu(api))
    return _open[job.folder]


def _model(job: Job) -> Any:
    """Make the model once, for the reference and for the conversion."""
    if job.folder not in _models:
        from source import make_model

        assert isinstance(job.source, TorchSource)
        with job.events.step("load the weights" if job.source.weights else "initialise random weights"):
            _models[job.folder] = make_model(job.source)
        job.facts.update(_models[job.folder].facts())
    return _models[job.folder]


def reference(job: Job) -> Runtime:
    """Give the source model in PyTorch eager, in fp32 on the CPU."""
    import torch

    model = _model(job)

    def run(inputs: Arrays) -> Arrays:
        given = [torch.from_numpy(inputs[item.name]) for item in job.inputs]
        return {item.name: output.numpy() for item, output in zip(job.outputs, model.run(given))}  # noqa: B905

    return Runtime(run, (), (), Device("cpu", "cpu", f"PyTorch {torch.__version__}"))


def convert(job: Job) -> List[str]:
    """Let torch2trt build the engine, and issue a passport; give the names of both files.

    Raises GraphError where a layer has no converter.
    """
    import torch

    model = _model(job).module.cuda()
    samples = _on_gpu(job, [job.samples[0]])
    with job.events.step(f"build the engine with torch2trt in {job.precision}"), torch.no_grad():
        made = _converted(job, model, samples[0])
    (job.out / ENGINE).write_bytes(bytes(made.engine.serialize()))
    del made
    model.cpu()
    torch.cuda.empty_cache()
    return seal(job, *_gpu(job))


def _converted(job: Job, model: Any, sample: List[Any]) -> Any:
    from torch2trt import torch2trt

    more: Dict[str, Any] = {}
    if job.precision == "int8":
        assert job.calibration is not None
        # Its calibrator stacks single items to batches itself.
        items = [[tensor[index] for tensor in sample] for sample in _on_gpu(job, job.calibration)
                 for index in range(sample[0].shape[0])]  # fmt: skip
        more = {"int8_mode": True, "int8_calib_dataset": items, "int8_calib_batch_size": job.inputs[0].shape[0]}
    try:
        return torch2trt(
            model,
            sample,
            input_names=[item.name for item in job.inputs],
            output_names=[item.name for item in job.outputs],
            fp16_mode=job.precision != "fp32",
            max_workspace_size=int(job.options.get("workspace") or 1 << 30),
            max_batch_size=job.inputs[0].shape[0],
            **more,
        )
    except AttributeError as error:
        # A tensor that came out of a layer without converter has no counterpart in TensorRT.
        if "_trt" not in str(error):
            raise
        raise GraphError(
            f"torch2trt has no converter for a layer of the model: {brief(error)}",
            "convert.log names the layers that it warned of; VIA=python goes by way of ONNX",
        ) from error


def _on_gpu(job: Job, samples: Any) -> List[List[Any]]:
    """Give each sample as tensors on the GPU, in the order of the inputs."""
    import torch

    return [[torch.from_numpy(sample[item.name]).cuda() for item in job.inputs] for sample in samples]


def load(files: Sequence[str], job: Job) -> Runtime:
    """Load the engine, after a look at its passport, and show it to the farm."""
    engine = load_engine(files, job, *_gpu(job))
    if job.given:
        return engine
    return replace(engine, figures=lambda sample: {**engine.figures(sample), **_eager(job, sample)})


def _eager(job: Job, sample: Arrays) -> Dict[str, float]:
    """Measure the same model in PyTorch eager; ONNX Runtime is measured by the way that reads an ONNX file."""
    from eager import eager

    (tensors,) = _on_gpu(job, [sample])
    module = _model(job).module.cuda()
    try:
        return eager(module, tensors)
    finally:
        module.cpu()
