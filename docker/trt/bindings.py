"""How a version of TensorRT shows an engine's tensors at run time: by numbers (8.2), or by names (10 and newer).

Sources: the API references of TensorRT 8.2.5, 10.13 and 11.4 (docs.nvidia.com/deeplearning/tensorrt).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Mapping, Tuple

import numpy as np
from jobkit import GraphError

Shape = Tuple[int, ...]


@dataclass(frozen=True)
class Binding:
    """A tensor of an engine; -1 is a size that each run chooses. An input has a least and a greatest shape."""

    name: str
    is_input: bool
    shape: Shape
    dtype: Any
    least: Shape
    most: Shape

    def check(self, array: Any) -> None:
        """Raise GraphError where an array is not what this input takes."""
        if array.dtype != self.dtype:
            raise GraphError(f"input {self.name!r} takes {self.dtype}, not {array.dtype}", "convert the array first")
        if len(array.shape) != len(self.shape):
            raise GraphError(f"input {self.name!r} has {len(self.shape)} axes, not {len(array.shape)}", self.remedy)
        sizes = zip(self.least, array.shape, self.most)  # noqa: B905 - Python 3.10 has strict
        if not all(low <= size <= high for low, size, high in sizes):
            raise GraphError(f"input {self.name!r} cannot have the shape {list(array.shape)}", self.remedy)

    @property
    def remedy(self) -> str:
        """Say which shapes the engine was built for."""
        if self.least == self.most:
            return f"the engine was built for {list(self.most)}"
        return f"the engine was built for shapes from {list(self.least)} to {list(self.most)}"


class Named:
    """An engine of TensorRT 10 or newer with one context, its tensors by their names."""

    def __init__(self, trt: Any, engine: Any, context: Any) -> None:
        """Look at what the engine has."""
        self.trt, self.engine, self.context = trt, engine, context
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self.all = [self.binding(name) for name in names]

    def binding(self, name: str) -> Binding:
        """Describe one tensor."""
        engine = self.engine
        is_input = engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT
        shape = tuple(engine.get_tensor_shape(name))
        least, _, most = engine.get_tensor_profile_shape(name, 0) if is_input else (shape, shape, shape)
        return Binding(name, is_input, shape, numpy_type(self.trt, engine.get_tensor_dtype(name)),
                       *ranges(shape, least, most))  # fmt: skip

    def set_shape(self, name: str, shape: Shape) -> bool:
        """Choose the shape of an input for the next run; say whether the engine takes it."""
        return bool(self.context.set_input_shape(name, shape))

    def shape_of(self, name: str) -> Shape:
        """Give the shape that an output has, now that the inputs' shapes are chosen."""
        return tuple(self.context.get_tensor_shape(name))

    def enqueue(self, addresses: Mapping[str, int], stream: int) -> bool:
        """Begin a run in the stream; say whether it began."""
        for name, address in addresses.items():
            self.context.set_tensor_address(name, address)
        return bool(self.context.execute_async_v3(stream))


class Numbered:
    """An engine of TensorRT 8.2 with one context, its tensors by their numbers."""

    def __init__(self, trt: Any, engine: Any, context: Any) -> None:
        """Look at what the engine has: each further profile would repeat all bindings, and only the first is used."""
        self.trt, self.engine, self.context = trt, engine, context
        self.count = engine.num_bindings // max(1, engine.num_optimization_profiles)
        self.numbers = {engine.get_binding_name(index): index for index in range(self.count)}
        self.all = [self.binding(name, index) for name, index in self.numbers.items()]

    def binding(self, name: str, index: int) -> Binding:
        """Describe one tensor."""
        engine = self.engine
        is_input, shape = bool(engine.binding_is_input(index)), tuple(engine.get_binding_shape(index))
        least, _, most = engine.get_profile_shape(0, index) if is_input else (shape, shape, shape)
        return Binding(name, is_input, shape, numpy_type(self.trt, engine.get_binding_dtype(index)),
                       *ranges(shape, least, most))  # fmt: skip

    def set_shape(self, name: str, shape: Shape) -> bool:
        """Choose the shape of an input for the next run; say whether the engine takes it."""
        return bool(self.context.set_binding_shape(self.numbers[name], shape))

    def shape_of(self, name: str) -> Shape:
        """Give the shape that an output has, now that the inputs' shapes are chosen."""
        return tuple(self.context.get_binding_shape(self.numbers[name]))

    def enqueue(self, addresses: Mapping[str, int], stream: int) -> bool:
        """Begin a run in the stream; say whether it began."""
        ordered: List[int] = [addresses[name] for name in self.numbers]
        return bool(self.context.execute_async_v2(ordered, stream))


def ranges(shape: Shape, least: Any, most: Any) -> Tuple[Shape, Shape]:
    """Give an input's least and greatest shape; where the profile has none, they are the shape itself."""
    low, high = tuple(least or shape), tuple(most or shape)
    return (low, high) if len(low) == len(shape) == len(high) else (shape, shape)


def numpy_type(trt: Any, dtype: Any) -> Any:
    """Give numpy's name of a type; raises GraphError where numpy has none."""
    try:
        return np.dtype(trt.nptype(dtype))
    except TypeError:
        raise GraphError(f"numpy has no type for TensorRT's {dtype}", "let inputs and outputs be float32") from None


def choose_bindings(trt: Any) -> Any:
    """Give the class for a version of TensorRT's module `trt`."""
    return Numbered if int(str(trt.__version__).split(".")[0]) < 10 else Named
