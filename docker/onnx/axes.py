"""Free and fixed axes of a graph: named, given sizes, and tried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from graph import infer_shapes, input_values
from jobkit import Input, OptionError, Runtime, brief
from jobkit.runtime import Arrays
from options import Axes
from simplify import Array, difference

EXPORT_ANEW = "leave the axis fixed, or export the model anew from its source with this axis free"


def set_inputs(model: onnx.ModelProto, inputs: Sequence[Input], dynamic: Axes) -> onnx.ModelProto:
    """Give `model` with its inputs as the recipe has them: free axes by name, all others with the recipe's size.

    Raises GraphError where the shapes inside the graph contradict that.
    """
    values = {value.name: value for value in input_values(model)}
    changed = [_set_input(values[item.name], item, dynamic.get(item.name, {})) for item in inputs]
    if not any(changed):
        return model
    _forget_shapes(model)
    return infer_shapes(model)


def _set_input(value: onnx.ValueInfoProto, item: Input, names: Mapping[int, str]) -> bool:
    changed = False
    for axis, (dim, size) in enumerate(zip(value.type.tensor_type.shape.dim, item.shape, strict=True)):
        before = (dim.dim_value, dim.dim_param)
        if axis in names:
            dim.dim_param = names[axis]
        else:
            dim.dim_value = size
        changed = changed or before != (dim.dim_value, dim.dim_param)
    return changed


def _forget_shapes(model: onnx.ModelProto) -> None:
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def batch_axis(inputs: Sequence[Input], dynamic: Axes) -> str | None:
    """Give the name of the batch axis where it is the one free axis, and free in every input."""
    names = {dynamic.get(item.name, {}).get(0) for item in inputs}
    free = [axis for item in inputs for axis in dynamic.get(item.name, {})]
    return names.pop() if len(names) == 1 and set(free) == {0} else None


def try_batch(runtime: Runtime, sample: Arrays) -> dict[str, list[int | None]]:
    """Run a doubled batch, the sample and its mirror image, and check that each half gives what it gives alone.

    Gives for each output its sizes, None for an axis that follows the batch. Raises OptionError where an output
    neither follows it nor is a constant: somewhere in the graph the batch is fixed.
    """
    mirrored = {name: np.flip(array, -1) for name, array in sample.items()}
    first, second = runtime(sample), runtime({name: np.ascontiguousarray(array) for name, array in mirrored.items()})
    try:
        both = runtime({name: np.concatenate([array, mirrored[name]]) for name, array in sample.items()})
    except Exception as error:
        raise OptionError(f"the graph runs with its own batch only: {brief(error)}", EXPORT_ANEW) from None
    return {name: _follow(name, first[name], second[name], both[name]) for name in first}


def _follow(name: str, alone: Array, other: Array, double: Array) -> list[int | None]:
    constant = alone.shape == double.shape and np.array_equal(alone, other)
    if not constant and not alone.ndim:
        raise OptionError(f"the output {name} is a single number, which mixes the items of a batch", EXPORT_ANEW)
    expected = alone if constant else np.concatenate([alone, other])
    if expected.shape != double.shape:
        raise OptionError(
            f"the output {name} is {list(alone.shape)} for one batch and {list(double.shape)} for two of them",
            EXPORT_ANEW,
        )
    excess = difference(expected, double)
    if excess > 1:
        raise OptionError(
            f"the output {name} of a doubled batch is wrong: {excess:.3g} times what rounding explains", EXPORT_ANEW
        )
    return [size if axis or constant else None for axis, size in enumerate(alone.shape)]


def name_outputs(model: onnx.ModelProto, sizes: dict[str, list[int | None]], batch: str) -> None:
    """Write the sizes found by try_batch() into the outputs of `model`, where inference left them open."""
    for value in model.graph.output:
        shape = value.type.tensor_type.shape
        if len(shape.dim) != len(sizes[value.name]):
            shape.ClearField("dim")
            for _ in sizes[value.name]:
                shape.dim.add()
        for dim, size in zip(shape.dim, sizes[value.name], strict=True):
            if size is None:
                dim.dim_param = batch
            else:
                dim.dim_value = size
