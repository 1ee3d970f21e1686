"""What a TFLite file holds: its tensors and operators, as the flatbuffer names them.

Format: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobkit import SourceError

FLOATS = ("FLOAT32", "FLOAT16", "FLOAT64")

# These leave an axis where it is, so that what comes after them still tells the layout of what goes in.
PASSING = ("ABS", "ADD", "CAST", "DEQUANTIZE", "DIV", "LEAKY_RELU", "MAXIMUM", "MINIMUM", "MUL", "NEG", "PAD", "PADV2",
           "PRELU", "QUANTIZE", "RELU", "RELU6", "SUB")

# TFLite has these in NHWC only.
SPATIAL = ("AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "RESIZE_BILINEAR",
           "RESIZE_NEAREST_NEIGHBOR", "SPACE_TO_DEPTH", "TRANSPOSE_CONV")

FROM_NCHW, RANK = (0, 2, 3, 1), 4


@dataclass(frozen=True, kw_only=True)
class TensorPart:
    """A tensor of the file; an axis of -1 is open. `numbers` are those of a small integer constant."""

    name: str
    shape: tuple[int, ...]
    type: str
    constant: bool
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Operator:
    """An operator of the file; tensors by number, -1 for one that is left out."""

    name: str
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """The main graph of a file, in the order in which its interpreter runs it."""

    version: int
    description: str
    tensors: tuple[TensorPart, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def integer(self) -> bool:
        """Say whether it calculates with quantised numbers: then rounding is part of its meaning."""
        return any(tensor.type in ("INT8", "UINT8", "INT16", "INT4") for tensor in self.tensors)

    def names(self, numbers: Sequence[int]) -> list[str]:
        """Give the names of some tensors."""
        return [self.tensors[number].name for number in numbers]

    def counts(self) -> dict[str, int]:
        """Count the operators by name, the most frequent first."""
        counts = Counter(operator.name for operator in self.operators)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def layout(self, number: int) -> str | None:
        """Tell the layout of an input from what reads it; None where nothing tells."""
        if len(self.tensors[number].shape) != RANK:
            return None
        seen, pending = set(), [number]
        while pending:
            current = pending.pop()
            seen.add(current)
            for operator in self.operators:
                if current not in operator.inputs:
                    continue
                if operator.name in SPATIAL:
                    return "NHWC"
                if operator.name == "TRANSPOSE" and self.tensors[operator.inputs[1]].numbers == FROM_NCHW:
                    return "NCHW"
                if operator.name in PASSING:
                    pending += [output for output in operator.outputs if output not in seen]
        return None


def read_anatomy(path: Path) -> Anatomy:
    """Read the file at `path`; whatever is wrong inside is a SourceError, since the buffer is trusted nowhere."""
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = schema.Model.GetRootAs(path.read_bytes(), 0)
        return _Reader(schema, model).anatomy()
    except Exception as error:
        raise SourceError(f"{path.name} is damaged: {type(error).__name__}: {error}", "fetch it anew") from error


class _Reader:
    def __init__(self, schema: Any, model: Any) -> None:
        self.model = model
        self.graph = model.Subgraphs(0)
        self.types = _names_of(schema.TensorType)
        self.codes = _names_of(schema.BuiltinOperator)

    def anatomy(self) -> Anatomy:
        return Anatomy(
            version=self.model.Version(),
            description=_text(self.model.Description()),
            tensors=tuple(self.tensor(self.graph.Tensors(number)) for number in range(self.graph.TensorsLength())),
            operators=tuple(self.operators()),
            inputs=_numbers(self.graph.InputsAsNumpy()),
            outputs=_numbers(self.graph.OutputsAsNumpy()),
        )

    def tensor(self, tensor: Any) -> TensorPart:
        shape = tensor.ShapeAsNumpy() if tensor.ShapeSignatureIsNone() else tensor.ShapeSignatureAsNumpy()
        kind = self.types.get(tensor.Type(), str(tensor.Type()))
        buffer = self.model.Buffers(tensor.Buffer())
        constant = tensor.Buffer() > 0 and buffer.DataLength() > 0
        small = constant and kind == "INT32" and buffer.DataLength() <= 4 * RANK
        return TensorPart(
            name=_text(tensor.Name()),
            shape=_numbers(shape),
            type=kind,
            constant=constant,
            numbers=tuple(buffer.DataAsNumpy().view("<i4").tolist()) if small else (),
        )

    def operators(self) -> Iterator[Operator]:
        for number in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(number)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            # Old files hold the code in one byte; newer codes have their own field beside it.
            name = self.codes[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            custom = name == "CUSTOM"
            yield Operator(
                name=_text(code.CustomCode()) if custom else name,
                custom=custom,
                inputs=_numbers(operator.InputsAsNumpy()),
                outputs=_numbers(operator.OutputsAsNumpy()),
            )


def _names_of(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _numbers(array: Any) -> tuple[int, ...]:
    # flatbuffers gives 0 for a vector that is not there.
    return () if isinstance(array, int) else tuple(array.tolist())
