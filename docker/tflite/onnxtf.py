"""An ONNX graph as a SavedModel by onnx-tf. Everything here runs in the toolchain's own process.

onnx-tf is no longer developed: https://github.com/onnx/onnx-tensorflow. What it gets wrong it gets wrong silently, so
that beside.py holds its result against ONNX Runtime each time.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence, Tuple

import onnx
from jobkit import GraphError, Input, brief
from onnx import TensorProto, checker, shape_inference

with warnings.catch_warnings():
    # tensorflow-addons, which onnx-tf imports, announces its end.
    warnings.simplefilter("ignore")
    import tensorflow as tf
    from onnx_tf.backend import TensorflowBackend

import padding  # noqa: F401  after onnx-tf's own rules, so that this one counts

SIGNATURE = "serving_default"

# Above it onnx-tf reads axes and shapes that became inputs as if they were still attributes, or not at all.
NEWEST_OPSET = 12
NEWEST_IR = 9

NOT_THERE = re.compile(r"^(\w+) (?:version \d+ )?is not implemented")


class Scoped(TensorflowBackend):  # type: ignore[misc]
    """onnx-tf's backend, with each node's operators under the name of the node, so that a tensor tells its layer."""

    @classmethod
    def _onnx_node_to_tensorflow_op(cls, node: Any, *rest: Any, **more: Any) -> Any:
        with tf.name_scope(node.name):
            return super()._onnx_node_to_tensorflow_op(node, *rest, **more)


@dataclass(frozen=True)
class Converted:
    """A graph in TensorFlow: `call` takes tensors by their names `input_0`, ..., and gives `output_0`, ..."""

    model: onnx.ModelProto
    module: Any
    call: Any
    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]


def read(path: str, inputs: Sequence[Input]) -> onnx.ModelProto:
    """Read and check the graph at `path`, and give its inputs the shapes of the recipe.

    Raises GraphError where onnx-tf does not take it.
    """
    try:
        model = onnx.load(path)
    except Exception as error:
        raise GraphError(f"{Path(path).name} is no ONNX file: {brief(error)}", "make it again") from None
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset > NEWEST_OPSET or model.ir_version > NEWEST_IR:
        raise GraphError(
            f"the graph has opset {opset} and IR version {model.ir_version}; onnx-tf is right up to {NEWEST_OPSET} "
            f"and {NEWEST_IR}",
            f"start from an ONNX file of opset {NEWEST_OPSET}: the farm's onnx target makes it",
        )
    for item in inputs:
        _fix(_input(model, item.name), item)
    try:
        checker.check_model(model)
        return shape_inference.infer_shapes(model)
    except (checker.ValidationError, RuntimeError) as error:
        raise GraphError(f"the graph is not valid: {brief(error)}", "export it anew") from None


def _input(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    weights = {tensor.name for tensor in model.graph.initializer}
    known = {value.name: value for value in model.graph.input if value.name not in weights}
    if name not in known:
        raise GraphError(f"the graph has no input {name!r}; it has {', '.join(known)}", "name it in the recipe so")
    return known[name]


def _fix(value: onnx.ValueInfoProto, item: Input) -> None:
    """Write the recipe's sizes over free axes: with one left free, TFLite makes a tensor of no elements."""
    dims = value.type.tensor_type.shape.dim
    own = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims]
    if len(own) != len(item.shape) or any(size and size != other for size, other in zip(own, item.shape, strict=True)):
        raise GraphError(
            f"the graph has {item.name} as {[size or 'free' for size in own]}, the recipe as {list(item.shape)}",
            "give the recipe the shape of the graph",
        )
    for dim, size in zip(dims, item.shape, strict=True):
        dim.dim_value = size


def identifier(name: str) -> str:
    """Give a name that TensorFlow takes for a scope."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "node"


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give a copy of `model` whose inputs, weights and nodes have names that onnx-tf takes, and leaves as they are.

    Inputs that a node leaves out at its end are left out there too.

    It puts random letters to names with a colon or a leading underscore, so that no two conversions would be equal.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = [tensor.name for tensor in copy.graph.initializer]
    fed = [value.name for value in copy.graph.input if value.name not in set(weights)]
    names = {name: f"input_{index}" for index, name in enumerate(fed)}
    names.update({name: f"weight_{index}" for index, name in enumerate(weights)})
    _rename(copy.graph, names)
    return copy


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for entry in (*graph.input, *graph.initializer, *graph.output, *graph.value_info):
        entry.name = names.get(entry.name, entry.name)
    for node in graph.node:
        node.name = identifier(node.name or node.output[0])
        while node.input and not node.input[-1]:  # onnx-tf looks an input that is left out up by its empty name
            del node.input[-1]
        node.input[:] = [names.get(name, name) for name in node.input]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                inner = {value.name for value in (*attribute.g.input, *attribute.g.initializer)}
                _rename(attribute.g, {name: new for name, new in names.items() if name not in inner})


def convert(model: onnx.ModelProto, outputs: Sequence[str] = ()) -> Converted:
    """Build `model` in TensorFlow; `outputs` are tensors to give, those of the graph where left out.

    Raises GraphError naming the operator that onnx-tf does not have.
    """
    wanted = tuple(outputs) or tuple(value.name for value in model.graph.output)
    named = plain(model)
    try:
        return _traced(model, named, Scoped.prepare(named).tf_module, wanted, whole=not outputs)
    except GraphError:
        raise
    except Exception as error:
        raise _refusal(error) from error


def _traced(
    model: onnx.ModelProto, named: onnx.ModelProto, module: Any, wanted: Tuple[str, ...], *, whole: bool
) -> Converted:
    module.outputs, module.is_export = list(wanted), whole
    weights = {tensor.name for tensor in named.graph.initializer}
    values = [value for value in named.graph.input if value.name not in weights]
    inside = module.__call__.python_function

    def call(*tensors: Any) -> Dict[str, Any]:
        # The method itself, not the function of TensorFlow around it, which would trace it once more.
        found = inside(**{value.name: tensor for value, tensor in zip(values, tensors, strict=True)})
        return {f"output_{index}": tf.identity(found[name]) for index, name in enumerate(wanted)}

    traced = tf.function(call, input_signature=[_spec(value) for value in values], autograph=False)
    traced.get_concrete_function()
    fed = [value.name for value in model.graph.input if value.name not in {t.name for t in model.graph.initializer}]
    return Converted(named, module, traced, tuple(fed), wanted)


def _spec(value: onnx.ValueInfoProto) -> Any:
    kind = value.type.tensor_type
    dtype = tf.dtypes.as_dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)) if kind.elem_type else tf.float32
    assert kind.elem_type != TensorProto.UNDEFINED
    return tf.TensorSpec([dim.dim_value for dim in kind.shape.dim], dtype, name=value.name)


def _refusal(error: Exception) -> GraphError:
    missing = NOT_THERE.match(str(error))
    if missing:
        return GraphError(
            f"onnx-tf does not have the operator {missing[1]}",
            "try the other way, via: onnx2tf; or cut it off (make edit KEEP=...) and compute it outside",
        )
    return GraphError(f"onnx-tf refuses the graph: {brief(error)}", "try the other way, via: onnx2tf")


def save(converted: Converted, folder: str) -> None:
    """Write a SavedModel with one signature."""
    holder = tf.Module()
    holder.module, holder.call = converted.module, converted.call
    tf.saved_model.save(holder, folder, signatures={SIGNATURE: converted.call.get_concrete_function()})
