"""What a .tflite file says of itself: its operators, its tensors, their names; read by the schema of TFLite.

https://github.com/tensorflow/tensorflow/blob/v2.13.1/tensorflow/lite/schema/schema.fbs. TensorFlow is imported where
it is needed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

from jobkit import GraphError, brief

# How TFLite names an operator of TensorFlow that it hands to its Flex delegate.
FLEX = "Flex"

IDENTIFIER = b"TFL3"


@dataclass(frozen=True)
class Contents:
    """The operators of a file by count, and those among them that are TensorFlow's (Select TF ops)."""

    operators: Mapping[str, int]
    select_ops: Sequence[str]
    custom: Sequence[str]


def read_model(path: Path) -> Any:
    """Read a file into the schema's objects. Raises GraphError where it is damaged."""
    from tensorflow.lite.python import schema_py_generated as schema

    data = bytearray(path.read_bytes())
    try:
        return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    except Exception as error:
        raise GraphError(f"{path.name} is no whole TFLite file: {brief(error)}", "make it again") from None


def write_model(model: Any, path: Path) -> None:
    """Write the schema's objects into a file."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    path.write_bytes(bytes(builder.Output()))


def contents(path: str) -> Contents:
    """Count the operators of a file, in all its graphs."""
    model = read_model(Path(path))
    kinds = operator_names(model)
    found = Counter(kinds[node.opcodeIndex] for graph in model.subgraphs for node in graph.operators or ())
    own = {text(code.customCode) for code in model.operatorCodes if code.customCode}
    return Contents(
        operators=dict(sorted(found.items())),
        select_ops=sorted(name[len(FLEX) :] for name in own if name.startswith(FLEX)),
        custom=sorted(name for name in own if not name.startswith(FLEX)),
    )


def operator_names(model: Any) -> List[str]:
    """Give the names of the operators that the file has, in the order of its list of them."""
    from tensorflow.lite.python import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    return [_kind(code, names) for code in model.operatorCodes]


def _kind(code: Any, names: Mapping[int, str]) -> str:
    # Old files have the number in the one byte that the schema had for it.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return text(code.customCode) if code.customCode else names.get(number, f"operator {number}")


def text(value: Any) -> str:
    """Give a name of the file, which has bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def rename(path: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    """Give the inputs and outputs of the only signature other names, and the main graph their order.

    `inputs` and `outputs` are the new names by those in the file; TensorFlow sorts outputs by their names and strips
    from names what is no identifier, so that the file would have neither the model's names nor its order.

    Raises GraphError where the file has no such signature.
    """
    model = read_model(Path(path))
    # The bodies of loops and branches are graphs too, behind the main one.
    if len(model.signatureDefs or ()) != 1 or model.signatureDefs[0].subgraphIndex:
        raise GraphError(f"{Path(path).name} has not one signature, of its main graph", "see convert.log")
    signature, graph = model.signatureDefs[0], model.subgraphs[0]
    _renamed(signature.inputs, inputs, graph.tensors)
    _renamed(signature.outputs, outputs, graph.tensors)
    graph.inputs = [entry.tensorIndex for entry in signature.inputs]
    graph.outputs = [entry.tensorIndex for entry in signature.outputs]
    write_model(model, Path(path))


def _renamed(entries: List[Any], names: Mapping[str, str], tensors: Sequence[Any]) -> None:
    by_name: Dict[str, Any] = {text(entry.name): entry for entry in entries}
    if sorted(by_name) != sorted(names):
        raise GraphError(
            f"the converted file has {', '.join(sorted(by_name))} where {', '.join(sorted(names))} are wanted",
            "an input that nothing reads, or one tensor for two outputs: change the model",
        )
    entries[:] = [by_name[key] for key in names]
    for entry, name in zip(entries, names.values(), strict=True):
        entry.name = name
        tensors[entry.tensorIndex].name = name
