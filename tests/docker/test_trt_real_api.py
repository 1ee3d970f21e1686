"""What can be seen of the real TensorRT and CUDA packages without a GPU: their names, and what they say of its absence.

The runtime-only package of TensorRT 10 has 46 MB and the same runtime API as the whole; that of 8.6 cannot be imported
without its libraries, but the names of its API, which is that of 8.2 and more, stand in the module's file.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from trttoys import TRT, memory

from modelfarm import gpu
from modelfarm.settings import from_environment

PACKAGES = ["tensorrt-lean-cu12-libs==10.16.1.11", "tensorrt-lean-cu12-bindings==10.16.1.11", "cuda-bindings==12.9.7",
            "cuda-pathfinder==1.3.2", "numpy==2.4.6"]
OLD = "tensorrt-lean-bindings==8.6.1"

# What docker/trt/bindings.py and runtime.py use of each class.
NAMED = {
    "ICudaEngine": ["num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_shape", "get_tensor_dtype",
                    "get_tensor_profile_shape", "create_execution_context", "num_optimization_profiles"],
    "IExecutionContext": ["set_input_shape", "get_tensor_shape", "set_tensor_address", "execute_async_v3"],
    "Runtime": ["deserialize_cuda_engine"],
    "TensorIOMode": ["INPUT", "OUTPUT"],
    "ILogger": ["ERROR", "WARNING"],
}
NUMBERED = ["num_bindings", "get_binding_name", "binding_is_input", "get_binding_shape", "get_binding_dtype",
            "get_profile_shape", "num_optimization_profiles", "create_execution_context", "set_binding_shape",
            "execute_async_v2", "deserialize_cuda_engine", "stream_handle"]
CUDA = ["cudaSetDevice", "cudaGetDevice", "cudaGetDeviceProperties", "cudaDriverGetVersion", "cudaStreamCreate",
        "cudaStreamSynchronize", "cudaStreamDestroy", "cudaMallocHost", "cudaFreeHost", "cudaMalloc", "cudaFree",
        "cudaMemcpyAsync", "cudaGetErrorString"]

without_gpu = pytest.mark.skipif(bool(gpu.devices()), reason="this machine has a GPU")


def pip(*words: object) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, words)],
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the packages cannot be had: {done.stderr.strip().splitlines()[-1:]}")


@pytest.fixture(scope="session")
def python() -> Path:
    """Return an interpreter with TensorRT's runtime and CUDA's bindings, installed once."""
    place = from_environment().environments / "test-tensorrt-lean-10.16.1"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f"{place.name}.partial")
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", partial], check=True)
        pip("--python", partial / "bin" / "python", "install", "-q", "--no-deps", *PACKAGES)
        partial.rename(place)
    return place / "bin" / "python"


def ask(python: Path, code: str, *arguments: object) -> Any:
    path = f"{TRT.parent}:{TRT}"
    done = subprocess.run([python, "-c", code, *map(str, arguments)], capture_output=True, text=True,
                          env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def test_tensorrt_10_has_every_name_that_the_runtime_uses(python: Path) -> None:
    missing = ask(python, "import json, sys, tensorrt_lean_bindings as trt\n"
                          "wanted = json.loads(sys.argv[1])\n"
                          "print(json.dumps([[kind, name] for kind, names in wanted.items() for name in names\n"
                          "                  if not hasattr(getattr(trt, kind), name)]))", json.dumps(NAMED))
    assert missing == []


def test_tensorrt_8_has_every_name_that_the_runtime_uses(tmp_path: Path) -> None:
    pip("download", "-q", "--no-deps", "--only-binary", ":all:", "--python-version", "3.9", "-d", tmp_path, OLD)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (module,) = [name for name in archive.namelist() if name.endswith(".so")]
        content = archive.read(module)
    assert [name for name in NUMBERED if f"\0{name}\0".encode() not in content] == []


def test_types_have_the_names_by_which_they_are_translated(python: Path) -> None:
    code = ("import json, numpy, tensorrt_lean_bindings as trt\nfrom bindings import numpy_type\n"
            "from jobkit import GraphError\n"
            "names = ['float32', 'float16', 'int32', 'int8']\n"
            "found = {name: str(numpy_type(trt, getattr(trt, name))) for name in names}\n"
            "try: numpy_type(trt, trt.fp8)\nexcept GraphError as error: found['fp8'] = error.message\n"
            "print(json.dumps(found))")
    found = ask(python, code)
    assert found.pop("fp8").startswith("numpy has no type")
    assert found == {name: name for name in found} and len(found) == 4


def test_a_logger_of_ours_is_one_of_theirs(python: Path) -> None:
    code = ("import json, tensorrt_lean_bindings as trt\nfrom trtlog import make_log\nlog = make_log(trt)\n"
            "log.log(trt.ILogger.ERROR, 'one  two')\nlog.log(trt.ILogger.INFO, 'nothing')\n"
            "print(json.dumps([isinstance(log, trt.ILogger), log.errors, log.last]))")
    assert ask(python, code) == [True, ["one two"], "one two"]


def test_cuda_has_every_function_that_memory_uses(python: Path) -> None:
    missing = ask(python, "import json, sys\nfrom cuda.bindings import runtime\n"
                          "print(json.dumps([name for name in json.loads(sys.argv[1]) if not hasattr(runtime, name)]\n"
                          " + [name for name in ('cudaMemcpyHostToDevice', 'cudaMemcpyDeviceToHost')\n"
                          "    if not hasattr(runtime.cudaMemcpyKind, name)]))", json.dumps(CUDA))
    assert missing == []


@without_gpu
def test_cuda_without_a_gpu_is_told_in_its_own_words(python: Path) -> None:
    said = ask(python, "import json\nfrom jobkit import DeviceError\nfrom memory import open_cuda\n"
                       "try: open_cuda('10.16.1.11')\n"
                       "except DeviceError as error: print(json.dumps([error.message, error.remedy]))")
    assert said[0].startswith("CUDA has no GPU here: cudaSetDevice: ")
    assert "make doctor" in said[1]


@without_gpu
def test_an_engine_is_refused_without_a_gpu_instead_of_a_crash(python: Path, tmp_path: Path) -> None:
    """TensorRT 10 hands out a runtime that is none, and the process dies of signal 11 at the first use of it."""
    code = ("import json, sys, tensorrt_lean_bindings as trt\nfrom pathlib import Path\n"
            "from jobkit import DeviceError\nfrom runtime import TrtModel\n"
            "try: TrtModel(Path(sys.argv[1]), trt=trt)\n"
            "except DeviceError as error: print(json.dumps(error.message))")
    (tmp_path / "model.engine").write_bytes(b"ftrt" * 100)
    assert ask(python, code, tmp_path / "model.engine").startswith("CUDA has no GPU here")


@without_gpu
def test_pycuda_that_is_missing_or_finds_nothing_is_no_gpu_either() -> None:
    with pytest.raises(memory.DeviceError, match="CUDA has no GPU here"):
        memory.open_cuda("8.2.4.2")


@pytest.mark.parametrize(("number", "version"), [(11060, "11.6"), (12020, "12.2"), (10020, "10.2"), (13000, "13.0")])
def test_cudas_number_of_a_version_becomes_words(number: int, version: str) -> None:
    assert memory.cuda_version(number) == version
