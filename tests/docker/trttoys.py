"""A TensorRT and a CUDA for machines without a GPU: stand-ins that have what the real ones have, and no more.

TensorRT cannot run where there is no GPU, so its place is taken by modules of the names, the order and the refusals
that the API references of 8.2 and 10 state. An engine is JSON: its tensors, and what its outputs multiply their input
by. Copies and runs are done when somebody waits for the stream, as late as CUDA may do them: who reads too early reads
garbage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from jobfolder import DOCKER

TRT = DOCKER / "trt"

# Behind everything else, like the other toolchains' modules; converter.py has a namesake and is run, not imported.
sys.path.append(str(TRT))
batches, bindings, bisection, halves, latency, memory, passport, runtime, timing = map(
    import_module, ("batches", "bindings", "bisection", "halves", "latency", "memory", "passport", "runtime", "timing")
)

GARBAGE = 0xA5


class Freed(Exception):
    """Something was used after it had been freed, or outside its context."""


class StandInCuda:
    """Memory is arrays at made-up addresses; the stream is a list of what is still to be done."""

    def __init__(self, name: str = "Toy GPU", capability: str = "8.6") -> None:
        self.card = SimpleNamespace(name=name, capability=capability, cuda="11.6",
                                    architecture=f"sm_{capability.replace('.', '')}")
        self.stream = 77
        self.memory: dict[int, Any] = {}
        self.queue: list[Callable[[], None]] = []
        self.depth = 0
        self.closed = 0
        self.most = 0
        self._next = 4096

    @contextmanager
    def current(self) -> Iterator[None]:
        self.depth += 1
        self.most = max(self.most, self.depth)
        try:
            yield
        finally:
            self.depth -= 1

    def _inside(self) -> None:
        if not self.depth:
            raise Freed("no context is current")

    def page_locked(self, size: int) -> Any:
        self._inside()
        return np.full(size, GARBAGE, np.uint8)

    def allocate(self, size: int) -> int:
        self._inside()
        address, self._next = self._next, self._next + size + 256
        self.memory[address] = np.full(size, GARBAGE, np.uint8)
        return address

    def to_device(self, address: int, array: Any) -> None:
        self._inside()
        self.queue.append(lambda: self._write(address, array))

    def _write(self, address: int, array: Any) -> None:
        self.memory[address][:array.nbytes] = array

    def to_host(self, array: Any, address: int) -> None:
        self._inside()
        self.queue.append(lambda: array.__setitem__(slice(None), self.memory[address][:array.nbytes]))

    def wait(self) -> None:
        self._inside()
        for work in self.queue:
            work()
        self.queue.clear()

    def free(self, address: int) -> None:
        self._inside()
        if self.queue:
            raise Freed("memory is freed while work is waiting for it")
        del self.memory[address]

    def close(self) -> None:
        self.closed += 1


class Severity:
    """Severities are compared by their numbers, as in TensorRT's enumeration."""

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name

    def __le__(self, other: Severity) -> bool:
        return self.number <= other.number

    def __gt__(self, other: Severity) -> bool:
        return self.number > other.number


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = (
        Severity(number, name) for number, name in enumerate(["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"]))

    def __init__(self) -> None:
        pass


DTYPES = {name: SimpleNamespace(name=name.upper()) for name in ("float", "int32", "half", "fp8")}


def nptype(dtype: Any) -> Any:
    """Translate as the real one does, which has no type of numpy for some."""
    known = {"FLOAT": np.float32, "INT32": np.int32, "HALF": np.float16}
    if dtype.name not in known:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return known[dtype.name]


class Engine:
    """The part that both generations have in common."""

    def __init__(self, text: bytes, cuda: StandInCuda) -> None:
        self.document = json.loads(text)
        self.tensors = self.document["tensors"]
        self.cuda = cuda
        self.num_optimization_profiles = 1
        self.alive: list[Any] = []

    def entry(self, name: str) -> Any:
        return next(tensor for tensor in self.tensors if tensor["name"] == name)


