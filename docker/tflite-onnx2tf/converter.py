"""ONNX to TFLite by onnx2tf: to a SavedModel with channels last, proven, and from there as every way goes."""

from __future__ import annotations

import os

from onnxsource import reference
from way import Way, prepare

__all__ = ["PACKAGES", "convert", "load", "prepare", "reference"]

PACKAGES = ("onnx2tf", "tensorflow-cpu", "tf-keras", "onnx", "onnxruntime", "tflite-support")

WAY = Way(name="onnx2tf", other="onnx-tf", function="onnxtwo:to_saved_model", layout="NHWC")

convert, load = WAY.convert, WAY.load

# onnx2tf walks over sets, whose order would differ from process to process: for the processes started here.
os.environ["PYTHONHASHSEED"] = "0"
