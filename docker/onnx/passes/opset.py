"""Another opset: newer ones by onnx itself, older ones where the old operators say exactly the same."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from graph import infer_shapes, lowest_ir_version, opset_of
from jobkit import GraphError, OptionError, brief
from jobkit.runtime import Arrays
from onnx import numpy_helper
from versions import raise_opset

from passes.change import EXACT, ROUNDING, Change
from passes.downgrade import CHANGED, RULES
from passes.edit import constant_of, copied, drop_unused, set_attribute, subgraphs, title, unread
from passes.lowering import Lowering

NAME = "opset"
OPSETS = range(9, 24)
REMEDY = "choose a newer opset, write this part of the model with other operators, or export the model anew"


def read(value: object, model: onnx.ModelProto, samples: Sequence[Arrays]) -> int:
    """Read the recipe's ``opset``. Raises OptionError."""
    if type(value) is not int or value not in OPSETS:
        raise OptionError(f"opset {value!r} is not supported", f"choose one from {OPSETS.start} to {OPSETS.stop - 1}")
    return value


def apply(model: onnx.ModelProto, wish: int) -> Change:
    """Say a copy of `model` in terms of the opset `wish`.

    Raises GraphError naming the node that an older opset cannot say.
    """
    before = opset_of(model)
    if before == wish:
        return Change(model=model)
    if before < wish:
        newer = raise_opset(copied(model), wish)
        newer.ir_version = max(newer.ir_version, lowest_ir_version(newer))
        return Change(model=infer_shapes(newer), lines=(f"opset: {before} becomes {wish}",))
    lowered = lower(model, wish)
    limit = ROUNDING if lowered.decomposed else EXACT
    return Change(model=lowered.model, lines=(f"opset: {before} becomes {wish}", *lowered.lines), limit=limit)


def lower(model: onnx.ModelProto, wish: int) -> Lowering:
    """Say `model` in terms of an older opset."""
    model = infer_shapes(copied(model))
    idle = unread(model.graph)
    _lift_constants(model.graph)
    lowering = Lowering(model)
    waiting = list(model.graph.node)
    while waiting:
        node = waiting.pop(0)
        waiting = [*_lowered(lowering, node, wish), *waiting]
    lowering.builder.place()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = wish
    model.ir_version = min(model.ir_version, lowest_ir_version(model))
    drop_unused(model.graph, idle)
    _check(model, wish)
    return lowering


def _lift_constants(graph: onnx.GraphProto) -> None:
    for node in [node for node in graph.node if constant_of(node) is not None]:
        value = constant_of(node)
        assert value is not None
        graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        graph.node.remove(node)


def _lowered(lowering: Lowering, node: onnx.NodeProto, wish: int) -> list[onnx.NodeProto]:
    """Lower one node, a version at a time; give the nodes that took its place, which may need lowering too."""
    version = opset_of(lowering.model) if node.name not in lowering.written else lowering.written[node.name]
    while not node.domain:
        try:
            schema = onnx.defs.get_schema(node.op_type, version)
        except onnx.defs.SchemaError:
            raise _refused(node, version, "no such operator is known") from None
        if schema.since_version <= wish:
            break
        for graph in subgraphs(node):
            for inner in graph.node:
                _lowered(lowering, inner, wish)
        version = schema.since_version - 1
        rule = RULES.get((node.op_type, schema.since_version))
        if rule is not None:
            made = rule(lowering, node)
            if isinstance(made, str):
                raise _refused(node, version, made)
            lowering.note(node, schema.since_version)
            if made:
                lowering.replace(node, made, version)
                return made
            continue
        reason = _not_the_same(node, schema)
        if reason:
            raise _refused(node, version, reason)
    return []


def _not_the_same(node: onnx.NodeProto, schema: onnx.defs.OpSchema) -> str:
    """Say why `node` means something else before the version of `schema`, or nothing where it is the same."""
    try:
        older = onnx.defs.get_schema(node.op_type, schema.since_version - 1)
    except onnx.defs.SchemaError:
        return "there is no such operator yet"
    if (node.op_type, schema.since_version) in CHANGED:
        return CHANGED[node.op_type, schema.since_version]
    if len(node.input) > older.max_input or len(node.output) > older.max_output:
        return "it has more inputs or outputs than it had before"
    for item in list(node.attribute):
        if item.name not in older.attributes:
            default = schema.attributes[item.name].default_value if item.name in schema.attributes else None
            if default is None or onnx.helper.get_attribute_value(item) != onnx.helper.get_attribute_value(default):
                return f"there is no {item.name} yet"
            set_attribute(node, item.name, None)
    lost = [
        name
        for name in older.attributes
        if older.attributes[name].required and name not in [item.name for item in node.attribute]
    ]
    return f"{lost[0]} was an attribute" if lost else ""


def _refused(node: onnx.NodeProto, version: int, reason: str) -> GraphError:
    return GraphError(f"{title(node)} cannot become opset {version}: {reason}", REMEDY)


def _check(model: onnx.ModelProto, wish: int) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError) as error:
        raise GraphError(f"the graph is not valid in opset {wish}: {brief(error)}", REMEDY) from error
