"""A SavedModel as a .tflite file in one of the precisions; integer ones are measured on the calibration samples.

The function `write` runs in a process of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from flatfile import rename
from jobkit import GraphError, brief
from jobkit.arrays import Samples
from signature import Held, port

PRECISIONS = ("fp32", "fp16", "dynamic", "int8", "uint8")
INTEGER = ("int8", "uint8")

SIGNATURE = "serving_default"

TENSORFLOW_OPS = re.compile(r"^\s*tf\.(\w+)\(", re.MULTILINE)
FLEX_LIST = re.compile(r"(?:TF Select ops|Custom ops|Flex ops): ([\w, ]+)")
NOT_QUANTISED = re.compile(r"[Qq]uantization (?:to \S+ )?not yet supported for op: '?(\w+)")


@dataclass(frozen=True)
class Saved:
    """A SavedModel: its folder, and the recipe's inputs and outputs by the names that its signature has for them.

    `shapes` are the recipe's shapes and layouts of the inputs, by the same names; `usual` is the layout of tensors
    with channels.
    """

    folder: str
    inputs: Dict[str, str]
    outputs: Dict[str, str]
    shapes: Dict[str, Tuple[Tuple[int, ...], Optional[str]]]
    usual: str


@dataclass(frozen=True)
class Wish:
    """What the file is to be: its precision, whether TensorFlow's own operators may be in it, what to measure on."""

    precision: str
    select_ops: bool
    calibration: Optional[Samples]


def write(saved: Saved, wish: Wish, path: str) -> None:
    """Convert `saved` into the file at `path`. Raises GraphError naming the operator that cannot be converted."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved.folder, signature_keys=[SIGNATURE])
    _set_precision(converter, saved, wish)
    try:
        data = converter.convert()
    except Exception as error:
        raise _refusal(str(error), wish) from error
    Path(path).write_bytes(data)
    rename(path, saved.inputs, saved.outputs)


def _set_precision(converter: Any, saved: Saved, wish: Wish) -> None:
    import tensorflow as tf

    integer = wish.precision in INTEGER
    builtins = tf.lite.OpsSet.TFLITE_BUILTINS_INT8 if integer else tf.lite.OpsSet.TFLITE_BUILTINS
    converter.target_spec.supported_ops = [builtins, *([tf.lite.OpsSet.SELECT_TF_OPS] if wish.select_ops else [])]
    if wish.precision != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if wish.precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if integer:
        converter.representative_dataset = lambda: calibration(saved, wish)
        converter.inference_input_type = converter.inference_output_type = getattr(tf, wish.precision)


def calibration(saved: Saved, wish: Wish) -> Iterator[Any]:
    """Yield each calibration sample as the SavedModel takes it. Raises GraphError where there are none."""
    if not wish.calibration:
        raise GraphError(
            f"{wish.precision} wants calibration samples, and there are none",
            "name pictures like those of its use in the recipe: calibration: {pictures: [calibration/*.png]}",
        )
    found = _inputs(saved)
    for sample in wish.calibration:
        yield SIGNATURE, {key: found[key].into_file(sample[name]) for key, name in saved.inputs.items()}


def _inputs(saved: Saved) -> Dict[str, Any]:
    import tensorflow as tf

    entries = tf.saved_model.load(saved.folder).signatures[SIGNATURE].structured_input_signature[1]
    held = {key: Held(key, tuple(spec.shape), spec.dtype.name) for key, spec in entries.items()}
    return {key: port(key, held[key], *saved.shapes[key], saved.usual) for key in saved.inputs}


def _refusal(text: str, wish: Wish) -> GraphError:
    unquantised = NOT_QUANTISED.findall(text)
    if unquantised:
        return GraphError(
            f"TFLite has no {wish.precision} form of {_listed(unquantised)}",
            "leave out this precision, or cut these operators off (make edit KEEP=...) and compute them outside",
        )
    missing = TENSORFLOW_OPS.findall(text) or [
        name for names in FLEX_LIST.findall(text) for name in names.split(", ")
    ]
    if missing:
        how = "even with Select TF ops" if wish.select_ops else "among its builtin operators"
        return GraphError(
            f"TFLite does not have {_listed(missing)} {how}",
            "write it with operators that TFLite has, or cut it off (make edit KEEP=...) and compute it outside"
            if wish.select_ops
            else "say select_ops: true in the recipe, where the app can carry TensorFlow's operators (some 10 MB more)",
        )
    return GraphError(f"TensorFlow's converter refuses the graph: {brief(Exception(text))}", "see convert.log")


def _listed(names: Sequence[str]) -> str:
    unique: List[str] = sorted(set(names))
    return ", ".join(unique)
