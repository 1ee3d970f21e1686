"""Make the source of the small job, a convolution and what scores it, in ONNX's own encoding.

The toolchain has no onnx package. Numbers of fields: onnx.proto of https://github.com/onnx/onnx.
"""

from __future__ import annotations

from pathlib import Path
from typing import Union

import numpy as np

FLOAT, INT, INTS = 1, 2, 7


def varint(value: int) -> bytes:
    """Encode a number, seven bits to the byte."""
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, value: Union[int, str, bytes]) -> bytes:
    """Encode a field: a number, or text and messages with their length before them."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name: str, array: np.ndarray) -> bytes:
    """Encode a weight."""
    dims = b"".join(field(1, size) for size in array.shape)
    return dims + field(2, FLOAT) + field(8, name) + field(9, array.astype("<f4").tobytes())


def value(name: str, *shape: int) -> bytes:
    """Encode an input or an output."""
    dims = b"".join(field(1, field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, dims)))


def node(operator: str, inputs: str, output: str, *attributes: bytes) -> bytes:
    """Encode a node that is named after what it makes."""
    read = b"".join(field(1, name) for name in inputs.split())
    return read + field(2, output) + field(3, output) + field(4, operator) + b"".join(field(5, a) for a in attributes)


def ints(name: str, *values: int) -> bytes:
    """Encode an attribute that is a list of numbers."""
    return field(1, name) + b"".join(field(8, number) for number in values) + field(20, INTS)


def model() -> bytes:
    """Encode the whole file."""
    random = np.random.RandomState(0)
    weight = random.standard_normal((4, 3, 3, 3)) / 5
    nodes = [
        node("Conv", "picture w", "c", ints("kernel_shape", 3, 3), ints("pads", 1, 1, 1, 1)),
        node("Relu", "c", "r"),
        node("GlobalAveragePool", "r", "scores"),
    ]
    graph = b"".join(field(1, item) for item in nodes) + field(2, "tiny") + field(5, tensor("w", weight))
    graph += field(11, value("picture", 1, 3, 16, 16)) + field(12, value("scores", 1, 4, 1, 1))
    return field(1, 8) + field(8, field(1, "") + field(2, 17)) + field(7, graph)


if __name__ == "__main__":
    file = Path("in", "source", "model.onnx")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(model())
