"""CUDA as far as the runtime needs it: one stream, page-locked and device memory, asynchronous copies.

TensorRT 8.2 comes with pycuda, newer ones with NVIDIA's own cuda-python; both look the same from here.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List

import numpy as np
from jobkit import DeviceError, brief


@dataclass(frozen=True)
class Card:
    """The GPU that this process uses; `cuda` is the newest CUDA that its driver takes."""

    name: str
    capability: str
    cuda: str

    @property
    def architecture(self) -> str:
        """Give the architecture as compilers name it, such as sm_86."""
        return f"sm_{self.capability.replace('.', '')}"


class Cuda:
    """One GPU with one stream. Everything that it gives out is freed by ``close``, at the latest."""

    card: Card
    stream: int

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this GPU's context the current one, and give back what was current before, also after an error."""
        raise NotImplementedError

    def page_locked(self, size: int) -> Any:
        """Give `size` bytes that the GPU can copy by itself, as an array of bytes."""
        raise NotImplementedError

    def allocate(self, size: int) -> int:
        """Give the address of `size` bytes on the GPU."""
        raise NotImplementedError

    def to_device(self, address: int, array: Any) -> None:
        """Begin to copy a page-locked array to the GPU."""
        raise NotImplementedError

    def to_host(self, array: Any, address: int) -> None:
        """Begin to copy from the GPU into a page-locked array."""
        raise NotImplementedError

    def wait(self) -> None:
        """Wait until all that was begun is done."""
        raise NotImplementedError

    def free(self, address: int) -> None:
        """Free memory on the GPU."""
        raise NotImplementedError

    def close(self) -> None:
        """Free everything; a second call does nothing."""
        raise NotImplementedError


class PyCuda(Cuda):
    """By way of pycuda, in the GPU's primary context, which PyTorch in the same process uses too."""

    def __init__(self) -> None:
        """Take the first GPU that is visible; raises DeviceError where there is none."""
        try:
            import pycuda.driver as driver

            driver.init()
            device = driver.Device(0)
            self.context: Any = device.retain_primary_context()
        except Exception as error:  # pycuda's own classes cannot be named where it cannot be imported
            raise no_gpu(error) from error
        self.driver = driver
        major, minor = device.compute_capability()
        version = driver.get_driver_version()
        self.card = Card(device.name(), f"{major}.{minor}", cuda_version(version))
        self.blocks: Dict[int, Any] = {}
        with self.current():
            self.queue: Any = driver.Stream()
        self.stream = int(self.queue.handle)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Push the context, and pop it whatever happens."""
        self.context.push()
        try:
            yield
        finally:
            self.context.pop()

    def page_locked(self, size: int) -> Any:
        """Give an array whose memory lives as long as the array does."""
        return self.driver.pagelocked_empty((size,), np.uint8)

    def allocate(self, size: int) -> int:
        """Give the address of new memory."""
        block = self.driver.mem_alloc(size)
        self.blocks[int(block)] = block
        return int(block)

    def to_device(self, address: int, array: Any) -> None:
        """Begin the copy in the stream."""
        self.driver.memcpy_htod_async(address, array, self.queue)

    def to_host(self, array: Any, address: int) -> None:
        """Begin the copy in the stream."""
        self.driver.memcpy_dtoh_async(array, address, self.queue)

    def wait(self) -> None:
        """Wait for the stream."""
        self.queue.synchronize()

    def free(self, address: int) -> None:
        """Free one block."""
        self.blocks.pop(address).free()

    def close(self) -> None:
        """Free the blocks, the stream and the hold on the context, in this order."""
        if self.context is None:
            return
        with self.current():
            for address in list(self.blocks):
                self.free(address)
            self.queue = None
        self.context.detach()
        self.context = None


class CudaPython(Cuda):
    """By way of NVIDIA's cuda-python; the runtime API keeps a context of its own for each thread."""

    def __init__(self) -> None:
        """Take the first GPU that is visible; raises DeviceError where there is none."""
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise no_gpu(error) from error
        self.runtime: Any = runtime
        self.blocks: List[int] = []
        self.locked: List[int] = []
        self.open = False
        try:
            self.ask("cudaSetDevice", 0)
            properties = self.ask("cudaGetDeviceProperties", 0)
            version = self.ask("cudaDriverGetVersion")
            self.stream = int(self.ask("cudaStreamCreate"))
        except CudaError as error:
            raise no_gpu(error) from error
        self.open = True
        name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
        self.card = Card(name.rstrip("\0"), f"{properties.major}.{properties.minor}", cuda_version(version))

    def ask(self, function: str, *arguments: Any) -> Any:
        """Call a function of CUDA and give what it returns beside its code; raises CudaError where that is not 0."""
        code, *values = getattr(self.runtime, function)(*arguments)
        if int(code) != 0:
            _, text = self.runtime.cudaGetErrorString(code)
            raise CudaError(f"{function}: {text.decode() if isinstance(text, bytes) else text} (code {int(code)})")
        return values[0] if values else None

    @contextmanager
    def current(self) -> Iterator[None]:
        """Choose the GPU for this thread, and the one before again afterwards."""
        before = self.ask("cudaGetDevice")
        self.ask("cudaSetDevice", 0)
        try:
            yield
        finally:
            self.ask("cudaSetDevice", before)

    def page_locked(self, size: int) -> Any:
        """Give an array over memory that ``close`` frees."""
        address = int(self.ask("cudaMallocHost", size))
        self.locked.append(address)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def allocate(self, size: int) -> int:
        """Give the address of new memory."""
        self.blocks.append(int(self.ask("cudaMalloc", size)))
        return self.blocks[-1]

    def to_device(self, address: int, array: Any) -> None:
        """Begin the copy in the stream."""
        kind = self.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.ask("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self.stream)

    def to_host(self, array: Any, address: int) -> None:
        """Begin the copy in the stream."""
        kind = self.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.ask("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self.stream)

    def wait(self) -> None:
        """Wait for the stream."""
        self.ask("cudaStreamSynchronize", self.stream)

    def free(self, address: int) -> None:
        """Free one block."""
        self.blocks.remove(address)
        self.ask("cudaFree", address)

    def close(self) -> None:
        """Free the blocks, the page-locked memory and the stream."""
        if not self.open:
            return
        self.open = False
        with self.current():
            for address in list(self.blocks):
                self.free(address)
            for address in self.locked:
                self.ask("cudaFreeHost", address)
            self.locked.clear()
            self.ask("cudaStreamDestroy", self.stream)


class CudaError(Exception):
    """A function of CUDA that returned another code than 0."""


def open_cuda(version: str) -> Cuda:
    """Open the GPU with what comes with a version of TensorRT; raises DeviceError where there is none."""
    return PyCuda() if int(version.split(".")[0]) < 10 else CudaPython()


def cuda_version(number: int) -> str:
    """Put CUDA's number of a version, such as 11060, into words, 11.6."""
    return f"{number // 1000}.{number % 1000 // 10}"


def no_gpu(error: BaseException) -> DeviceError:
    """Say that CUDA has no GPU for this process."""
    return DeviceError(
        f"CUDA has no GPU here: {brief(error)}",
        "an engine is built and run on a machine with an NVIDIA GPU, its driver and, for containers, the container "
        "toolkit; make doctor looks at them",
    )
