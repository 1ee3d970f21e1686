"""ONNX to TensorRT 8.2, by the Python builder and the ONNX parser of onnx-tensorrt."""

from onnxway import convert, load, prepare, reference

__all__ = ["PACKAGES", "convert", "load", "prepare", "reference"]

PACKAGES = ("tensorrt", "pycuda", "onnx")
