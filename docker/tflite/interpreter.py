"""A .tflite file in TensorFlow Lite's interpreter, in a process of its own, which a damaged file may take along.

The functions of the lower half run in that process.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np
from child import Child
from jobkit import Device, GraphError, Input, Job, Runtime, UnusableError, brief
from jobkit.runtime import Arrays
from signature import Held, ports

DAMAGED = "the file is damaged, or made for a newer interpreter: make it again"
REMEDY = "the last lines of convert.log name the operator; try the other way, via, or another precision"


# Every way gives the outputs the axes that the graph has, whatever it does with the inputs.
OUTPUTS = "NCHW"


def open_file(path: Path, job: Job, child: Child, *, usual: str = "", threads: int = 2) -> Runtime:
    """Open the file at `path` and give it as the recipe has it: its names, its shapes, floats.

    `usual` is the layout that the way which made it gives inputs with channels. Raises UnusableError where the
    interpreter does not take the file, or ends by a signal; GraphError where its tensors are not those of the recipe.
    """
    held_in, held_out, detail = child.call(
        "interpreter:load", str(path), threads,
        doing=f"load {path.name} in the interpreter", remedy=DAMAGED, crash=UnusableError,
    )  # fmt: skip
    inputs = ports({item.name: (item.shape, item.layout) for item in job.inputs}, held_in, "input", usual)
    outputs = ports({item.name: (item.shape, None) for item in job.outputs}, held_out, "output", OUTPUTS)
    taken: List[float] = []

    def run(arrays: Arrays) -> Arrays:
        fed = {item.held.key: item.into_file(arrays[item.name]) for item in inputs}
        got, seconds = child.call(
            "interpreter:run", fed,
            doing=f"run {path.name} in the interpreter", remedy=REMEDY, crash=UnusableError,
        )  # fmt: skip
        taken[:] = [seconds]
        return {item.name: item.out_of_file(got[item.held.key]) for item in outputs}

    device = Device("cpu", "cpu", detail)
    described = tuple(item.tensor for item in inputs), tuple(item.tensor for item in outputs)
    return Runtime(run, *described, device, lambda: taken[0])


class Opened:
    """An interpreter and its tensors by the names of the signature."""

    def __init__(self, path: str, threads: int, *, keep: bool = False) -> None:
        """Load the file and give its tensors room; `keep` keeps all of them after a run. Raises UnusableError."""
        import tensorflow as tf

        check_identifier(Path(path))
        # A delegate has its operators' results to itself.
        kinds = tf.lite.experimental.OpResolverType
        resolver = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep else kinds.AUTO
        try:
            self.interpreter = tf.lite.Interpreter(
                model_path=path,
                num_threads=threads,
                experimental_op_resolver_type=resolver,
                experimental_preserve_all_tensors=keep,
            )
            self.interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise UnusableError(f"the interpreter cannot load {Path(path).name}: {brief(error)}", DAMAGED) from None
        inputs, outputs = tensors_of(self.interpreter)
        self.inputs = [(entry["index"], _described(name, entry)) for name, entry in inputs]
        self.outputs = [(entry["index"], _described(name, entry)) for name, entry in outputs]
        self.detail = f"TensorFlow Lite {tf.__version__}, {threads} threads"

    def run(self, arrays: Mapping[str, Any]) -> Tuple[Dict[str, Any], float]:
        """Run the file once; give its outputs by name, and the seconds that the run alone took."""
        for index, held in self.inputs:
            self.interpreter.set_tensor(index, arrays[held.key])
        began = time.perf_counter()
        try:
            self.interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise UnusableError(f"the interpreter cannot run the file: {brief(error)}", REMEDY) from None
        seconds = time.perf_counter() - began
        return {held.key: self.interpreter.get_tensor(index) for index, held in self.outputs}, seconds


class Fed:
    """A file that takes the recipe's arrays, and gives its own outputs as they are."""

    def __init__(self, path: str, inputs: Sequence[Input], usual: str, threads: int, *, keep: bool = False) -> None:
        """Open the file at `path`; `usual` is the layout of inputs with channels. Raises UnusableError."""
        self.opened = Opened(path, threads, keep=keep)
        shapes = {item.name: (item.shape, item.layout) for item in inputs}
        self.ports = ports(shapes, [held for _, held in self.opened.inputs], "input", usual)

    def run(self, sample: Mapping[str, Any]) -> Dict[str, Any]:
        """Run the file once; give its outputs by the names of its signature."""
        return self.opened.run({port.held.key: port.into_file(sample[port.name]) for port in self.ports})[0]


def check_identifier(path: Path) -> None:
    """Raise UnusableError unless the file begins as a TFLite file does: the identifier is at its fifth byte."""
    with path.open("rb") as stream:
        head = stream.read(8)
    if head[4:] != b"TFL3":
        raise UnusableError(f"{path.name} is no TFLite file: it lacks the identifier TFL3", DAMAGED)


Entries = List[Tuple[str, Mapping[str, Any]]]


def tensors_of(interpreter: Any) -> Tuple[Entries, Entries]:
    """Give inputs and outputs with their names: those of the only signature, or where there is none the tensors' own.

    Raises GraphError where there are several signatures.
    """
    known = interpreter.get_signature_list()
    if len(known) > 1:
        raise GraphError(f"the file has several signatures: {', '.join(known)}", "keep one of them")
    if known:
        runner = interpreter.get_signature_runner(next(iter(known)))
        return list(runner.get_input_details().items()), list(runner.get_output_details().items())
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    return [(entry["name"], entry) for entry in inputs], [(entry["name"], entry) for entry in outputs]


def _described(name: str, entry: Mapping[str, Any]) -> Held:
    parameters = entry["quantization_parameters"]
    shape, dtype = tuple(int(size) for size in entry["shape"]), np.dtype(entry["dtype"]).name
    if not len(parameters["scales"]):
        return Held(name, shape, dtype)
    return Held(name, shape, dtype, float(parameters["scales"][0]), int(parameters["zero_points"][0]))


_opened: List[Opened] = []


def load(path: str, threads: int) -> Tuple[List[Held], List[Held], str]:
    """Open a file for `run`; give its inputs, its outputs and where it runs. Runs in the child."""
    _opened[:] = [Opened(path, threads)]
    opened = _opened[0]
    return [held for _, held in opened.inputs], [held for _, held in opened.outputs], opened.detail


def run(arrays: Mapping[str, Any]) -> Tuple[Dict[str, Any], float]:
    """Run the file that was opened last. Runs in the child."""
    return _opened[0].run(arrays)