class Context:
    def __init__(self, engine: Any) -> None:
        self.engine, self.shapes, self.addresses = engine, {}, {}

    def _choose(self, name: str, shape: Any) -> bool:
        entry = self.engine.entry(name)
        if not all(low <= size <= high for low, size, high in zip(entry["least"], shape, entry["most"], strict=True)):
            return False
        self.shapes[name] = tuple(shape)
        return True

    def _shape(self, name: str) -> tuple[int, ...]:
        entry = self.engine.entry(name)
        if entry["input"]:
            return self.shapes[name]
        given = self.shapes[entry["of"]]
        return tuple(given[axis] if size == -1 else size for axis, size in enumerate(entry["shape"]))

    def _run(self, addresses: dict[str, int], stream: int) -> bool:
        assert stream == self.engine.cuda.stream
        if self.engine.document.get("fails"):
            return False
        entries, memory = [entry for entry in self.engine.tensors if not entry["input"]], self.engine.cuda.memory
        shapes = {entry["name"]: self._shape(entry["name"]) for entry in self.engine.tensors}

        def work() -> None:
            for entry in entries:
                source = self.engine.entry(entry["of"])
                dtype, into = nptype(DTYPES[source["dtype"]]), nptype(DTYPES[entry["dtype"]])
                count = int(np.prod(shapes[entry["of"]]))
                given = memory[addresses[entry["of"]]][:count * np.dtype(dtype).itemsize].view(dtype)
                made = (given.astype(np.float64) * entry["times"]).astype(into)[:int(np.prod(shapes[entry["name"]]))]
                memory[addresses[entry["name"]]][:made.nbytes] = made.view(np.uint8)

        self.engine.cuda.queue.append(work)
        return True


class Engine8(Engine):
    """TensorRT 8.2: bindings by number."""

    @property
    def num_bindings(self) -> int:
        return len(self.tensors)

    def get_binding_name(self, index: int) -> str:
        return str(self.tensors[index]["name"])

    def binding_is_input(self, index: int) -> bool:
        return bool(self.tensors[index]["input"])

    def get_binding_shape(self, index: int) -> tuple[int, ...]:
        return tuple(self.tensors[index]["shape"])

    def get_binding_dtype(self, index: int) -> Any:
        return DTYPES[self.tensors[index]["dtype"]]

    def get_profile_shape(self, profile: int, binding: int) -> Any:
        entry = self.tensors[binding]
        return (entry["least"], entry["most"], entry["most"])

    def create_execution_context(self) -> Any:
        return Context8(self)


class Context8(Context):
    def set_binding_shape(self, index: int, shape: Any) -> bool:
        return self._choose(self.engine.get_binding_name(index), shape)

    def get_binding_shape(self, index: int) -> tuple[int, ...]:
        return self._shape(self.engine.get_binding_name(index))

    def execute_async_v2(self, bindings: list[int], stream_handle: int) -> bool:
        assert len(bindings) == self.engine.num_bindings and all(type(address) is int for address in bindings)
        names = [tensor["name"] for tensor in self.engine.tensors]
        return self._run(dict(zip(names, bindings, strict=True)), stream_handle)


class Engine10(Engine):
    """TensorRT 10: tensors by name."""

    @property
    def num_io_tensors(self) -> int:
        return len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return str(self.tensors[index]["name"])

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if self.entry(name)["input"] else "OUTPUT"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.entry(name)["shape"])

    def get_tensor_dtype(self, name: str) -> Any:
        return DTYPES[self.entry(name)["dtype"]]

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        entry = self.entry(name)
        return [tuple(entry["least"]), tuple(entry["most"]), tuple(entry["most"])]

    def create_execution_context(self) -> Any:
        return Context10(self)


class Context10(Context):
    def set_input_shape(self, name: str, shape: Any) -> bool:
        return self._choose(name, shape)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shape(name)

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert type(address) is int
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        return self._run(dict(self.addresses), stream_handle)


def stand_in(version: str, cuda: StandInCuda) -> Any:
    """Give a module of TensorRT of a version."""
    kind = Engine8 if version.startswith("8.") else Engine10

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, content: bytes) -> Any:
            try:
                return kind(content, cuda)
            except ValueError:
                self.logger.log(ILogger.ERROR, "[engine.cpp::readEngineFromArchive::855] Error Code 1: Serialization "
                                               "(Serialization assertion magicTagRead == magicTag failed.)")
                return None

    return SimpleNamespace(__version__=version, ILogger=ILogger, Runtime=Runtime, nptype=nptype,
                           TensorIOMode=SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"))


def tensor(name: str, shape: list[int], *, dtype: str = "float", most: list[int] | None = None,
           least: list[int] | None = None, of: str = "", times: float = 1) -> dict[str, Any]:
    return {"name": name, "shape": shape, "dtype": dtype, "input": not of, "of": of, "times": times,
            "least": least or most or shape, "most": most or shape}


def write_engine(folder: Path, *tensors: dict[str, Any], version: str = "8.2.4.2", gpu: str = "Toy GPU",
                 capability: str = "8.6", **more: Any) -> Path:
    """Write an engine with its passport."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.engine"
    file.write_text(json.dumps({"tensors": tensors, **more}))
    issued = passport.issue(file, tensorrt=version, gpu=gpu, capability=capability, driver="535.54.03", cuda="12.2")
    issued.write(folder)
    return file
