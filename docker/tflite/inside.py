"""The inside of a .tflite file: its tensors with what their integers stand for, and its operators in their order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np
from flatfile import operator_names, read_model, text


@dataclass(frozen=True)
class Part:
    """A tensor. `scale` and `zero_point` are None where it is not quantised, or by channel, as weights are."""

    name: str
    shape: Tuple[int, ...]
    dtype: str
    constant: bool
    scale: Optional[float] = None
    zero_point: Optional[int] = None

    @property
    def bounds(self) -> Tuple[float, float]:
        """Give the least and the greatest number that its integers stand for."""
        assert self.scale is not None and self.zero_point is not None
        limits = np.iinfo(self.dtype)
        low, high = (float(limit - self.zero_point) * self.scale for limit in (limits.min, limits.max))
        return low, high


@dataclass(frozen=True)
class Node:
    """An operator, and its tensors by number; one that is left out is not among them."""

    operator: str
    inputs: Tuple[int, ...]
    outputs: Tuple[int, ...]


@dataclass(frozen=True)
class Inside:
    """The main graph of a file, in the order in which the interpreter runs it."""

    parts: Tuple[Part, ...]
    nodes: Tuple[Node, ...]
    inputs: Tuple[int, ...]
    outputs: Tuple[int, ...]

    @property
    def by_name(self) -> Dict[str, int]:
        """Give the numbers of tensors by name, of those names that only one tensor has."""
        seen: Dict[str, int] = {}
        twice = set()
        for number, part in enumerate(self.parts):
            twice |= {part.name} & seen.keys()
            seen[part.name] = number
        return {name: number for name, number in seen.items() if name not in twice}


def read_inside(path: Path) -> Inside:
    """Read the file at `path`. Raises GraphError where it is damaged."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = read_model(path)
    kinds = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    graph, operators = model.subgraphs[0], operator_names(model)
    return Inside(
        parts=tuple(_part(tensor, model.buffers, kinds) for tensor in graph.tensors),
        nodes=tuple(
            Node(operators[node.opcodeIndex], _numbers(node.inputs), _numbers(node.outputs))
            for node in graph.operators
        ),
        inputs=_numbers(graph.inputs),
        outputs=_numbers(graph.outputs),
    )


def _part(tensor: Any, buffers: Any, kinds: Mapping[int, str]) -> Part:
    data = buffers[tensor.buffer].data
    constant = data is not None and len(data) > 0
    shape = tuple(int(size) for size in (tensor.shape if tensor.shape is not None else ()))
    described = text(tensor.name), shape, kinds[tensor.type], constant
    held = tensor.quantization
    if held is None or held.scale is None or len(held.scale) != 1:
        return Part(*described)
    return Part(*described, float(held.scale[0]), int(held.zeroPoint[0]))


def _numbers(values: Any) -> Tuple[int, ...]:
    return tuple(int(number) for number in (values if values is not None else ()) if number >= 0)
