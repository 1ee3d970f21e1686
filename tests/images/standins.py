"""Stand-ins for what cannot be had where tests run: a release of TensorRT 8.2, and the sources of onnx-tensorrt.

They have the layout, the options and the targets of the real ones, so that the stages which place and compile them run
as they would; what comes out converts nothing.
"""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

VERSION_HEADER = """\
#define NV_TENSORRT_MAJOR {0} //!< TensorRT major version.
#define NV_TENSORRT_MINOR {1} //!< TensorRT minor version.
#define NV_TENSORRT_PATCH {2} //!< TensorRT patch version.
#define NV_TENSORRT_BUILD 2 //!< TensorRT build number.
"""
HEADER = '#include "NvInferVersion.h"\nextern "C" int getInferLibVersion();\n'


CMAKE = """\
cmake_minimum_required(VERSION 3.13)
project(onnx2trt LANGUAGES CXX C)
set(CMAKE_CXX_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT TARGET protobuf::libprotobuf)
  find_package(Protobuf REQUIRED)
endif()
add_subdirectory(third_party/onnx EXCLUDE_FROM_ALL)
find_path(TENSORRT_INCLUDE_DIR NvInfer.h HINTS ${TENSORRT_ROOT} PATH_SUFFIXES include)
find_library(TENSORRT_LIBRARY_INFER nvinfer HINTS ${TENSORRT_ROOT} PATH_SUFFIXES lib lib64 lib/x64)
if(NOT TENSORRT_LIBRARY_INFER)
  message(FATAL_ERROR "no nvinfer below ${TENSORRT_ROOT}")
endif()
add_library(nvonnxparser SHARED NvOnnxParser.cpp)
target_include_directories(nvonnxparser PUBLIC ${TENSORRT_INCLUDE_DIR})
target_link_libraries(nvonnxparser PUBLIC onnx_proto ${TENSORRT_LIBRARY_INFER})
set_target_properties(nvonnxparser PROPERTIES VERSION 8.2.1 SOVERSION 8)
add_library(nvonnxparser_static STATIC NvOnnxParser.cpp)
target_include_directories(nvonnxparser_static PUBLIC ${TENSORRT_INCLUDE_DIR})
target_link_libraries(nvonnxparser_static PUBLIC onnx_proto ${TENSORRT_LIBRARY_INFER})
if(NOT DEFINED BUILD_LIBRARY_ONLY)
  add_executable(onnx2trt main.cpp)
  target_link_libraries(onnx2trt PUBLIC nvonnxparser)
  install(TARGETS onnx2trt RUNTIME DESTINATION bin)
endif()
install(TARGETS nvonnxparser nvonnxparser_static LIBRARY DESTINATION lib ARCHIVE DESTINATION lib)
install(FILES NvOnnxParser.h DESTINATION include)
"""
ONNX_CMAKE = """\
find_package(Protobuf REQUIRED)
protobuf_generate_cpp(SOURCES HEADERS onnx.proto)
add_library(onnx_proto STATIC ${SOURCES} ${HEADERS})
target_include_directories(onnx_proto PUBLIC ${CMAKE_CURRENT_BINARY_DIR} ${Protobuf_INCLUDE_DIRS})
target_link_libraries(onnx_proto PUBLIC protobuf::libprotobuf)
"""
PROTO = 'syntax = "proto2";\npackage onnx;\nmessage ModelProto { optional int64 ir_version = 1; }\n'
PARSER = """\
#include "NvInfer.h"
#include "onnx.pb.h"
int parse(long version) { onnx::ModelProto model; model.set_ir_version(version); return model.ByteSizeLong(); }
"""
MAIN = """\
#include "NvInfer.h"
#include <cstdio>
int parse(long version);
int main() { std::printf("TensorRT %d, parsed %d\\n", getInferLibVersion(), parse(7)); return 0; }
"""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def make_release(folder: Path, version: str = "8.2.4", tags: tuple[str, ...] = ("cp38", "cp39", "cp311")) -> Path:
    """Make an unpacked archive of TensorRT: headers, a library to link to, wheels of bindings, samples nobody needs."""
    write(folder, **{"include/NvInferVersion.h": VERSION_HEADER.format(*version.split(".")),
                     "include/NvInfer.h": HEADER,
                     "samples/sampleMNIST/main.cpp": "// not needed\n"})
    lib = folder / "targets" / "x86_64-linux-gnu" / "lib"
    lib.mkdir(parents=True)
    (folder / "lib").symlink_to("targets/x86_64-linux-gnu/lib")
    # Old machine code for an old base: without the newest symbols of this machine's C++ library.
    subprocess.run(["gcc", "-x", "c", "-shared", "-fPIC", "-nostdlib", f"-I{folder}/include",
                    "-Wl,-soname,libnvinfer.so.8", "-o", lib / "libnvinfer.so.8", "-"], check=True, text=True,
                   input='#include "NvInferVersion.h"\nint getInferLibVersion() '
                         "{ return NV_TENSORRT_MAJOR * 1000 + NV_TENSORRT_MINOR * 100; }\n")
    (lib / "libnvinfer.so").symlink_to("libnvinfer.so.8")
    (folder / "python").mkdir()
    for tag in tags:
        with zipfile.ZipFile(folder / "python" / f"tensorrt-{version}.2-{tag}-none-linux_x86_64.whl", "w") as wheel:
            wheel.writestr("tensorrt/__init__.py", f'__version__ = "{version}.2"\n')
            wheel.writestr(f"tensorrt-{version}.2.dist-info/METADATA",
                           f"Metadata-Version: 2.1\nName: tensorrt\nVersion: {version}.2\n")
    return folder


def make_sources(folder: Path) -> Path:
    """Make a checkout of onnx-tensorrt with its submodule."""
    write(folder, **{"CMakeLists.txt": CMAKE, "NvOnnxParser.cpp": PARSER, "NvOnnxParser.h": "// the parser\n",
                     "main.cpp": MAIN, "LICENSE": "Apache-2.0\n", "third_party/onnx/CMakeLists.txt": ONNX_CMAKE,
                     "third_party/onnx/onnx.proto": PROTO})
    return folder


PYCUDA = """\
class Error(Exception):
    pass


def init():
    raise Error("cuInit failed: no CUDA-capable device is detected")
"""


def make_pycuda(folder: Path, version: str = "2024.1.2") -> Path:
    """Make a wheel of pycuda, which has to be compiled against CUDA: this one finds no GPU anywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"pycuda-{version}-py3-none-any.whl"
    place = f"pycuda-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pycuda/__init__.py", "")
        archive.writestr("pycuda/driver.py", PYCUDA)
        archive.writestr(f"{place}/METADATA", f"Metadata-Version: 2.1\nName: pycuda\nVersion: {version}\n")
        archive.writestr(f"{place}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{place}/RECORD", f"pycuda/__init__.py,,\npycuda/driver.py,,\n{place}/METADATA,,\n"
                                            f"{place}/WHEEL,,\n{place}/RECORD,,\n")
    return wheel
