"""An ONNX graph: read, checked, made plain and equal in every run, written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from jobkit import GraphError, Job, SourceError, brief
from options import TWO_GIB

FILE = "model.onnx"
DATA_FILE = "model.onnx.data"

# What a graph may hold beside its weights, in bytes.
ROOM = 64 * 2**20

# From IR version 4 on, weights need not be listed as inputs; from 8 on, a model may define functions.
IR_WITHOUT_WEIGHTS_AS_INPUTS = 4
IR_WITH_FUNCTIONS = 8


def read_graph(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """Read the file at `path`; `weights` False leaves out those in other files.

    Raises SourceError where it is damaged or no ONNX.
    """
    try:
        model = onnx.load(path, load_external_data=weights)
    except DecodeError:
        raise SourceError(
            f"{path.name} is damaged, truncated or no ONNX file ({path.stat().st_size:,} bytes)", "fetch it anew"
        ) from None
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise SourceError(
            f"{path.name} cannot be read: {brief(error)}", "fetch it anew, with its external data"
        ) from None
    if not model.graph.node or not model.opset_import:
        raise SourceError(f"{path.name} is no ONNX file, or an empty one", "name a file that holds a model")
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """Give the version of the standard operators that the file itself states."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def input_values(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Give the inputs of `model` without the weights, which old files list among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def restore_names(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Give the outputs of `model` the names that it was exported with, in place: the exporter drops a constant's."""
    for value, name in zip(model.graph.output, names, strict=False):
        if value.name != name:
            model.graph.node.append(onnx.helper.make_node("Identity", [value.name], [name]))
            value.name = name


def check_names(model: onnx.ModelProto, job: Job) -> None:
    """Raise GraphError unless the inputs and outputs of `model` are those that the recipe names."""
    for kind, values, items in (
        ("inputs", input_values(model), job.inputs),
        ("outputs", list(model.graph.output), job.outputs),
    ):
        found, wanted = [value.name for value in values], [item.name for item in items]
        # An edit that renames outputs leaves them open: then the job names none.
        if sorted(found) != sorted(wanted) and (wanted or kind == "inputs"):
            raise GraphError(
                f"the {kind} of the model are {', '.join(found)}; the recipe names {', '.join(wanted)}",
                f"name all {kind} of the model in the recipe, as the model does",
            )


def check_inputs(model: onnx.ModelProto, job: Job) -> None:
    """Raise GraphError unless the inputs of `model` have the recipe's types, and its sizes where they are fixed."""
    values = {value.name: value.type.tensor_type for value in input_values(model)}
    for item in job.inputs:
        dims = values[item.name].shape.dim
        fixed = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
        same = [size in (None, wanted) for size, wanted in zip(fixed, item.shape, strict=False)]
        if len(fixed) != len(item.shape) or not all(same):
            found = [dim.dim_value or dim.dim_param or "?" for dim in dims]
            raise GraphError(
                f"the input {item.name} of the model is {found}; the recipe has {list(item.shape)}",
                "give the recipe the shape of the model",
            )
        dtype = onnx.helper.tensor_dtype_to_np_dtype(values[item.name].elem_type).name
        if dtype != item.dtype:
            raise GraphError(
                f"the input {item.name} of the model is {dtype}; the recipe has {item.dtype}",
                "give the recipe the dtype of the model",
            )


def check_graph(path: Path, opset: int) -> None:
    """Check the file at `path` fully, with strict shape inference, and that its opset is the one asked for.

    Raises GraphError.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError) as error:
        raise GraphError(
            f"{path.name} is no valid graph: {brief(error)}", "see convert.log; another opset may help"
        ) from error
    found = opset_of(onnx.load(path, load_external_data=False))
    if found != opset:
        raise GraphError(
            f"opset {opset} was asked for and the file has {found}", "choose the opset that it has, or another one"
        )


def make_plain(model: onnx.ModelProto) -> None:
    """Take out what differs between equal runs or keeps old tools from reading `model`, in place.

    Weights stop being inputs (then no tool may fold them), domains that no node uses go, as do comments and traces;
    the IR version becomes the lowest that the opset allows, or stays where it is lower.
    """
    inputs = input_values(model)
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    used = {node.domain for node in all_nodes(model.graph)} | {"", "ai.onnx"}
    kept = [entry for entry in model.opset_import if entry.domain in used or model.functions]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for owner in (model, model.graph, *all_nodes(model.graph), *model.graph.input, *model.graph.output):
        owner.ClearField("doc_string")
    for node in all_nodes(model.graph):
        node.ClearField("metadata_props")
    model.ir_version = min(max(model.ir_version, IR_WITHOUT_WEIGHTS_AS_INPUTS), lowest_ir_version(model))


def lowest_ir_version(model: onnx.ModelProto) -> int:
    """Find the lowest IR version for the operators of `model`: https://onnx.ai/onnx/repo-docs/Versioning.html."""
    lowest = onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    return max(int(lowest), IR_WITHOUT_WEIGHTS_AS_INPUTS, IR_WITH_FUNCTIONS if model.functions else 0)


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give `model` with the shapes of all its values written into it, computed anew and strictly.

    A model over 2 GiB keeps what it has. Raises GraphError where the shapes contradict each other.
    """
    if is_huge(model):
        return model
    del model.graph.value_info[:]
    try:
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError) as error:
        raise GraphError(f"the shapes in the graph are wrong: {brief(error)}", "see convert.log") from error


def write_graph(model: onnx.ModelProto, folder: Path, external_data_above: int = TWO_GIB) -> list[str]:
    """Write `model` into `folder`, as one file unless it is larger than the limit in bytes; give the files' names.

    Weights that went into a file of their own are no longer in `model` afterwards.
    """
    if not is_huge(model) and model.ByteSize() <= external_data_above:
        rewrite_graph(model, folder)
        return [FILE]
    (folder / DATA_FILE).unlink(missing_ok=True)
    onnx.save_model(
        model,
        folder / FILE,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=DATA_FILE,
        size_threshold=1024,
    )
    # Where the limit is small, no single weight may be large enough to be worth another file.
    return [name for name in (FILE, DATA_FILE) if (folder / name).exists()]


def rewrite_graph(model: onnx.ModelProto, folder: Path) -> None:
    """Write the graph alone, with the weights that are in it."""
    (folder / FILE).write_bytes(model.SerializeToString(deterministic=True))


def is_huge(model: onnx.ModelProto) -> bool:
    """Tell whether `model` is too large to pass through one protobuf message, where even asking its size fails."""
    nodes = (attribute.t for node in all_nodes(model.graph) for attribute in node.attribute)
    return sum(_bytes(tensor) for tensor in (*model.graph.initializer, *nodes)) > TWO_GIB - ROOM


def _bytes(tensor: onnx.TensorProto) -> int:
    if not tensor.data_type:
        return 0
    return int(math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of `graph` and of the graphs inside its nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from all_nodes(inner)


def count_nodes(model: onnx.ModelProto) -> dict[str, int]:
    """Count the nodes by operator, the most frequent first."""
    counts = Counter(node.op_type for node in all_nodes(model.graph))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def count_parameters(model: onnx.ModelProto) -> int:
    """Count the numbers in the weights of `model`; small ones (shapes, axes) count too."""
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer)
