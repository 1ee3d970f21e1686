"""The batch followed through a graph in two worlds, while the constants that hold it are mended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from graph import input_values
from jobkit import GraphError
from jobkit.runtime import Arrays
from onnx import numpy_helper

from passes.edit import Builder, Constants, Names, dims, reads, subgraphs, title
from passes.proof import sizes
from passes.worlds import World

REMEDY = "keep the batch that the file has, cut the graph before this node, or export the model anew with a free batch"

# The free batch is followed with this many items for one.
FOLLOWED = 7

# These give integers about the sizes of a tensor, in which the batch lives on as a value.
ABOUT_SIZES = ("Shape", "Size")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """`size` is the number of items, or the name of the free axis; `sample` tells the sizes of other free axes."""

    size: int | str
    sample: Arrays = field(default_factory=dict)


class Walk:
    """Two worlds, with the old batch and with another, followed through the graph while its constants are mended.

    `rules` mend the operators that they are for, before the node is followed in the world with the other batch.
    """

    def __init__(self, model: onnx.ModelProto, wish: Wish, rules: Rules) -> None:
        self.model, self.wish, self.rules, self.lines, self.names = model, wish, rules, list[str](), Names(model)
        self.symbol = wish.size if isinstance(wish.size, str) else None
        shapes = {value.name: sizes(value, wish.sample) for value in input_values(model)}
        first = next((shape[0] for shape in shapes.values() if shape), 0)
        self.before = first
        self.batched = [name for name, shape in shapes.items() if shape and shape[0] == first]
        if not self.batched:
            raise GraphError("no input has a batch: none has an axis", REMEDY)
        self.after = first * FOLLOWED if isinstance(wish.size, str) else wish.size
        fixed = {value.name: dims(value)[0] for value in input_values(model) if value.name in self.batched}
        self.nothing_to_do = set(fixed.values()) == {wish.size}
        self.old = World(model, shapes)
        self.new = World(
            model, {name: [self.after, *shape[1:]] if name in self.batched else shape for name, shape in shapes.items()}
        )
        self._builder, self._constants = Builder(model, names=self.names), Constants(model.graph)
        self._fixed = all(isinstance(size, int) for value in input_values(model) for size in dims(value)[1:])

    def graph(self, graph: onnx.GraphProto) -> None:
        """Follow and mend the nodes of `graph`, and of the graphs inside them."""
        outer, self._builder = self._builder, Builder(self.model, graph, self.names)
        for world in (self.old, self.new):
            world.add_weights(graph.initializer)
        for node in list(graph.node):
            if list(subgraphs(node)):
                self._control(node)
            else:
                self._node(node)
        self._builder.place()
        self._builder = outer

    def _node(self, node: onnx.NodeProto) -> None:
        self.old.step(node)
        if not node.domain and node.op_type in self.rules:
            self.rules[node.op_type](self, node)
        try:
            self.new.step(node)
        except GraphError as error:
            raise self.refused(node, f"fits one batch only: {error.message}") from error
        self._check(node)

    def _control(self, node: onnx.NodeProto) -> None:
        """Follow If and Loop: what goes in has the sizes of what was given, what comes out those of what was made."""
        if node.op_type not in ("If", "Loop"):
            if any(self.batch_axis(name) is not None for name in reads(node)):
                raise self.refused(node, "runs a graph of its own, which is not followed")
            return
        graphs = list(subgraphs(node))
        for world in (self.old, self.new):
            for value, name in zip(graphs[0].input[2:], node.input[2:], strict=False):
                if name in world.types:
                    world.types[value.name] = world.types[name]
            for value in graphs[0].input[:2] if node.op_type == "Loop" else ():
                world.set_shape(value.name, value.type.tensor_type.elem_type, [])
        for graph in graphs:
            self.graph(graph)
            self.write_signature(graph)
        self._leave(node, graphs[-1])
        self._check(node)

    def _leave(self, node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
        skipped = 1 if node.op_type == "Loop" else 0
        carried = len(node.input) - 2 if node.op_type == "Loop" else len(node.output)
        for world in (self.old, self.new):
            for value, name in zip(graph.output[skipped:][:carried], node.output, strict=False):
                if value.name in world.types:
                    world.types[name] = world.types[value.name]
            rounds = world.values.get(node.input[0]) if node.op_type == "Loop" else None
            for value, name in zip(graph.output[skipped + carried :], node.output[carried:], strict=False):
                shape = world.shape(value.name)
                if shape is not None and rounds is not None:
                    world.set_shape(name, world.types[value.name].tensor_type.elem_type, [int(rounds), *shape])

    def batch_axis(self, name: str) -> int | None:
        """Give the axis of a tensor that is the batch, or None."""
        before, after = self.old.shape(name), self.new.shape(name)
        if before is None or after is None or len(before) != len(after):
            return None
        return next((axis for axis, (a, b) in enumerate(zip(before, after, strict=True)) if a != b), None)

    def _check(self, node: onnx.NodeProto) -> None:
        followed = any(self.batch_axis(name) is not None for name in reads(node))
        for name in [name for name in node.output if name]:
            before, after = self.old.shape(name), self.new.shape(name)
            if before is None or after is None:
                if followed:
                    raise self.refused(node, "gives a size that depends on the values")
                continue
            changed = [axis for axis, (a, b) in enumerate(zip(before, after, strict=False)) if a != b]
            ratio = all(before[axis] * self.after == after[axis] * self.before for axis in changed)
            if len(before) != len(after) or len(changed) > 1 or not ratio:
                raise self.refused(node, f"gives {list(before)} for {self.before} and {list(after)} for {self.after}")
        values = all(name in self.new.values for name in node.output if name)
        lost = all(self.batch_axis(name) is None for name in node.output if name)
        if followed and lost and not values and node.op_type not in ABOUT_SIZES and self.after != self.before:
            raise self.refused(node, "loses the batch")

    def refused(self, node: onnx.NodeProto, reason: str) -> GraphError:
        """Make the refusal that names `node`."""
        return GraphError(f"the batch cannot become {self.wish.size}: {title(node)} {reason}", REMEDY)

    def note(self, node: onnx.NodeProto, what: str) -> None:
        """Keep a line for the manifest."""
        self.lines.append(f"{title(node)}: {what}")

    def patch(self, node: onnx.NodeProto, index: int, place: int, number: int | None, times: int = 1) -> None:
        """Replace one entry of an input that holds sizes; `number` None: the batch at run time times `times`."""
        name, entries = node.input[index], self.new.values[node.input[index]]
        middle = self._constant(f"{name}_entry", [number]) if number is not None else self._items(times)
        # Where no other axis is free, the other entries are what they are here, however they are computed.
        if number is not None and (self._fixed or name in self._constants):
            fresh = _vector(entries).copy()
            fresh[place] = number
            node.input[index] = self._constant(name, fresh)
        else:
            pieces = [(0, place, "head"), (place + 1, len(entries), "tail")]
            kept = [
                self._made(
                    "Slice",
                    [name, self._constant(f"{name}_{word}_from", [start]), self._constant(f"{name}_{word}_to", [stop])],
                )
                for start, stop, word in pieces
                if stop > start
            ]
            parts = [*kept[: place > 0], middle, *kept[place > 0 :]]
            node.input[index] = self._made("Concat", parts, axis=0)
        self.note(node, f"entry {place} of its shape is {'the batch' if number is None else number}")

    def repeat(self, node: onnx.NodeProto, index: int, axis: int) -> None:
        """Give an input that is the same for every item as often as there are items, along `axis`."""
        if self.before != 1:
            self.first(node, index, axis)
        name = node.input[index]
        rank = len(self.new.shape(name) or ())
        count = self._items(1) if self.symbol else self._constant("batch_count", [self.after])
        ones = [self._constant(f"{name}_ones", [1] * size) if size else "" for size in (axis, rank - axis - 1)]
        parts = [part for part in (ones[0], count, ones[1]) if part]
        repeats = self._made("Concat", parts, axis=0) if len(parts) > 1 else count
        node.input[index] = self._made("Tile", [name, repeats])
        self.note(node, f"its input {name} is repeated for every item")

    def first(self, node: onnx.NodeProto, index: int, axis: int) -> None:
        """Keep of an input that is the same for every item the part for the first one, along `axis`."""
        name = node.input[index]
        size = (self.new.shape(name) or ())[axis] // self.before
        bounds = [
            self._constant(f"{name}_{word}", [number]) for word, number in (("start", 0), ("end", size), ("axis", axis))
        ]
        node.input[index] = self._made("Slice", [name, *bounds])
        self.note(node, f"of its input {name} the first item serves all")

    def _items(self, times: int) -> str:
        shape = self._made("Shape", [self.batched[0]])
        count = self._made("Slice", [shape, self._constant("batch_from", [0]), self._constant("batch_to", [1])])
        if self.before * times == 1:
            return count
        return self._made(
            "Mul",
            [
                self._made("Div", [count, self._constant("batch_before", [self.before])]),
                self._constant("batch_times", [times * self.before]),
            ],
        )

    def _constant(self, like: str, value: object) -> str:
        name = self.names.new(like)
        tensor = numpy_helper.from_array(_vector(value), name)
        self.model.graph.initializer.append(tensor)
        for world in (self.old, self.new):
            world.add_weights([tensor])
        return name

    def _made(self, operator: str, inputs: Sequence[str], **attributes: object) -> str:
        name = self._builder.node(operator, inputs, **attributes)
        for world in (self.old, self.new):
            world.step(self._builder.nodes[-1])
        return name

    def write_signature(self, graph: onnx.GraphProto) -> None:
        """Write the batch into the inputs and outputs of `graph`; what is inside is worked out anew."""
        del graph.value_info[:]
        for value in (*graph.input, *graph.output):
            axis, after = self.batch_axis(value.name), self.new.shape(value.name)
            if axis is not None and after is not None:
                self._write(value.type.tensor_type.shape, after, axis)

    def _write(self, shape: onnx.TensorShapeProto, after: Sequence[int], axis: int) -> None:
        if len(shape.dim) != len(after):
            shape.ClearField("dim")
            for _ in after:
                shape.dim.add()
        times = after[axis] // self.after
        if self.symbol is None:
            shape.dim[axis].dim_value = after[axis]
        else:
            shape.dim[axis].dim_param = self.symbol if times == 1 else f"{times}*{self.symbol}"


Rules = Mapping[str, Callable[[Walk, onnx.NodeProto], None]]


def _vector(value: object) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Give entries of a shape as ONNX wants them."""
    return np.array(value, np.int64).reshape(-1)
