"""PyTorch or ONNX to ONNX: exported, checked, simplified with proof, and run in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from axes import batch_axis, name_outputs, set_inputs, try_batch
from edits import Edits, apply_edits, fitted, own_batch
from graph import (
    FILE,
    check_graph,
    check_inputs,
    check_names,
    count_nodes,
    count_parameters,
    infer_shapes,
    is_huge,
    make_plain,
    opset_of,
    read_graph,
    restore_names,
    rewrite_graph,
    write_graph,
)
from jobkit import Device, FileSource, GraphError, Job, Runtime, SourceError, Tensor, TorchSource
from jobkit.runtime import Arrays
from lint import examine
from options import DEFAULT_OPSET, Options, read_options
from passes import edit
from session import open_graph
from simplify import simplify
from versions import no_way, raise_opset

if TYPE_CHECKING:
    from source import TorchModel

PACKAGES = ("torch", "onnx", "onnxruntime", "onnxslim")


def prepare(job: Job) -> None:
    """Refuse wrong options and an unfit ONNX file at once; import torch where the source needs it, and only there."""
    read_options(job)
    if isinstance(job.source, FileSource):
        check_source(job.source, job)
    else:
        import export  # noqa: F401
        import source  # noqa: F401


def check_source(source: FileSource, job: Job) -> None:
    """Check an ONNX file: whole, valid, and with the inputs and outputs of the recipe.

    Raises SourceError or GraphError.
    """
    if source.kind != "onnx":
        raise SourceError(f"the onnx target cannot read a {source.kind} file", "name a PyTorch or an ONNX source")
    model = read_graph(source.file, weights=False)
    check_graph(source.file, opset_of(model))
    if not read_options(job).edit:
        check_names(model, job)
        check_inputs(model, job)


def convert(job: Job) -> list[str]:
    """Make ``model.onnx``, and ``model.onnx.data`` where it is large; give their names."""
    options = read_options(job)
    model = infer_shapes(_edited(job, options).model if options.edit else _plain(job, options))
    check_names(model, job)
    if job.lint:
        with job.events.step(f"hold the graph against what {job.lint['title']} takes"):
            before = _edited(job, options).simple if options.edit else model
            job.facts["lint"] = examine(before, model, job.lint)
    files = write_graph(model, job.out, options.external_data_above)
    _prove_batch(model, job, options)
    with job.events.step("check the graph"):
        check_graph(job.out / files[0], options.opset or opset_of(model))
    _record(model, job)
    return files


def _plain(job: Job, options: Options) -> onnx.ModelProto:
    with TemporaryDirectory(dir=job.out, prefix="work-") as folder:
        model = _source_graph(job, options, Path(folder))
        return _simple(model, job, Path(folder)) if options.simplify else model


def _source_graph(job: Job, options: Options, work: Path) -> onnx.ModelProto:
    model = _from_torch(job, options, work) if isinstance(job.source, TorchSource) else _from_onnx(job, options)
    if not options.edit:
        check_names(model, job)
    make_plain(model)
    return model


def _simple(model: onnx.ModelProto, job: Job, work: Path) -> onnx.ModelProto:
    model = _simplified(model, [fitted(sample, model) for sample in job.samples], job, work)
    make_plain(model)
    return model


# The reference of an edited graph is told by the edits, so that they are done once for both.
_edits: dict[Path, Edits] = {}


def _edited(job: Job, options: Options) -> Edits:
    if job.folder not in _edits:
        with TemporaryDirectory(dir=job.out, prefix="work-") as folder:
            work = Path(folder)

            def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
                return _simple(model, job, work) if options.simplify else model

            _edits[job.folder] = apply_edits(_source_graph(job, options, work), job, options, simplify)
            make_plain(_edits[job.folder].model)
        facts = _edits[job.folder].facts()
        if facts != {"changed": []}:
            job.facts["edited"] = facts
    return _edits[job.folder]


def load(files: list[str], job: Job) -> Runtime:
    """Open the artifact in ONNX Runtime, on the CPU, with its usual optimisations."""
    return open_graph(job.out / files[0])


def reference(job: Job) -> Runtime:
    """Give the source model in its own runtime: PyTorch eager in fp32, or the ONNX file with nothing optimised."""
    options = read_options(job)
    if isinstance(job.source, FileSource):
        source = open_graph(job.source.file, optimised=False)
    else:
        source = _torch_runtime(job, _torch_model(job), options.exported)
    if not options.edit:
        return source
    return Runtime(_edited(job, options).reference(source), source.inputs, (), source.device)


# Reference and conversion use one model, so that the weights are read once.
_models: dict[Path, TorchModel] = {}


def _torch_model(job: Job) -> TorchModel:
    if job.folder not in _models:
        from source import make_model

        assert isinstance(job.source, TorchSource)
        with job.events.step("load the weights" if job.source.weights else "initialise random weights"):
            _models[job.folder] = make_model(job.source)
    return _models[job.folder]


def _from_torch(job: Job, options: Options, work: Path) -> onnx.ModelProto:
    import torch
    from export import export

    opset = options.opset or DEFAULT_OPSET
    model = _torch_model(job)
    inputs = [torch.from_numpy(array) for array in _example(job)]
    names = ([item.name for item in job.inputs], list(options.exported))
    with job.events.step(f"export to ONNX, opset {opset}"):
        export(model.module, inputs, work / "exported.onnx", opset=opset, names=names, dynamic=options.dynamic)
    job.facts.update(model.facts())
    graph = read_graph(work / "exported.onnx")
    restore_names(graph, names[1])
    return graph


def _example(job: Job) -> list[np.ndarray[Any, Any]]:
    if not len(job.samples):
        return [np.zeros(item.shape, item.dtype) for item in job.inputs]
    sample = job.samples[0]
    return [sample[item.name].copy() for item in job.inputs]


def _from_onnx(job: Job, options: Options) -> onnx.ModelProto:
    assert isinstance(job.source, FileSource)
    model = read_graph(job.source.file)
    inputs, dynamic = list(job.inputs), options.dynamic
    if "batch" in options.edit:
        inputs, dynamic = own_batch(model, inputs, dynamic)
    model = set_inputs(model, inputs, dynamic)
    job.facts["exporter"] = f"{model.producer_name} {model.producer_version}".strip() or "unknown"
    job.facts["source"] = {"opset": opset_of(model), "ir_version": model.ir_version}
    before = opset_of(model)
    if options.opset is None or options.opset == before:
        return model
    with job.events.step(f"convert from opset {before} to {options.opset}"):
        return _lowered(model, options.opset, job) if options.opset < before else raise_opset(model, options.opset)


def _lowered(model: onnx.ModelProto, opset: int, job: Job) -> onnx.ModelProto:
    """Give `model` in terms of an older opset, proven on the samples. Raises GraphError naming the node in the way."""
    try:
        lowered = edit(model, {"opset": opset}, list(job.samples))
    except GraphError as error:
        raise no_way(model, opset, error.message) from error
    job.facts["lowered"] = list(lowered.lines)
    return lowered.model


def _simplified(model: onnx.ModelProto, samples: Sequence[Arrays], job: Job, work: Path) -> onnx.ModelProto:
    before = count_nodes(model)
    if is_huge(model):
        job.events.note("the graph is over 2 GiB and stays as it is: it cannot be simplified")
        job.facts["simplified"] = {"skipped": "over 2 GiB"}
        return model
    with job.events.step("simplify, and compare with the graph before"):
        result = simplify(model, samples, work)
    job.facts["simplified"] = {"before": sum(before.values()), "after": sum(count_nodes(result).values())}
    return result


def _prove_batch(model: onnx.ModelProto, job: Job, options: Options) -> None:
    """Prove that a free batch axis is free, and write it into the outputs."""
    batch = batch_axis(job.inputs, options.dynamic)
    if batch is None or not len(job.samples):
        if options.dynamic:
            job.events.note("the free axes were not tried out: only a free batch, with a sample, is")
        return
    with job.events.step(f"try the free axis {batch}"):
        sizes = try_batch(open_graph(job.out / FILE), job.samples[0])
        name_outputs(model, sizes, batch)
        rewrite_graph(model, job.out)


def _record(model: onnx.ModelProto, job: Job) -> None:
    job.facts["opset"] = opset_of(model)
    job.facts["ir_version"] = model.ir_version
    job.facts["nodes"] = count_nodes(model)
    job.facts.setdefault("parameters", count_parameters(model))


def _torch_runtime(job: Job, model: TorchModel, names: Sequence[str]) -> Runtime:
    import torch

    def run(inputs: Arrays) -> Arrays:
        outputs = model.run([torch.from_numpy(inputs[item.name].copy()) for item in job.inputs])
        if len(outputs) != len(names):
            raise SourceError(
                f"the model gives {len(outputs)} outputs; the recipe names {', '.join(names)}", "name all outputs"
            )
        return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}

    signature = tuple(Tensor(item.name, item.shape, item.dtype) for item in job.inputs)
    return Runtime(run, signature, (), Device("cpu", "cpu", f"torch {torch.__version__}, eager"))
