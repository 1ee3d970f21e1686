"""A detector cut where its decode begins: the raw heads become the outputs, and floats outside do the rest."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from jobkit import GraphError, OptionError
from jobkit.runtime import Arrays

from passes import cut
from passes.change import Change
from passes.edit import inferred_shapes, producers, reads, title

NAME = "cut_decode"
REMEDY = "name the heads yourself, with keep: [names]"

# The last of these on the way to an output is where a raw head is made; it brings its bias and scale along.
LEARNED = frozenset({"Conv", "Gemm", "MatMul", "ConvTranspose", "QLinearConv"})


def read(value: object, model: onnx.ModelProto, samples: Sequence[Arrays]) -> bool:
    """Read the recipe's ``cut_decode``. Raises OptionError."""
    if not isinstance(value, bool):
        raise OptionError(f"cut_decode {value!r} is neither true nor false", "say cut_decode: true")
    return value


def apply(model: onnx.ModelProto, wish: bool) -> Change:
    """Cut the decode off a copy of `model`.

    Raises GraphError where no output comes from a convolution, or nothing follows the last ones.
    """
    if not wish:
        return Change(model=model)
    heads = raw_heads(model)
    outputs = [value.name for value in model.graph.output]
    if not heads:
        raise GraphError("cut_decode: no output comes from a convolution", REMEDY)
    if sorted(heads) == sorted(outputs):
        return Change(model=model)
    done = cut.apply(model, cut.Wish(keep=tuple(heads)))
    lines = tuple(line.replace("cut:", "cut_decode:", 1) for line in done.lines)
    return Change(
        model=done.model,
        lines=lines,
        taps=done.taps,
        expected=done.expected,
        inputs=done.inputs,
        facts={"outputs": outputs, "heads": _described(model, heads)},
    )


def raw_heads(model: onnx.ModelProto) -> list[str]:
    """Find the last learned tensors on each way from the outputs back, in the order of the graph."""
    made = producers(model.graph)
    found, waiting, seen = set[str](), [value.name for value in model.graph.output], set[str]()
    while waiting:
        node = made.get(name := waiting.pop())
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in LEARNED:
            found.add(name)
        else:
            waiting.extend(reads(node))
    return [
        name for node in model.graph.node for name in node.output if name in found and not _feeds(made, name, found)
    ]


def _feeds(made: dict[str, onnx.NodeProto], name: str, heads: set[str]) -> bool:
    """Tell whether another head is computed of `name`, which then is no last one."""
    for head in heads - {name}:
        waiting, seen = list(reads(made[head])), set[str]()
        while waiting:
            current = waiting.pop()
            if current == name:
                return True
            if current not in seen and current in made:
                seen.add(current)
                waiting.extend(reads(made[current]))
    return False


def _described(model: onnx.ModelProto, heads: Sequence[str]) -> list[dict[str, object]]:
    shapes, made = inferred_shapes(model), producers(model.graph)
    picture = next((shape for value in model.graph.input if len(shape := shapes[value.name]) == 4), [])
    described = []
    for name in heads:
        shape = shapes.get(name, [])
        fixed = len(shape) == 4 and isinstance(shape[3], int) and len(picture) == 4 and isinstance(picture[3], int)
        stride = int(picture[3]) // int(shape[3]) if fixed else None
        sizes = [size if isinstance(size, int) else None for size in shape]
        described.append({"name": name, "node": title(made[name]), "shape": sizes, "stride": stride})
    return described
