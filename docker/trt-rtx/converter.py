"""ONNX to TensorRT-RTX: one engine for several generations of GPUs, built on any machine and run on none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

import capabilities
import enginefile
from building import BuildError, Made, Wish, build
from jobkit import Device, FileSource, Inspected, Job, SourceError, Tensor
from parsing import Parsed, parse
from profiles import Range, plan, read_batch
from trtapi import RtxApi, find

PACKAGES = ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs")

# The package tensorrt-rtx is a source archive that only imports this one.
MODULE = "tensorrt_rtx_bindings"

ENGINE = "model.engine"


@dataclass(frozen=True)
class Options:
    """What the recipe says for this target; no `capabilities` stands for all that the model can be built for."""

    capabilities: Tuple[int, ...]
    batch: Optional[Range]
    tf32: bool


def read_options(job: Job, api: RtxApi) -> Options:
    """Parse ``job.options``. Raises OptionError where a value cannot be honoured."""
    return Options(
        capabilities=capabilities.read(job.options.get("compute_capabilities"), capabilities.known(api.trt)),
        batch=read_batch(job.options.get("batch")),
        tf32=bool(job.options.get("tf32", False)),
    )


def toolkit() -> RtxApi:
    """Import TensorRT-RTX."""
    api = find(MODULE)
    assert isinstance(api, RtxApi)
    return api


def prepare(job: Job) -> None:
    """Import TensorRT-RTX and refuse wrong options at once."""
    # Its compiler would use all processors of the machine, whatever share the job has.
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    read_options(job, toolkit())
    _source(job)


def convert(job: Job) -> List[str]:
    """Make ``model.engine``; give its name."""
    api = toolkit()
    with job.events.step("build the engine"):
        engine = _built(job, api, read_options(job, api)).engine
    (job.out / ENGINE).write_bytes(engine)
    job.events.note(f"it serves compute capabilities {_served(job)}")
    return [ENGINE]


def _built(job: Job, api: RtxApi, options: Options) -> Made:
    """Build for all compute capabilities that were asked for, or else for those that take the model; tell which."""
    chosen = options.capabilities or capabilities.known(api.trt)
    try:
        made = _build(job, api, options, chosen)
    except BuildError:
        if options.capabilities:
            raise
        refused = _refused(job, api, options)
        chosen = tuple(each for each in chosen if each not in refused)
        made = _build(job, api, options, chosen)
        job.facts["left out"] = {str(each): reason for each, reason in refused.items()}
        for each, reason in refused.items():
            job.events.note(f"not for compute capability {capabilities.shown(each)}: {reason}")
    job.facts["compute capabilities"] = list(chosen)
    return made


def _refused(job: Job, api: RtxApi, options: Options) -> Dict[int, str]:
    """Try each compute capability alone; give those that do not take the model, and why.

    Raises BuildError where none does.
    """
    found: Dict[int, BuildError] = {}
    everything = capabilities.known(api.trt)
    for each in everything:
        try:
            _build(job, api, options, (each,))
        except BuildError as error:
            found[each] = error
    if len(found) == len(everything):
        raise found[everything[0]]
    return {each: error.reason for each, error in found.items()}


def _build(job: Job, api: RtxApi, options: Options, chosen: Tuple[int, ...]) -> Made:
    parsed = parse(api, _source(job).file)
    shapes = {tensor.name: tuple(tensor.shape) for tensor in parsed.inputs}
    profile = plan(shapes, {item.name: item.shape for item in job.inputs}, options.batch)
    return build(parsed, Wish(job.precision, profile, tf32=options.tf32, capabilities=chosen))


def _served(job: Job) -> str:
    return ", ".join(map(capabilities.shown, job.facts.get("compute capabilities", ()))) or "that its manifest names"


def load(files: Sequence[str], job: Job) -> Inspected:
    """Inspect the engine: the file by its header, and the signature by the network that it is built from.

    TensorRT-RTX reads an engine where there is a GPU, and nowhere else.
    """
    api = toolkit()
    parsed = parse(api, _source(job).file)
    inputs, outputs = (_tensors(api, tensors) for tensors in (parsed.inputs, parsed.outputs))
    found = enginefile.read(job.out / files[0])
    enginefile.check(found, api.version, [tensor.name for tensor in (*inputs, *outputs)])
    job.facts["runtime"] = {"name": api.title, "version": api.version}
    job.facts["engine"] = {"version": found.version, "bytes": found.size}
    job.facts["network"] = _described(parsed)
    why = f"{api.title} {api.version} reads an engine on a GPU alone, this one on compute capabilities {_served(job)}"
    return Inspected(inputs, outputs, Device("gpu", "none", why))


def _tensors(api: RtxApi, tensors: Sequence[Any]) -> Tuple[Tensor, ...]:
    return tuple(api.tensor(tensor.name, tensor.shape, tensor.dtype) for tensor in tensors)


def _described(parsed: Parsed) -> Dict[str, Any]:
    """Count the layers of the network by what they do and by the types that they give."""
    kinds: Dict[str, int] = {}
    types: Dict[str, int] = {}
    for layer in parsed.layers:
        kinds[layer.type.name.lower()] = kinds.get(layer.type.name.lower(), 0) + 1
        for tensor in (layer.get_output(index) for index in range(layer.num_outputs)):
            kind = parsed.api.tensor(tensor.name, (), tensor.dtype).dtype
            types[kind] = types.get(kind, 0) + 1
    return {"layers": kinds, "types": types}


def _source(job: Job) -> FileSource:
    if not isinstance(job.source, FileSource) or job.source.kind != "onnx":
        raise SourceError("TensorRT-RTX reads ONNX files", "run the job through the farm, which makes one first")
    return job.source
