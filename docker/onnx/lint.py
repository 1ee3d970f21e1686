"""What a target will not take of a graph, found before any conversion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import onnx
from graph import all_nodes, is_huge, opset_of
from onnx import helper
from operators import Operators, Rule, View, read_operators

STANDARD = ("", "ai.onnx")

# What gives other numbers each time, whatever it is given.
RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")

FREE = (-1,)

# So many nodes are named in a line; the data has all.
NAMED = 4


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a target will not take: at `node`, the first of `nodes`.

    `mended_by` is the graph pass that mends it, empty where there is none; `blocks` False: the conversion may go on.
    """

    node: str
    operator: str
    reason: str
    remedy: str
    blocks: bool
    mended_by: str
    devices: tuple[str, ...]
    nodes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Give the finding as JSON values."""
        return {**asdict(self), "devices": list(self.devices), "nodes": list(self.nodes)}

    def line(self) -> str:
        """Give the finding in one line."""
        level = "blocks" if self.blocks else "warns "
        where = f" on {', '.join(self.devices)}" if self.devices else ""
        others = self.nodes[1:NAMED]
        more = len(self.nodes) - 1 - len(others)
        nodes = f" (and {', '.join(others)}{f' and {more} more' if more else ''})" if others else ""
        return f"{level} {self.operator} {self.node}{nodes}{where}: {self.reason} -> {self.remedy}"


def lint(model: onnx.ModelProto, operators: Operators) -> Iterator[Finding]:
    """Yield what the target will not take of `model`, in the order of the nodes; what is said of several at last."""
    views = list(_views(model))
    for node, view in views:
        yield from _unknown(node, view, operators)
        for rule in operators.rules:
            if not rule.together and rule.concerns(view):
                yield _finding(node, rule)
    for rule in operators.rules:
        concerned = [node for node, view in views if rule.together and rule.concerns(view)]
        if concerned:
            yield replace(_finding(concerned[0], rule), nodes=tuple(_name(node) for node in concerned))


def examine(before: onnx.ModelProto, after: onnx.ModelProto, taken: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give what a target will not take of `before`, as JSON values, each with whether it is `left` in `after`.

    `after` is the same graph once it was edited for the target, whose title and operators `taken` holds.
    """
    operators = read_operators(taken["operators"], taken["title"])
    left = {(finding.node, finding.reason): finding for finding in lint(after, operators)}
    found = {(finding.node, finding.reason): finding for finding in lint(before, operators)}
    return [{**finding.document(), "line": finding.line(), "left": place in left}
            for place, finding in {**found, **left}.items()]


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Give a line for each finding, those that block first."""
    for finding in sorted(findings, key=lambda finding: not finding.blocks):
        yield finding.line()


def _unknown(node: onnx.NodeProto, view: View, operators: Operators) -> Iterator[Finding]:
    """Find an operator that the target has not, unless a rule says more of it."""
    foreign = node.domain not in STANDARD
    known = view.operator in operators.takes or any(view.operator in rule.operators for rule in operators.rules)
    if not foreign and known:
        return
    what = f"{view.operator} of the domain {node.domain}" if foreign else f"the operator {view.operator}"
    yield Finding(
        node=_name(node),
        operator=view.operator,
        reason=f"{operators.title} does not have {what}",
        remedy=operators.remedy,
        blocks=True,
        mended_by="",
        devices=(),
        nodes=(_name(node),),
    )


def _finding(node: onnx.NodeProto, rule: Rule) -> Finding:
    return Finding(
        node=_name(node),
        operator=node.op_type,
        reason=rule.reason,
        remedy=rule.remedy,
        blocks=rule.blocks,
        mended_by=rule.mended_by,
        devices=rule.devices,
        nodes=(_name(node),),
    )


def _name(node: onnx.NodeProto) -> str:
    return node.name or next((name for name in node.output if name), "without a name")


def _views(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, View]]:
    """Yield the nodes that are left when constants are folded, as they are before every conversion."""
    shapes = _shapes(model)
    opset, constants = opset_of(model), _constants(model, shapes)
    for node in all_nodes(model.graph):
        if node.output and all(name in constants for name in node.output):
            continue
        tensors = [name for name in (*node.input, *node.output) if name not in constants]
        yield node, View(
            operator=node.op_type,
            opset=opset,
            attributes=_attributes(node, opset),
            ranks=tuple(len(shapes[name]) for name in tensors if name in shapes),
            inputs=tuple(_kind(name, constants) for name in node.input),
        )


def _kind(name: str, constants: set[str]) -> str:
    if not name:
        return "absent"
    return "constant" if name in constants else "computed"


def _constants(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> set[str]:
    """Give the names of all weights and constants, and of what is made of nothing else."""
    nodes = list(all_nodes(model.graph))
    inner = [attribute.g for node in nodes for attribute in node.attribute if attribute.HasField("g")]
    names = {tensor.name for graph in (model.graph, *inner) for tensor in graph.initializer}
    for node in nodes:
        if _is_constant(node, names, shapes):
            names.update(node.output)
    return names


def _is_constant(node: onnx.NodeProto, constants: set[str], shapes: dict[str, tuple[int, ...]]) -> bool:
    if node.domain not in STANDARD or node.op_type in RANDOM or any(_is_graph(item) for item in node.attribute):
        return False
    if node.op_type in ("Shape", "Size"):
        return all(min(shapes.get(name, FREE), default=0) >= 0 for name in node.input)
    return node.op_type == "Constant" or (any(node.input) and all(not name or name in constants for name in node.input))


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Give the sizes of each tensor as far as they can be known, -1 for an axis that is free."""
    if not is_huge(model):
        # Without `strict_mode`, what cannot be inferred is left out; some graphs are refused all the same.
        with suppress(onnx.shape_inference.InferenceError, RuntimeError, ValueError):
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    types = ((value.name, value.type.tensor_type) for value in values)
    return {name: tuple(_size(dim) for dim in kind.shape.dim) for name, kind in types if kind.HasField("shape")}


def _size(dim: onnx.TensorShapeProto.Dimension) -> int:
    return int(dim.dim_value) if dim.HasField("dim_value") else -1


def _attributes(node: onnx.NodeProto, opset: int) -> dict[str, Any]:
    defaults = _defaults(node.op_type, opset) if node.domain in STANDARD else {}
    own = {item.name: _plain(helper.get_attribute_value(item)) for item in node.attribute if not _is_graph(item)}
    return {**defaults, **own}


def _is_graph(item: onnx.AttributeProto) -> bool:
    return item.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


@cache
def _defaults(operator: str, opset: int) -> dict[str, Any]:
    """Give the values of an operator's attributes where a node says nothing."""
    try:
        schema = onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return {}
    values = {name: item.default_value for name, item in schema.attributes.items()}
    return {name: _plain(helper.get_attribute_value(item)) for name, item in values.items() if item.name}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
