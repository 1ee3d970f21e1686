"""An ONNX graph as a SavedModel by onnx2tf, with channels last. Everything here runs in the toolchain's own process.

https://github.com/PINTO0309/onnx2tf. It turns the axes of every tensor, and where it turns one wrongly it says nothing;
so what it makes is held against ONNX Runtime each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from closeness import TOLERANCE, difference, run_onnx
from jobkit import GraphError, Input, brief
from renaming import Plain, read_plain

SIGNATURE = "serving_default"

# onnx2tf fetches this from the network unless it lies in the working folder: pictures with which it tries out, inside,
# which order of axes fits. Any numbers do that differ from each other.
PICTURES = "calibration_image_sample_data_20x128x128x3_float32.npy"
PICTURES_SHAPE = (20, 128, 128, 3)
SEED = 0

REMEDY = "try the other way, via: onnx-tf; or write this part of the model with other operators"

Arrays = Mapping[str, Any]
Call = Callable[..., Mapping[str, Any]]


def to_saved_model(
    path: str, inputs: Sequence[Input], samples: Sequence[Arrays], folder: str
) -> tuple[dict[str, str], dict[str, str], float]:
    """Write the SavedModel of the graph at `path` into `folder`, proven on `samples`, or on random numbers.

    Inputs whose layout is NCHW get their channels last; all others, and all outputs, keep their shapes. Gives the
    graph's names of inputs and outputs by those in the signature, and the largest error relative to an output's range.

    Raises GraphError naming the operator that onnx2tf does not have, or the output that it gives wrongly.
    """
    plain = read_plain(Path(path), inputs)
    last = {item.name for item in inputs if item.layout == "NCHW"}
    turned = [new for new, old in plain.inputs.items() if old in last]
    model = _converted(plain, turned)
    examples = [_named(sample, plain) for sample in samples] or [_random(plain, inputs)]
    call = _call(model, plain, turned, examples[0])
    error = max(_error(call, plain, turned, example) for example in examples)
    _save(call, model, folder)
    return dict(plain.inputs), dict(plain.outputs), error


def _converted(plain: Plain, turned: Sequence[str]) -> Any:
    """Give the graph as a Keras model. Raises GraphError."""
    import onnx2tf

    with TemporaryDirectory(prefix="onnx2tf-") as folder, chdir(folder):
        # onnx2tf writes into the file that it reads: this one is nobody else's.
        onnx.save(plain.model, "model.onnx")
        np.save(PICTURES, np.random.default_rng(SEED).random(PICTURES_SHAPE, np.float32))
        try:
            return onnx2tf.convert(
                input_onnx_file_path="model.onnx",
                output_folder_path="saved_model",
                keep_shape_absolutely_input_names=[name for name in plain.inputs if name not in turned] or None,
                not_use_onnxsim=True,
                not_use_opname_auto_generate=True,
                disable_model_save=True,
                verbosity="error",
            )
        except (Exception, SystemExit) as error:
            raise _refusal(error, plain) from error


def _refusal(error: BaseException, plain: Plain) -> GraphError:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("onnx2tf.ops."):
        return GraphError(f"onnx2tf does not have the operator {str(error.name).rpartition('.')[2]}", REMEDY)
    node = plain.nodes.get(getattr(error, "onnx_op_name", None) or "")
    if isinstance(error, SystemExit):
        return GraphError(f"onnx2tf gives up{f' at {node}' if node else ''}", f"see convert.log; {REMEDY}")
    return GraphError(f"onnx2tf fails{f' at {node}' if node else ''}: {brief(error)}", REMEDY)


def _named(sample: Arrays, plain: Plain) -> dict[str, Any]:
    return {new: sample[old] for new, old in plain.inputs.items()}


def _random(plain: Plain, inputs: Sequence[Input]) -> dict[str, Any]:
    random = np.random.default_rng(SEED)
    items = {item.name: item for item in inputs}
    return {new: random.random(items[old].shape).astype(items[old].dtype) for new, old in plain.inputs.items()}


def _call(model: Any, plain: Plain, turned: Sequence[str], example: Arrays) -> Any:
    """Give the model as a function of tensors in the order of `plain.inputs`, with outputs in the graph's shapes."""
    import tensorflow as tf

    found = {tensor.name.partition(":")[0]: tensor for tensor in model.inputs}
    specs = [tf.TensorSpec(found[name].shape, found[name].dtype, name=name) for name in plain.inputs]

    def run(*tensors: Any) -> list[Any]:
        fed = dict(zip(plain.inputs, tensors, strict=True))
        made = model([fed[name] for name in found])
        return list(made) if isinstance(made, (list, tuple)) else [made]

    first = [array.numpy() for array in run(*_fed(plain, turned, example))]
    wanted = run_onnx(plain.model, list(plain.outputs), example)
    axes = {name: _axes(name, array, wanted[name], plain) for name, array in zip(plain.outputs, first, strict=True)}

    def call(*tensors: Any) -> dict[str, Any]:
        made = dict(zip(plain.outputs, run(*tensors), strict=True))
        return {name: tf.identity(tf.transpose(made[name], order) if order else made[name], name=name)
                for name, order in axes.items()}

    return tf.function(call, input_signature=specs, autograph=False)


def _fed(plain: Plain, turned: Sequence[str], example: Arrays) -> list[Any]:
    import tensorflow as tf

    arrays = (np.moveaxis(example[name], 1, -1) if name in turned else example[name] for name in plain.inputs)
    return [tf.constant(array) for array in arrays]


def _axes(name: str, made: Any, wanted: Any, plain: Plain) -> tuple[int, ...] | None:
    """Find the order of axes in which `made` has the numbers of `wanted`; None where it has it already.

    Raises GraphError where neither fits.
    """
    rank = made.ndim
    orders = [None, (0, rank - 1, *range(1, rank - 1))] if rank > 2 else [None]
    fitting = {order: difference(made.transpose(order) if order else made, wanted) for order in orders}
    order = min(fitting, key=lambda key: fitting[key])
    if not fitting[order] <= TOLERANCE:
        how = f"is off by {fitting[order]:.2g} of its range" if np.isfinite(fitting[order]) else (
            f"is {list(made.shape)}, and {list(wanted.shape)} in the graph")
        raise _wrong(plain.outputs[name], how)
    return order


def _error(call: Any, plain: Plain, turned: Sequence[str], example: Arrays) -> float:
    """Give the largest error of the function on an example. Raises GraphError where it is above TOLERANCE."""
    made = call(*_fed(plain, turned, example))
    wanted = run_onnx(plain.model, list(plain.outputs), example)
    errors = {name: difference(made[name].numpy(), wanted[name]) for name in plain.outputs}
    for name, error in errors.items():
        if not error <= TOLERANCE:
            raise _wrong(plain.outputs[name], f"is off by {error:.2g} of its range")
    return max(errors.values(), default=0.0)


def _wrong(output: str, how: str) -> GraphError:
    return GraphError(f"onnx2tf converts the graph wrongly: the output {output} {how}", REMEDY)


def _save(call: Any, model: Any, folder: str) -> None:
    """Write a SavedModel with one signature."""
    import tensorflow as tf

    holder, function = tf.Module(), call.get_concrete_function()
    holder.model, holder.call = model, call
    # The weights of grouped convolutions belong to layers that the Keras model does not know of.
    holder.weights = list(function.graph.variables)
    tf.saved_model.save(holder, folder, signatures={SIGNATURE: function})
