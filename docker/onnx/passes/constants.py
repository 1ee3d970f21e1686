"""What depends on no input, worked out once: Constant nodes, arithmetic on weights, sizes of fixed tensors."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from graph import infer_shapes
from jobkit import OptionError
from jobkit.runtime import Arrays
from onnx import helper, numpy_helper

from passes.change import Change
from passes.edit import Array, attribute, copied, counted, drop_unused, reads, shapes_of, subgraphs, title, unread
from passes.proof import opened

NAME = "constants"

# Never folded: what is drawn anew each time, and what keeps weights small.
KEPT = frozenset(
    {
        "RandomNormal",
        "RandomUniform",
        "RandomNormalLike",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
        "DequantizeLinear",
        "Dropout",
    }
)

# A folded tensor larger than this, in bytes, and than all that it was made of, stays an operator.
LARGE = 2**20


def read(value: object, model: onnx.ModelProto, samples: Sequence[Arrays]) -> bool:
    """Read the recipe's ``constants``. Raises OptionError."""
    if not isinstance(value, bool):
        raise OptionError(f"constants {value!r} is neither true nor false", "say constants: true")
    return value


def apply(model: onnx.ModelProto, wish: bool) -> Change:
    """Fold the constants of a copy of `model`, until there are no more: folded shapes make further sizes known."""
    if not wish:
        return Change(model=model)
    before, model, folded = model, copied(model), list[onnx.NodeProto]()
    idle = unread(model.graph)
    while True:
        model = infer_shapes(model)
        sized = _sizes(model)
        found = _fold(model.graph, {**_computed(model, _foldable(model, set(sized)), sized), **sized})
        if not found:
            break
        folded += found
    drop_unused(model.graph, idle)
    if not folded:
        return Change(model=before)
    plain = [node for node in folded if node.op_type != "Constant"]
    lines = (f"constants: {len(folded)} nodes folded: {counted(map(title, plain)) or 'Constant'}",)
    return Change(model=model, lines=lines)


def _sizes(model: onnx.ModelProto) -> dict[str, Array]:
    """Give the results of the Shape nodes that read a tensor of fixed size."""
    shapes, found = shapes_of(model), {}
    for node in model.graph.node:
        sizes = shapes.get(node.input[0]) if node.op_type == "Shape" and not node.domain else None
        if sizes is not None and all(isinstance(size, int) for size in sizes):
            wanted = sizes[attribute(node, "start", 0) : attribute(node, "end", len(sizes))]
            found[node.output[0]] = numpy_helper.to_array(
                helper.make_tensor("sizes", onnx.TensorProto.INT64, [len(wanted)], wanted)
            )
    return found


def _foldable(model: onnx.ModelProto, sized: set[str]) -> list[onnx.NodeProto]:
    known = {tensor.name for tensor in model.graph.initializer} | sized
    found = []
    for node in model.graph.node:
        if node.output[0] in sized or node.op_type in KEPT or node.domain or list(subgraphs(node)):
            continue
        if reads(node) <= known:
            known |= set(node.output)
            found.append(node)
    return found


def _computed(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], sized: dict[str, Array]) -> dict[str, Array]:
    """Run `nodes`, which need no input, in ONNX Runtime."""
    names = [name for node in nodes for name in node.output if name]
    if not names:
        return {}
    part = onnx.ModelProto()
    part.CopyFrom(model)
    for field in ("node", "input", "output", "value_info"):
        part.graph.ClearField(field)
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in sized.items())
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return _small(nodes, opened(part)({}), model)


def _small(nodes: Sequence[onnx.NodeProto], values: Arrays, model: onnx.ModelProto) -> dict[str, Array]:
    size = {tensor.name: tensor.ByteSize() for tensor in model.graph.initializer}
    large = set[str]()
    for node in nodes:
        made = sum(values[name].nbytes for name in node.output if name)
        of = sum(size.get(name, values[name].nbytes if name in values else 0) for name in reads(node))
        if (made > LARGE and made > of and node.op_type != "Constant") or reads(node) & large:
            large |= set(node.output)
    return {name: array for name, array in values.items() if name not in large}


def _fold(graph: onnx.GraphProto, values: dict[str, Array]) -> list[onnx.NodeProto]:
    outputs = {value.name for value in graph.output}
    folded = [
        node
        for node in graph.node
        if all(name in values for name in node.output if name) and not outputs & set(node.output)
    ]
    for node in folded:
        graph.initializer.extend(numpy_helper.from_array(values[name], name) for name in node.output if name)
        graph.node.remove(node)
    return folded
