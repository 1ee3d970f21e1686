"""A TFLite file in its own interpreter, whole and tensor by tensor. The lower half runs in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from child import Child
from jobkit import GraphError, Job, SourceError, Tensor, brief
from jobkit.runtime import Arrays

Array = np.ndarray[Any, Any]

FETCH_ANEW = "the file is damaged or newer than the interpreter: fetch it anew, or convert the model to TFLite anew"

# An absurd file asks for room that the machine would give, and then not have.
MOST_MEMORY = 8 * 2**30


class Original:
    """The file at `path`, loaded: `inputs` and `outputs` by the names of their tensors.

    Open axes of inputs get the recipe's sizes; `keep` keeps every tensor of a run.
    """

    def __init__(self, path: Path, job: Job, child: Child, *, keep: bool = False) -> None:
        """Load it in `child`. Raises SourceError or GraphError where the interpreter will not take it."""
        self.path = path
        self.child = child
        shapes = {item.name: list(item.shape) for item in job.inputs}
        self.inputs, self.outputs = self._ask("load", str(path), shapes, keep)
        self._check_names(job)
        self._check_inputs(job)

    def __call__(self, arrays: Arrays) -> Arrays:
        """Run once; give the outputs by name."""
        found = self._ask("run", arrays, None)
        return {tensor.name: array for tensor, array in zip(self.outputs, found, strict=True)}

    def inside(self, arrays: Arrays, tensors: Sequence[int]) -> list[Array]:
        """Run once; give the tensors of these numbers."""
        found: list[Array] = self._ask("run", arrays, list(tensors))
        return found

    def _ask(self, function: str, *arguments: Any) -> Any:
        doing = f"{function} {self.path.name} in the TFLite interpreter"
        return self.child.call(f"original:{function}", *arguments, doing=doing, remedy=FETCH_ANEW)

    def _check_names(self, job: Job) -> None:
        for kind, found, wanted in (("inputs", self.inputs, job.inputs), ("outputs", self.outputs, job.outputs)):
            names = [tensor.name for tensor in found]
            if sorted(names) != sorted(item.name for item in wanted):
                raise GraphError(
                    f"the {kind} of {self.path.name} are {', '.join(names)}; "
                    f"the recipe names {', '.join(item.name for item in wanted)}",
                    f"name all {kind} in the recipe as the file does, each with a name of its own",
                )

    def _check_inputs(self, job: Job) -> None:
        items = {item.name: item for item in job.inputs}
        for tensor in self.inputs:
            item = items[tensor.name]
            if (tensor.shape, tensor.dtype) != (item.shape, item.dtype):
                raise GraphError(
                    f"the input {tensor.name} of {self.path.name} is {tensor.dtype} {list(tensor.shape)}; "
                    f"the recipe has {item.dtype} {list(item.shape)}",
                    "give the recipe the dtype and the shape of the file, where channels mostly come last",
                )


_loaded: list[Any] = []


def load(path: str, shapes: Mapping[str, Sequence[int]], keep: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Load a file for `run`; give its inputs and outputs. Raises SourceError. Runs in the child."""
    import resource

    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    try:
        # A delegate may calculate otherwise than the kernels that define what an operator means.
        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(
            path, num_threads=2, experimental_op_resolver_type=resolver, experimental_preserve_all_tensors=keep
        )
        for details in interpreter.get_input_details():
            if -1 in details["shape_signature"] and details["name"] in shapes:
                interpreter.resize_tensor_input(details["index"], shapes[details["name"]], strict=True)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise _refusal(Path(path).name, str(error)) from None
    _loaded[:] = [interpreter]
    return _tensors(interpreter.get_input_details()), _tensors(interpreter.get_output_details())


def _refusal(name: str, said: str) -> SourceError:
    custom = re.search(r"unresolved custom op: (\w+)", said)
    if custom:
        return SourceError(f"{name} has the custom operator {custom[1]}, which only the app knows that it was made for",
                           "make the model without it, or cut it off, and convert it to TFLite anew")
    if "Select TensorFlow op" in said:
        return SourceError(f"{name} has operators of TensorFlow (Select TF ops), which ONNX does not have",
                           "convert the model to TFLite anew with TFLite's own operators alone")
    return SourceError(f"the TFLite interpreter does not take {name}: {brief(Exception(said))}", FETCH_ANEW)


def run(arrays: Arrays, tensors: Sequence[int] | None) -> list[Array]:
    """Run the file that was loaded last; give the outputs in their order, or these tensors. Runs in the child."""
    (interpreter,) = _loaded
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], arrays[details["name"]])
    try:
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise SourceError(f"the TFLite interpreter cannot run the file: {brief(error)}", FETCH_ANEW) from None
    outputs = [details["index"] for details in interpreter.get_output_details()]
    return [interpreter.get_tensor(number) for number in (outputs if tensors is None else tensors)]


def _tensors(details: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    return [Tensor(entry["name"], tuple(entry["shape"].tolist()), np.dtype(entry["dtype"]).name) for entry in details]
