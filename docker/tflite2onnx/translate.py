"""TFLite to ONNX through tf2onnx. All of it runs in a process of its own: a damaged file may take that along."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from anatomy import Anatomy, Operator, read_anatomy
from jobkit import GraphError, brief

# TensorFlow's native half tells its whole story otherwise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

GRAPH = "model.onnx"

# What tf2onnx adds to the name of a tensor where it is an output of the graph, or quantised.
ADDED = re.compile(r"(_prequant)?(_raw_output___\d+:0)?$")

WITHOUT = "make the model without them, or cut them off, and convert it to TFLite anew"


@dataclass(frozen=True, kw_only=True)
class Translated:
    """What a file holds, and the outputs of those of its layers that were `corrected`."""

    anatomy: Anatomy
    corrected: tuple[str, ...]


def translate(source: str, folder: str, opset: int, tensors: Sequence[str]) -> Translated:
    """Write ``model.onnx`` into `folder`; `tensors` become outputs beside those of the file.

    Raises SourceError for a damaged file, GraphError naming what tf2onnx cannot translate.
    """
    anatomy = read_anatomy(Path(source))
    # Registers what tf2onnx can translate.
    import tf2onnx.convert
    from constants import name_constants

    check_operators(anatomy, opset)
    corrected = give_back_biases()
    keep_first_by_name()
    warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
    names = list(dict.fromkeys([*anatomy.names(anatomy.outputs), *tensors]))
    try:
        model = tf2onnx.convert.from_tflite(source, opset=opset, output_names=names)[0]
    except Exception as error:
        raise GraphError(f"{_version()} cannot translate the file: {brief(error)}", "see convert.log") from error
    check_left(model)
    name_constants(model)
    model.producer_name, model.producer_version = "tf2onnx", tf2onnx.__version__
    Path(folder, GRAPH).write_bytes(model.SerializeToString(deterministic=True))
    return Translated(anatomy=anatomy, corrected=tuple(corrected))


@cache
def keep_first_by_name() -> None:
    """Let tf2onnx keep the first by name of equal nodes: its own choice depends on where they lie in memory."""
    from tf2onnx.optimizer.merge_duplicated_nodes_optimizer import MergeDuplicatedNodesOptimizer

    group = MergeDuplicatedNodesOptimizer._group_nodes_by_type_inputs

    def grouped(graph: Any) -> dict[Any, Any]:
        return {key: sorted(nodes, key=lambda node: str(node.name)) for key, nodes in group(graph).items()}

    MergeDuplicatedNodesOptimizer._group_nodes_by_type_inputs = staticmethod(grouped)


def check_operators(anatomy: Anatomy, opset: int) -> None:
    """Raise GraphError naming all operators that tf2onnx has no rule for."""
    from tf2onnx import handler

    known = {*handler.tfl_op.create_tfl_to_tf_mapping(), *handler.tf_op.create_mapping(opset, [])}
    strange = [operator for operator in anatomy.operators if f"TFL_{operator.name}" not in known]
    if strange:
        counts = Counter(f"{operator.name}{_kind(operator)}" for operator in strange)
        names = (f"{name} ({count} times)" if count > 1 else name for name, count in sorted(counts.items()))
        raise GraphError(f"{_version()} cannot translate operators of the file: {'; '.join(names)}", WITHOUT)


def _kind(operator: Operator) -> str:
    if operator.name.startswith("Flex"):
        return ", an operator of TensorFlow (Select TF ops)"
    return ", a custom operator" if operator.custom else ""


def give_back_biases() -> list[str]:
    """Correct how tf2onnx translates fully connected layers; give a list that will hold the outputs of those corrected.

    Where the input is not of rank 2, tf2onnx 1.16 and 1.17 reshape it and forget the third input on the way, the bias:
    TflFullyConnectedOp in tf2onnx/tflite_handlers/tfl_math.py. An input that is of rank 2 already takes the right way.
    """
    import numpy as np
    from tf2onnx import utils
    from tf2onnx.handler import tfl_op
    from tf2onnx.tflite_handlers.tfl_math import TflFullyConnectedOp

    corrected: list[str] = []

    @tfl_op(["TFL_FULLY_CONNECTED"])
    class WithBias:
        @classmethod
        def to_tf(cls, ctx: Any, node: Any, **options: Any) -> None:
            if len(node.input) == 3 and node.attr["keep_num_dims"].i == 0 and ctx.get_rank(node.input[0]) != 2:
                shape = np.array([-1, ctx.get_shape(node.input[1])[1]], np.int64)
                wanted = ctx.make_const(utils.make_name("flat"), shape)
                flat = ctx.make_node("Reshape", [node.input[0], wanted.output[0]], op_name_scope=node.name)
                flat.skip_conversion = True
                ctx.set_shape(flat.output[0], shape.tolist())
                ctx.replace_input(node, node.input[0], flat.output[0], 0)
                corrected.append(ADDED.sub("", node.output[0]))
            TflFullyConnectedOp.to_tf(ctx, node, **options)

    return corrected


def check_left(model: Any) -> None:
    """Raise GraphError where operators were left as they are: tf2onnx goes on after an error."""
    import onnx

    left = sorted({node.op_type for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)})
    if left:
        raise GraphError(f"{_version()} left operators untranslated: {', '.join(left)}", WITHOUT)


def _version() -> str:
    import tf2onnx

    return f"tf2onnx {tf2onnx.__version__}"
