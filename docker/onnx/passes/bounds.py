"""What the values of a tensor can never be below, as far as the operators before it tell."""

from __future__ import annotations

import onnx

from passes.edit import Constants, attribute, producers

# The lowest value of each function, rounded down in the fourth digit: x * sigmoid(x) and its like have a dip.
LOWEST = {
    "Relu": 0.0,
    "Sigmoid": 0.0,
    "Softmax": 0.0,
    "Exp": 0.0,
    "Abs": 0.0,
    "Sqrt": 0.0,
    "Softplus": 0.0,
    "HardSigmoid": 0.0,
    "HardSwish": -0.3751,
    "Mish": -0.3089,
    "Gelu": -0.1701,
    "Tanh": -1.0,
    "Erf": -1.0,
}
SILU = -0.2785

# They give some of their values, or means of them, and no others.
PASSING = frozenset(
    {
        "Identity",
        "Dropout",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Slice",
        "Split",
        "Gather",
        "Expand",
        "Tile",
        "GlobalMaxPool",
        "GlobalAveragePool",
        "ReduceMax",
        "ReduceMin",
        "ReduceMean",
        "DepthToSpace",
        "SpaceToDepth",
        "MaxPool",
    }
)


class Bounds:
    """Lower bounds of the tensors of a graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._made, self._constants = producers(model.graph), Constants(model.graph)
        self._known: dict[str, float | None] = {}

    def lowest(self, name: str) -> float | None:
        """Give a value that no element of `name` is below, or None where nothing is known."""
        if name not in self._known:
            self._known[name] = None
            self._known[name] = self._lowest(name)
        return self._known[name]

    def _lowest(self, name: str) -> float | None:
        constant = self._constants.get(name)
        if constant is not None:
            return float(constant.min()) if constant.size and constant.dtype.kind in "fiu" else None
        node = self._made.get(name)
        if node is None or node.domain:
            return None
        if node.op_type in LOWEST:
            return LOWEST[node.op_type]
        if node.op_type in PASSING:
            return self.lowest(node.input[0])
        return self._of(node)

    def _of(self, node: onnx.NodeProto) -> float | None:
        known = [self.lowest(name) for name in node.input if name]
        whole = [value for value in known if value is not None]
        if node.op_type == "Clip":
            return self._clip(node)
        if node.op_type == "Max" and whole:
            return max(whole)
        if not whole or len(whole) < len(known):
            return SILU if node.op_type == "Mul" and self._is_silu(node) else self._square(node)
        if node.op_type in ("Concat", "Min"):
            return min(whole)
        if node.op_type in ("Add", "Sum"):
            return sum(whole)
        if node.op_type == "Mul" and min(whole) >= 0:
            return 0.0
        return None

    def _clip(self, node: onnx.NodeProto) -> float | None:
        low = attribute(node, "min")
        if len(node.input) > 1 and node.input[1]:
            low = self.lowest(node.input[1]) if node.input[1] in self._constants else None
        return float(low) if low is not None else self.lowest(node.input[0])

    def _is_silu(self, node: onnx.NodeProto) -> bool:
        for gate, other in (list(node.input), list(node.input)[::-1]):
            made = self._made.get(gate)
            if made is not None and made.op_type == "Sigmoid" and made.input[0] == other:
                return True
        return False

    def _square(self, node: onnx.NodeProto) -> float | None:
        return 0.0 if node.op_type == "Mul" and len(set(node.input)) == 1 else None
