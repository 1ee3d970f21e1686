"""Eight bits for convolutions and matrix products: Q and DQ nodes, with ranges measured on the calibration set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from graph import infer_shapes, opset_of
from jobkit import GraphError, OptionError
from jobkit.runtime import Arrays
from onnx import numpy_helper

from passes import ranging
from passes.change import Change, Limit
from passes.edit import Array, Constants, attribute, copied, counted, drop_unused, producers, rename_tensor
from passes.islands import USUAL_NOISE, Quantised, Search, chosen, spread

NAME = "quantise"
# Per channel, Q and DQ have an axis since then.
LEAST_OPSET = 13
OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
KEYS = ("method", "noise", "float", "calibration")
EXACT = Limit(relative=0.0, reason="without its Q and DQ nodes, bit for bit")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How ranges are measured, on what, how noisy outputs may become, and which nodes stay in float, by name."""

    method: str
    noise: float
    calibration: Sequence[Arrays]
    floats: tuple[str, ...]


def read(value: object, model: onnx.ModelProto, samples: Sequence[Arrays]) -> Wish | None:
    """Read the recipe's ``quantise``: true, or ``{method: entropy}``. Raises OptionError."""
    if value is False:
        return None
    value = {} if value is True else value
    if not isinstance(value, Mapping) or set(value) - set(KEYS):
        raise OptionError(f"quantise {value!r} cannot be read", "say quantise: true, or {method: entropy}")
    method = str(value.get("method", ranging.USUAL))
    if method not in ranging.METHODS:
        raise OptionError(f"there is no method {method!r} to measure ranges", f"choose {', '.join(ranging.METHODS)}")
    if not (calibration := list(value.get("calibration") or ())):
        raise OptionError("quantise measures on calibration samples, and there are none",
                          "name some in the recipe: calibration: {pictures: [...]}")
    return Wish(method=method, noise=_share(value.get("noise", USUAL_NOISE)), calibration=calibration,
                floats=tuple(value.get("float") or ()))


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise OptionError(f"noise {value!r} is no share of the outputs' spread", f"{USUAL_NOISE} is usual, 1 is all")
    return float(value)


def apply(model: onnx.ModelProto, wish: Wish | None) -> Change:
    """Give a copy with Q and DQ nodes around the operators that have weights.

    Where that is too noisy on the calibration set, the most sensitive ones stay in float. Raises GraphError where the
    opset is too old, or half of the nodes in float are not enough.
    """
    if wish is None:
        return Change(model=model)
    if opset_of(model) < LEAST_OPSET:
        raise GraphError(f"quantise needs opset {LEAST_OPSET} or newer; this is {opset_of(model)}", "raise the opset")
    model = _named(copied(model))
    nodes = _weighted(model)
    floats = chosen(model.graph, wish.floats, NAME)
    wanted = [name for name in nodes if name not in floats]
    if not wanted:
        return Change(model=model)
    ranges = ranging.measure(model, OPERATORS, wish.calibration, wish.method)
    search = Search(model=model, quantise=lambda names: ranging.quantised(model, ranges, OPERATORS, names),
                    samples=spread(wish.calibration), most=wish.noise)
    found = search.best(wanted)
    return Change(model=infer_shapes(_stored(found.model)), tried=stripped(found.model), limit=EXACT,
                  lines=_lines(found, wish), facts=_facts(found, wish, floats))


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    taken = {node.name for node in model.graph.node}
    for node in model.graph.node:
        if not node.name:
            node.name = next(name for name in (f"{node.output[0]}{'_' * count}" for count in range(99))
                             if name not in taken)
            taken.add(node.name)
    return model


def _weighted(model: onnx.ModelProto) -> list[str]:
    """Give the names of the nodes whose second input is a weight: two computed tensors stay in float."""
    constants = Constants(model.graph)
    return [node.name for node in model.graph.node
            if node.op_type in OPERATORS and not node.domain and len(node.input) > 1 and node.input[1] in constants]


def stripped(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give a copy without its Q and DQ nodes: what the quantiser did beside them would show in what it computes."""
    model = copied(model)
    made = producers(model.graph)
    through = {node.output[0]: made[node.input[0]].input[0] for node in model.graph.node
               if node.op_type == "DequantizeLinear" and node.input[0] in made}
    for node in model.graph.node:
        node.input[:] = [through.get(name, name) for name in node.input]
    outputs = {value.name for value in model.graph.output} & set(through)
    for node in [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]:
        model.graph.node.remove(node)
    for name in outputs:
        rename_tensor(model.graph, through[name], name)
    drop_unused(model.graph)
    return model


def _stored(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store quantised weights as the integers that they are, a quarter of the bytes."""
    model, constants = copied(model), Constants(model.graph)
    for node in [node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] in constants]:
        weight, scale = (constants.get(name) for name in node.input[:2])
        assert weight is not None and scale is not None
        name = node.output[0]
        model.graph.initializer.append(numpy_helper.from_array(_rounded(weight, scale, _axis(node)), name))
        model.graph.node.remove(node)
    drop_unused(model.graph)
    return model


def _axis(node: onnx.NodeProto) -> int:
    return int(attribute(node, "axis", 1))


def _rounded(weight: Array, scale: Array, axis: int) -> Array:
    """Round as QuantizeLinear does, to even: https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html."""
    if scale.ndim:
        scale = scale.reshape([-1 if number == axis % weight.ndim else 1 for number in range(weight.ndim)])
    return np.clip(np.rint(weight / scale), -128, 127).astype(np.int8)


def _lines(found: Quantised, wish: Wish) -> tuple[str, ...]:
    count = len(found.nodes)
    lines = [f"quantise: {count} nodes in int8, ranges by {wish.method} on {len(wish.calibration)} inputs, "
             f"noise {found.noise:.2g} of the outputs' spread"]
    if found.islands:
        lines.append(f"quantise: {counted(found.islands)} in float, without which the noise is {found.before:.2g}")
    return tuple(lines)


def _facts(found: Quantised, wish: Wish, floats: Collection[str]) -> dict[str, Any]:
    return {"method": wish.method, "inputs": len(wish.calibration), "nodes": len(found.nodes),
            "noise": float(f"{found.noise:.1g}"), "float": [*sorted(floats), *found.islands],
            "tensors": ranging.described(found.model)}
