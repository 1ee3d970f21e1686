"""Pad for onnx-tf, in the place of its own.

onnx-tf's traces, beside each padding, the slice that a negative one would be, and from two on that slice has no shape:
https://github.com/onnx/onnx-tensorflow, handlers/backend/pad.py.
"""

from __future__ import annotations

from typing import Any, List, Tuple

import tensorflow as tf
from jobkit import GraphError
from onnx_tf.handlers.backend_handler import BackendHandler
from onnx_tf.handlers.handler import onnx_op

Pairs = List[Tuple[int, int]]

REMEDY = "try the other way, via: onnx2tf; or let the model pad by fixed numbers"


@onnx_op("Pad")
class Padding(BackendHandler):  # type: ignore[misc]
    """The rule for Pad: onnx-tf takes the last one that is defined."""

    @classmethod
    def version_2(cls, node: Any, **more: Any) -> List[Any]:
        """Pad by numbers that are attributes."""
        x = more["tensor_dict"][node.inputs[0]]
        return [padded(x, list(node.attrs["pads"]), node.attrs.get("mode", "constant"), node.attrs.get("value", 0.0))]

    @classmethod
    def version_11(cls, node: Any, **more: Any) -> List[Any]:
        """Pad by numbers that are an input. Raises GraphError where they are computed."""
        given = [more["tensor_dict"][name] for name in node.inputs if name]
        pads = tf.get_static_value(given[1])
        if pads is None:
            raise GraphError(f"{node.name} (Pad) pads by numbers that are computed", REMEDY)
        value = given[2] if len(given) > 2 else 0
        return [padded(given[0], pads.tolist(), node.attrs.get("mode", "constant"), value)]


def padded(x: Any, pads: List[int], mode: str, value: Any) -> Any:
    """Pad a tensor as ONNX does: `pads` are those before each axis, then those behind; a negative one cuts off.

    https://onnx.ai/onnx/operators/onnx__Pad.html
    """
    if isinstance(mode, bytes):
        mode = mode.decode()
    pairs = list(zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True))
    x = _cut(x, [(min(before, 0), min(behind, 0)) for before, behind in pairs])
    pairs = [(max(before, 0), max(behind, 0)) for before, behind in pairs]
    if mode == "edge":
        return _repeated(x, pairs)
    if mode == "reflect":
        return tf.pad(x, pairs, "REFLECT")
    return tf.pad(x, pairs, constant_values=tf.cast(value, x.dtype))


def _cut(x: Any, pairs: Pairs) -> Any:
    if not any(before or behind for before, behind in pairs):
        return x
    return x[tuple(slice(-before, behind or None) for before, behind in pairs)]


def _repeated(x: Any, pairs: Pairs) -> Any:
    """Repeat the first and the last of each axis."""
    for axis, (before, behind) in enumerate(pairs):
        if before or behind:
            first, last = tf.gather(x, [0], axis=axis), tf.gather(x, [x.shape[axis] - 1], axis=axis)
            x = tf.concat([tf.repeat(first, before, axis), x, tf.repeat(last, behind, axis)], axis)
    return x
