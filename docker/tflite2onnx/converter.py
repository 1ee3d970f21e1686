"""TFLite to ONNX: translated by tf2onnx, corrected where that is known to be wrong, proven against the interpreter."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from anatomy import Anatomy
from child import Child
from graph import (
    check_graph,
    check_names,
    count_nodes,
    count_parameters,
    infer_shapes,
    make_plain,
    opset_of,
    read_graph,
    write_graph,
)
from identifier import check_identifier
from jobkit import Device, FileSource, GraphError, Job, Runtime, SourceError, Tensor
from original import FETCH_ANEW, Original
from proof import prove, worst
from session import open_graph
from translate import GRAPH, Translated

PACKAGES = ("tf2onnx", "tensorflow-cpu", "ai-edge-litert", "onnx", "onnxruntime")

DEFAULT_OPSET = 17

# tf2onnx walks over sets of names, whose order would differ from process to process: for the processes started here.
os.environ["PYTHONHASHSEED"] = "0"


def prepare(job: Job) -> None:
    """Refuse at once what is no TFLite file."""
    check_identifier(_file(job))


def convert(job: Job) -> list[str]:
    """Make ``model.onnx``; give its name."""
    opset = int(job.options.get("opset") or DEFAULT_OPSET)
    with TemporaryDirectory(dir=job.out, prefix="work-") as folder, Child("tf2onnx") as child:
        graph = Path(folder) / GRAPH

        def translate(tensors: Sequence[str]) -> Translated:
            words = (str(_file(job)), folder, opset, list(tensors))
            doing = f"translate {_file(job).name} with tf2onnx"
            translated: Translated = child.call("translate:translate", *words, doing=doing, remedy=FETCH_ANEW)
            return translated

        with job.events.step(f"translate with tf2onnx, opset {opset}"):
            translated = translate(())
        _record_layouts(translated.anatomy, job)
        model = _fitted(graph, job)
        with job.events.step("compare with the TFLite interpreter"):
            errors = prove(job, translated.anatomy, graph, translate, translated.corrected)
    files = write_graph(model, job.out)
    check_graph(job.out / files[0], opset)
    _record(model, translated, job)
    job.facts["proven"] = list(errors)
    job.events.note(f"equal to the interpreter within {worst(errors):.0e} of their size: {', '.join(errors)}")
    return files


def _record_layouts(anatomy: Anatomy, job: Job) -> None:
    """Record what the file tells of the layout of its inputs; raises GraphError where the recipe has another one."""
    found = {anatomy.tensors[number].name: anatomy.layout(number) for number in anatomy.inputs}
    for item in job.inputs:
        layout = found[item.name]
        if item.layout and layout and item.layout != layout:
            raise GraphError(
                f"the input {item.name} of {_file(job).name} is {layout}; the recipe has {item.layout}",
                f"write layout: {layout} in the recipe, with the shape of the file",
            )
    job.facts["layouts"] = {name: layout for name, layout in found.items() if layout}


def _fitted(path: Path, job: Job) -> onnx.ModelProto:
    """Read the graph, with the sizes of the recipe where the file leaves an axis open."""
    model = read_graph(path)
    check_names(model, job)
    shapes = {item.name: item.shape for item in job.inputs}
    for value in model.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            dim.dim_value = size
    make_plain(model)
    # tf2onnx writes down the sizes that an open axis had in the file.
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return infer_shapes(model)


def _record(model: onnx.ModelProto, translated: Translated, job: Job) -> None:
    anatomy = translated.anatomy
    job.facts["source"] = {"format": f"TFLite {anatomy.version}", "description": anatomy.description}
    job.facts["operators"] = anatomy.counts()
    job.facts["exporter"] = f"{model.producer_name} {model.producer_version}"
    job.facts["opset"] = opset_of(model)
    job.facts["ir_version"] = model.ir_version
    job.facts["nodes"] = count_nodes(model)
    job.facts["parameters"] = count_parameters(model)
    if translated.corrected:
        job.facts["corrected"] = [f"FULLY_CONNECTED {name}: the bias, which tf2onnx drops, was put back"
                                  for name in translated.corrected]
        for line in job.facts["corrected"]:
            job.events.note(line)


def load(files: Sequence[str], job: Job) -> Runtime:
    """Open the artifact in ONNX Runtime, on the CPU, with its usual optimisations."""
    runtime = open_graph(job.out / files[0])
    layouts = job.facts.get("layouts", {})
    inputs = tuple(Tensor(item.name, item.shape, item.dtype, layouts.get(item.name)) for item in runtime.inputs)
    return Runtime(runtime.run, inputs, runtime.outputs, runtime.device)


def reference(job: Job) -> Runtime:
    """Give the file in its own interpreter, with the kernels that define the operators and no delegate."""
    original = Original(_file(job), job, Child("interpreter"))
    device = Device("cpu", "cpu", "TFLite interpreter, no delegate")
    return Runtime(original, tuple(original.inputs), tuple(original.outputs), device)


def _file(job: Job) -> Path:
    if not isinstance(job.source, FileSource) or job.source.kind != "tflite":
        raise SourceError("the tflite2onnx target reads a TFLite file only", "name one as source: {tflite: ...}")
    return job.source.file
