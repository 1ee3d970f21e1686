"""ONNX to TensorRT 10, by the same Python code as 8.2: what differs is in trtapi.py, bindings.py and memory.py."""

from onnxway import convert, load, prepare, reference

__all__ = ["PACKAGES", "convert", "load", "prepare", "reference"]

PACKAGES = ("tensorrt-cu12-bindings", "tensorrt-cu12-libs", "cuda-bindings", "onnx")
