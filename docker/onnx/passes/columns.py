"""Columns of a tensor followed backwards through the nodes that move, join and scale them.

What joins columns and takes them apart again further down, as the decode of a detector does, is so passed by: no
tensor on the way holds columns that meet for the first time at the end.
"""

from __future__ import annotations

from math import prod

import onnx
from jobkit import GraphError

from passes.edit import Builder, Constants, attribute, inferred_shapes, producers, title

# Each column of the result is that column of the input, and nothing else.
UNARY = frozenset(
    {
        "Sigmoid",
        "Exp",
        "Log",
        "Relu",
        "LeakyRelu",
        "Clip",
        "Cast",
        "Neg",
        "Abs",
        "Sqrt",
        "Tanh",
        "Identity",
        "HardSigmoid",
        "HardSwish",
        "Elu",
        "Softplus",
        "Floor",
        "Ceil",
        "Reciprocal",
        "Erf",
    }
)
BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"})

# Where columns begin; behind others they may have met before, in a way that cannot be followed.
BEGINNINGS = frozenset({"Conv", "Gemm", "MatMul", "Reshape", "Transpose"})

Size = int | str


class Columns:
    """The columns of the tensors of a graph; `stops` are the nodes where following them ended."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.builder = model, Builder(model)
        self.shapes = inferred_shapes(model)
        self.constants = Constants(model.graph)
        self.stops: dict[str, None] = {}
        self._made = producers(model.graph)
        self._taken: dict[tuple[str, int, int, int], str] = {}
        self._cuts: dict[tuple[str, int], set[int]] = {}
        self._mixes: dict[tuple[str, int], bool] = {}

    def size(self, name: str, axis: int) -> int | None:
        """Give the number of columns, or None where it is not fixed."""
        shape = self.shapes.get(name, [])
        return size if axis < len(shape) and isinstance(size := shape[axis], int) else None

    def output_axis(self, output: str) -> tuple[int, int]:
        """Give the axis of an output that holds its columns, which is the last, and how many they are.

        Raises GraphError where this is not known.
        """
        axis = len(self.shapes.get(output, [])) - 1
        count = self.size(output, axis) if axis >= 0 else None
        if count is None:
            raise GraphError(f"how many columns {output} has is not known", "simplify: true makes such sizes known")
        return axis, count

    def cuts(self, name: str, axis: int) -> set[int]:
        """Find where along `axis` columns from different tensors meet, however far back."""
        key = (name, axis)
        if key not in self._cuts:
            self._cuts[key] = set()
            node = self._made.get(name)
            self._cuts[key] = self._found_cuts(node, name, axis) if node is not None else set()
        return self._cuts[key]

    def mixes(self, name: str, axis: int) -> bool:
        """Tell whether columns from different tensors meet along `axis`, in this tensor or on the way to it."""
        key = (name, axis)
        if key not in self._mixes:
            node = self._made.get(name)
            sources = self._sources(node, name, axis) if node is not None else []
            self._mixes[key] = (node is not None and self._joins(node, axis)) or any(
                self.mixes(part, place) for part, place, _ in sources
            )
        return self._mixes[key]

    def _joins(self, node: onnx.NodeProto, axis: int) -> bool:
        rank = max(len(self.shapes.get(node.output[0], [])), 1)
        return node.op_type == "Concat" and attribute(node, "axis", 1) % rank == axis

    def _found_cuts(self, node: onnx.NodeProto, name: str, axis: int) -> set[int]:
        if self._joins(node, axis):
            found, offset = set[int](), 0
            for part in node.input:
                found |= {offset} | {offset + cut for cut in self.cuts(part, axis)}
                offset += self.size(part, axis) or 0
            return found - {0}
        sources = self._sources(node, name, axis)
        stop = self.size(name, axis) or 0
        return {
            cut - shift for part, place, shift in sources for cut in self.cuts(part, place) if 0 < cut - shift < stop
        }

    def _sources(self, node: onnx.NodeProto, name: str, axis: int) -> list[tuple[str, int, int]]:
        """List the tensors that the columns come from, each with its axis and the number of its first column."""
        if node.domain or name not in self.shapes:
            return []
        if node.op_type in UNARY:
            return [(node.input[0], axis, 0)]
        if node.op_type == "Transpose":
            return [(node.input[0], self._permutation(node)[axis], 0)]
        if node.op_type == "Concat":
            return [(part, axis, 0) for part in node.input]
        if node.op_type == "Reshape":
            place = self._reshaped(node, axis)
            return [] if place is None else [(node.input[0], place, 0)]
        if node.op_type == "Slice":
            first = self._first(node, axis)
            return [] if first is None else [(node.input[0], axis, first)]
        if node.op_type == "Split" and attribute(node, "axis", 0) % len(self.shapes[name]) == axis:
            before = list(node.output)[: list(node.output).index(name)]
            return [(node.input[0], axis, sum(self.size(part, axis) or 0 for part in before))]
        if node.op_type in BINARY:
            return [
                (part, place, 0)
                for part in node.input
                if (place := self._aligned(part, name, axis)) is not None
                and self.size(part, place) == self.size(name, axis)
            ]
        return []

    def _permutation(self, node: onnx.NodeProto) -> list[int]:
        return list(attribute(node, "perm", range(len(self.shapes[node.output[0]]))[::-1]))

    def _aligned(self, part: str, name: str, axis: int) -> int | None:
        place = axis - len(self.shapes[name]) + len(self.shapes.get(part, []))
        return place if place >= 0 else None

    def _reshaped(self, node: onnx.NodeProto, axis: int) -> int | None:
        """Find the axis before a Reshape that is `axis` after it: as many columns, as much behind each."""
        before, after = self.shapes.get(node.input[0], []), self.shapes[node.output[0]]
        fits = [
            place
            for place, size in enumerate(before)
            if size == after[axis]
            and _inner(before, place) is not None
            and _inner(before, place) == _inner(after, axis)
        ]
        vector = self.constants.get(node.input[1])
        return fits[-1] if fits and vector is not None and after[axis] != 1 else None

    def slice_parts(self, node: onnx.NodeProto) -> dict[int, tuple[int, int, int]] | None:
        """Give start, end and step of a Slice by axis, or None where they are no constants."""
        words = ("starts", "ends", "axes", "steps")
        if len(node.input) > 1:
            found = [
                self.constants.get(node.input[index]) if index < len(node.input) and node.input[index] else None
                for index in range(1, 5)
            ]
            starts, ends, axes, steps = (None if value is None else value.tolist() for value in found)
        else:
            starts, ends, axes, steps = (attribute(node, word) for word in words)
        if starts is None or ends is None:
            return None
        rank = len(self.shapes.get(node.input[0], []))
        if not rank:
            return None
        places = [axis % rank for axis in axes] if axes is not None else list(range(len(starts)))
        return dict(zip(places, zip(starts, ends, steps or [1] * len(starts), strict=True), strict=True))

    def _first(self, node: onnx.NodeProto, axis: int) -> int | None:
        parts, size = self.slice_parts(node), self.size(node.input[0], axis)
        if parts is None or axis not in parts:
            return None if parts is None else 0
        start, _, step = parts[axis]
        if step != 1 or size is None:
            return None
        return max(start + size, 0) if start < 0 else start

    def take(self, name: str, axis: int, start: int, stop: int) -> str:
        """Give a tensor that holds the columns from `start` to `stop` of `name`, made of as little else as can be."""
        key = (name, axis, start, stop)
        if key not in self._taken:
            self._taken[key] = self._take(name, axis, start, stop)
            self._tell(self._taken[key], name, axis, stop - start)
        return self._taken[key]

    def _tell(self, made: str, like: str, axis: int, count: int) -> None:
        if made not in self.shapes and like in self.shapes:
            self.shapes[made] = [count if place == axis else size for place, size in enumerate(self.shapes[like])]

    def _take(self, name: str, axis: int, start: int, stop: int) -> str:
        constant = self.constants.get(name)
        if constant is not None:
            kept = tuple(slice(start, stop) if place == axis else slice(None) for place in range(constant.ndim))
            return self.builder.constant(f"{name}_{start}_{stop}", constant[kept])
        node = self._made.get(name)
        if node is not None and self._joins(node, axis):
            return self._from_concat(node, axis, start, stop)
        sources = self._sources(node, name, axis) if node is not None else []
        if node is None or not sources or not self.mixes(name, axis):
            if node is not None and node.domain + node.op_type not in BEGINNINGS and not sources:
                self.stops[title(node)] = None
            return name if (start, stop) == (0, self.size(name, axis)) else self.builder.slice(name, axis, start, stop)
        if node.op_type in ("Slice", "Split"):
            return self._from_slice(node, sources[0], (start, stop))
        taken = {part: self.take(part, place, start + first, stop + first) for part, place, first in sources}
        if all(part == made for part, made in taken.items()):
            return name
        return self._again(node, taken, axis, stop - start)

    def _from_concat(self, node: onnx.NodeProto, axis: int, start: int, stop: int) -> str:
        offset, parts = 0, []
        for part in node.input:
            size = self.size(part, axis) or 0
            low, high = max(start - offset, 0), min(stop - offset, size)
            if low < high:
                parts.append(self.take(part, axis, low, high))
            offset += size
        return parts[0] if len(parts) == 1 else self.builder.node("Concat", parts, axis=axis)

    def _from_slice(self, node: onnx.NodeProto, source: tuple[str, int, int], wanted: tuple[int, int]) -> str:
        """Take the columns first, and along other axes what the Slice took."""
        name, axis, first = source
        taken = self.take(name, axis, wanted[0] + first, wanted[1] + first)
        others = {
            place: part
            for place, part in ((self.slice_parts(node) if node.op_type == "Slice" else None) or {}).items()
            if place != axis
        }
        for place, (start, end, step) in others.items():
            before, taken = taken, self._sliced(taken, place, (start, end, step))
            self.shapes[taken] = [
                self.shapes[node.output[0]][place] if number == place else size
                for number, size in enumerate(self.shapes[before])
            ]
        return taken

    def _sliced(self, name: str, axis: int, part: tuple[int, int, int]) -> str:
        start, end, step = part
        if step == 1:
            return self.builder.slice(name, axis, start, end)
        numbers = [
            self.builder.constant(f"{name}_{word}", [value], "int64")
            for word, value in (("start", start), ("end", end), ("axis", axis), ("step", step))
        ]
        return self.builder.node("Slice", [name, *numbers])

    def _again(self, node: onnx.NodeProto, taken: dict[str, str], axis: int, count: int) -> str:
        """Make the node once more, for fewer columns."""
        inputs = [taken.get(name, name) for name in node.input]
        if node.op_type == "Reshape":
            entries = (self.constants.get(node.input[1])).copy()  # type: ignore[union-attr]
            entries[axis] = count
            inputs[1] = self.builder.constant(node.input[1], entries)
        made = self.builder.node(node.op_type, inputs, output=self.builder.names.new(f"{node.output[0]}_columns"))
        self.builder.nodes[-1].attribute.extend(node.attribute)
        return made


def _inner(shape: list[Size], axis: int) -> int | None:
    rest = shape[axis + 1 :]
    return prod(size for size in rest if isinstance(size, int)) if all(isinstance(size, int) for size in rest) else None
