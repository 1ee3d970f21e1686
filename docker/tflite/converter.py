"""ONNX to TFLite by onnx-tf: to a SavedModel, held against ONNX Runtime, and from there to the file."""

from __future__ import annotations

from onnxsource import reference
from way import Way, prepare

__all__ = ["PACKAGES", "convert", "load", "prepare", "reference"]

PACKAGES = ("tensorflow-cpu", "onnx", "onnx-tf", "onnxruntime", "tflite-support")

# onnx-tf never turns the axes of inputs and outputs.
WAY = Way(name="onnx-tf", other="onnx2tf", function="savedmodel:to_saved_model", layout="NCHW")

convert, load = WAY.convert, WAY.load
