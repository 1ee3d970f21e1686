"""ONNX to TNN: folded, converted by upstream's onnx2tnn, and run by upstream's test program."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Dict, List, Sequence, Tuple

import agreement
import conversion
import modelcheck
import numpy as np
from folding import Folded, fold
from jobkit import ContractError, Device, FileSource, GraphError, Job, OptionError, Runtime, SourceError, Tensor
from jobkit.program import run
from jobkit.runtime import Arrays
from testprogram import DEVICES, OnDevice
from testprogram import NAME as TEST_PROGRAM

PACKAGES = ("onnx", "onnxsim", "onnxruntime", "protobuf")

# Where the image keeps what it compiled.
HOME_VARIABLE = "MODELFARM_TNN"
HOME = Path(os.environ.get(HOME_VARIABLE) or "/opt/tnn")

PROTO, WEIGHTS = "model.tnnproto", "model.tnnmodel"


@dataclass(frozen=True)
class Options:
    """What the recipe says for this target."""

    device: str
    optimize: bool
    threads: int


def read_options(job: Job) -> Options:
    """Parse ``job.options``.

    Raises OptionError where a value cannot be honoured.
    """
    device = str(job.options.get("device") or "x86").lower()
    if device not in DEVICES:
        raise OptionError(f"there is no device {device!r}", f"choose from {', '.join(DEVICES)}")
    return Options(
        device=device,
        optimize=bool(job.options.get("optimize", True)),
        threads=max(1, int(job.options.get("threads") or 2)),
    )


def prepare(job: Job) -> None:
    """Refuse wrong options and what TNN's programs cannot be given; look for these programs."""
    read_options(job)
    source = _source(job)
    missing = [name for name in (conversion.SCRIPT, TEST_PROGRAM, modelcheck.NAME) if not (HOME / name).exists()]
    if missing:
        raise ContractError(
            f"{', '.join(missing)} are not in {HOME}", "TNN exists as an image only: make images TARGET=tnn"
        )
    if len(job.inputs) != 1:
        names = ", ".join(item.name for item in job.inputs)
        raise OptionError(
            f"TNN's test program feeds one input, and {source.file.name} has {len(job.inputs)}: {names}",
            "leave out tnn for this model",
        )
    if job.inputs[0].dtype != "float32":
        raise OptionError(
            f"TNN's test program reads float32, and {job.inputs[0].name} is {job.inputs[0].dtype}",
            "let the model take float32, and cast inside",
        )
    conversion.check_names([item.name for item in job.inputs])


def convert(job: Job) -> List[str]:
    """Make ``model.tnnproto`` and ``model.tnnmodel``; give their names."""
    options, half = read_options(job), job.precision == "fp16"
    shapes = {item.name: item.shape for item in job.inputs}
    # The converter writes beside its input too.
    with TemporaryDirectory(prefix="tnn-") as temporary:
        work = Path(temporary)
        with job.events.step("fold everything that is constant"):
            folded = fold(_source(job).file, work / "model.onnx", shapes)
        wish = conversion.Wish(work / "model.onnx", shapes, half, options.optimize)
        with job.events.step("convert with onnx2tnn"):
            made = _converted(wish, work, folded)
        # Their contents alone: the converter leaves the time among their attributes.
        shutil.copyfile(made.proto, job.out / PROTO)
        shutil.copyfile(made.model, job.out / WEIGHTS)
    job.facts["simplified"] = {"before": folded.before, "after": folded.after}
    job.facts["weights"] = "fp16" if half else "fp32"
    return [PROTO, WEIGHTS]


def _converted(wish: conversion.Wish, work: Path, folded: Folded) -> conversion.Made:
    folder = work / "tnn"
    folder.mkdir()
    ended = run(conversion.command(sys.executable, HOME, wish, folder), work)
    made = conversion.made_by(wish, folder)
    conversion.judge(ended, made, folded.weights, wish.half)
    return made


def load(files: Sequence[str], job: Job) -> Runtime:
    """Run the artifact once, hold TNN's devices against each other on every sample, and give the one asked for."""
    options, proto = read_options(job), job.out / files[0]
    program = OnDevice(HOME, proto, options.device, options.threads)
    run_once = _in_shape(program, job)
    with job.events.step(f"try the model on TNN's {DEVICES[options.device]} device"):
        outputs = run_once(_example(job))
    if options.device != "naive":
        with job.events.step("check the layers with TNN's model check"):
            job.facts["model check"] = modelcheck.check(HOME, proto, options.device)
        with job.events.step(f"compare {DEVICES[options.device]} with NAIVE"):
            plain = _in_shape(OnDevice(HOME, proto, "naive", options.threads), job)
            job.facts["difference from NAIVE"] = agreement.compare(run_once, plain, job)
    inputs = tuple(Tensor(item.name, item.shape, item.dtype) for item in job.inputs)
    found = tuple(Tensor(name, array.shape, str(array.dtype)) for name, array in outputs.items())
    threads = f", {options.threads} threads" if options.device == "x86" else ""
    device = Device("cpu", "cpu", f"TNN {DEVICES[options.device]}{threads}")
    return Runtime(run_once, inputs, found, device, program.measured)


def _in_shape(program: OnDevice, job: Job) -> Callable[[Arrays], Arrays]:
    return lambda inputs: _named(program(inputs), job)


def _named(outputs: Arrays, job: Job) -> Dict[str, Any]:
    """Give the outputs in the shapes that the recipe states."""
    shapes = {item.name: item.shape for item in job.outputs}
    return {name: _shaped(name, array, shapes.get(name)) for name, array in outputs.items()}


def _shaped(name: str, array: Any, shape: Any) -> Any:
    if shape is None or array.shape == shape:
        return array
    # An axis of one more or one fewer is the same numbers in the same order.
    if _without_ones(array.shape) != _without_ones(shape):
        raise GraphError(
            f"TNN gives {name} the shape {list(array.shape)}; the recipe has {list(shape)}",
            "give the recipe the shape of the model, or see convert.log",
        )
    return array.reshape(shape)


def _without_ones(shape: Sequence[int]) -> Tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def reference(job: Job) -> Runtime:
    """Give the ONNX file in ONNX Runtime: in the farm the reference comes from the source of the model instead."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(_source(job).file), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]

    def call(inputs: Arrays) -> Arrays:
        outputs = session.run(names, inputs)
        return {name: outputs[index] for index, name in enumerate(names)}

    inputs = tuple(Tensor(item.name, item.shape, item.dtype) for item in job.inputs)
    return Runtime(call, inputs, (), Device("cpu", "cpu", f"ONNX Runtime {onnxruntime.__version__}"))


def _source(job: Job) -> FileSource:
    if not isinstance(job.source, FileSource) or job.source.kind != "onnx":
        raise SourceError("the tnn target reads an ONNX file only", "the farm makes it with its onnx target")
    return job.source


def _example(job: Job) -> Arrays:
    if len(job.samples):
        return job.samples[0]
    return {item.name: np.zeros(item.shape, item.dtype) for item in job.inputs}
