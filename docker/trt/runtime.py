"""TrtModel: an engine on the GPU, for any number of inputs and outputs, of shapes that are fixed or free."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Tuple, Type

import numpy as np
from bindings import Binding, Shape, choose_bindings
from jobkit import EngineError, GraphError
from memory import Cuda, open_cuda
from passport import NAME, inspect, read_passport
from trtlog import make_log

Arrays = Dict[str, "np.ndarray[Any, Any]"]
MANIFEST = "manifest.json"


@dataclass
class Buffer:
    """Page-locked memory and memory on the GPU for one tensor; it grows, and never shrinks."""

    locked: Any
    address: int


class TrtModel:
    """An engine that is loaded; use it in ``with``, or call ``close``.

    One run at a time: threads wait for each other. Several models may live in one process.
    """

    def __init__(self, engine: Path, *, trt: Any = None, cuda: Optional[Cuda] = None, command: str = "") -> None:
        """Load the engine in a file, after a look at its passport: engine.json or manifest.json in the same folder.

        `trt` is TensorRT's module, imported unless given; `cuda` the GPU, opened and closed by the model unless given;
        `command` what builds the right engine. Raises EngineError where the engine is not whole, was made for another
        GPU or version, or cannot be loaded; DeviceError where there is no GPU.
        """
        if trt is None:
            import tensorrt as trt
        self.trt, self.lock = trt, threading.Lock()
        # The GPU first: without one, TensorRT 10 hands out objects that crash when they are used.
        self.cuda = cuda or open_cuda(str(trt.__version__))
        self._closing = ExitStack()
        if cuda is None:
            self._closing.callback(self.cuda.close)
        try:
            self.look(engine, command or f"make trt MODEL={model_of(engine)}")
            with self.cuda.current():
                self.load(engine)
        except BaseException:
            self.close()
            raise

    def look(self, engine: Path, command: str) -> None:
        """Compare the passport with what is here."""
        beside = engine.with_name(NAME)
        passport = read_passport(beside if beside.is_file() else engine.with_name(MANIFEST))
        card = self.cuda.card
        inspect(passport, engine, tensorrt=str(self.trt.__version__), gpu=card.name, capability=card.capability,
                command=command)  # fmt: skip

    def load(self, engine: Path) -> None:
        """Make TensorRT's objects; each lives as long as those that use it."""
        self.log = make_log(self.trt)
        runtime = self.trt.Runtime(self.log)
        loaded = runtime.deserialize_cuda_engine(engine.read_bytes())
        context = loaded.create_execution_context() if loaded is not None else None
        if context is None:
            said = self.log.last or "it does not say why"
            raise EngineError(f"TensorRT {self.trt.__version__} cannot load {engine.name}: {said}",
                              "build it again here")  # fmt: skip
        self.bindings: Any = choose_bindings(self.trt)(self.trt, loaded, context)
        self.buffers: Dict[str, Buffer] = {}
        self._objects: List[Any] = [context, loaded, runtime]
        self.inputs: Tuple[Binding, ...] = tuple(each for each in self.bindings.all if each.is_input)
        self.outputs: Tuple[Binding, ...] = tuple(each for each in self.bindings.all if not each.is_input)

    def __call__(self, inputs: Mapping[str, Any]) -> Arrays:
        """Run the engine on arrays by the inputs' names; give new arrays by the outputs' names.

        Raises GraphError where names, types or shapes are not the engine's.
        """
        with self.running():
            shapes = self.stage(inputs)
            self.copy_in()
            self.enqueue()
            self.copy_out(shapes)
            self.cuda.wait()
            return {name: view(self.buffers[name], shape, self.dtype(name)).copy() for name, shape in shapes.items()}

    def running(self) -> ExitStack:
        """Give what a run is to be inside of: one at a time, with the GPU's context current. Raises EngineError."""
        if not getattr(self, "_objects", None):
            raise EngineError("the engine is closed", "load it again")
        stack = ExitStack()
        stack.enter_context(self.lock)
        stack.enter_context(self.cuda.current())
        return stack

    def stage(self, inputs: Mapping[str, Any]) -> Dict[str, Shape]:
        """Put the inputs into page-locked memory and choose their shapes; give the shapes of the outputs."""
        wanted = {each.name for each in self.inputs}
        if set(inputs) != wanted:
            raise GraphError(f"the engine has the inputs {sorted(wanted)}, not {sorted(inputs)}", "name each once")
        for each in self.inputs:
            array = np.ascontiguousarray(inputs[each.name])
            each.check(array)
            if not self.bindings.set_shape(each.name, array.shape):
                raise GraphError(f"TensorRT refuses the shape {list(array.shape)} of {each.name!r}: {self.log.last}",
                                 each.remedy)  # fmt: skip
            view(self.room(each.name, array.nbytes), array.shape, array.dtype)[...] = array
        self.staged = {name: int(np.asarray(array).nbytes) for name, array in inputs.items()}
        shapes = {each.name: self.bindings.shape_of(each.name) for each in self.outputs}
        for name, shape in shapes.items():
            if any(size < 0 for size in shape):
                raise GraphError(f"the size of output {name!r} depends on the values of the inputs",
                                 "cut it off (make edit KEEP=...) and compute it outside")  # fmt: skip
            self.room(name, int(np.prod(shape, dtype=np.int64)) * self.dtype(name).itemsize)
        return shapes

    def copy_in(self) -> None:
        """Begin to copy the inputs that were staged."""
        for name, size in self.staged.items():
            buffer = self.buffers[name]
            self.cuda.to_device(buffer.address, buffer.locked[:size])

    def enqueue(self) -> None:
        """Begin a run. Raises GraphError where TensorRT does not."""
        addresses = {name: buffer.address for name, buffer in self.buffers.items()}
        if not self.bindings.enqueue(addresses, self.cuda.stream):
            raise GraphError(f"TensorRT cannot run the engine: {self.log.last or 'it does not say why'}",
                             "see what else uses the GPU's memory")  # fmt: skip

    def copy_out(self, shapes: Mapping[str, Shape]) -> None:
        """Begin to copy the outputs back."""
        for name, shape in shapes.items():
            buffer, size = self.buffers[name], int(np.prod(shape, dtype=np.int64)) * self.dtype(name).itemsize
            self.cuda.to_host(buffer.locked[:size], buffer.address)

    def room(self, name: str, size: int) -> Buffer:
        """Give the buffer of a tensor with at least `size` bytes; an empty tensor has an address too."""
        size = max(size, 1)
        buffer = self.buffers.get(name)
        if buffer is None or buffer.locked.nbytes < size:
            if buffer is not None:
                self.cuda.free(buffer.address)
            self.buffers[name] = buffer = Buffer(self.cuda.page_locked(size), self.cuda.allocate(size))
        return buffer

    def dtype(self, name: str) -> Any:
        """Give numpy's type of a tensor."""
        return next(each.dtype for each in self.bindings.all if each.name == name)

    def close(self) -> None:
        """Free everything, what uses something before what is used; a second call does nothing."""
        with self.lock:
            if getattr(self, "_objects", None):
                with self.cuda.current():
                    self.bindings = None
                    while self._objects:
                        self._objects.pop(0)
                    for buffer in self.buffers.values():
                        self.cuda.free(buffer.address)
                    self.buffers.clear()
            self._closing.close()

    def __enter__(self) -> TrtModel:
        """Give the model itself."""
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        """Close the model."""
        self.close()


def view(buffer: Buffer, shape: Shape, dtype: Any) -> Any:
    """Give the beginning of a buffer's page-locked memory as an array."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return buffer.locked[:size].view(dtype).reshape(shape)


def model_of(engine: Path) -> str:
    """Name the model of an engine in the store, by its folder, which is <model>/<variant>/<version>."""
    folders = engine.absolute().parent.parts
    return folders[-3] if len(folders) > 3 else "..."
