"""The ONNX file that every way to TFLite starts from, and what it gives in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from jobkit import Device, FileSource, Job, Runtime, SourceError, Tensor


def source_file(job: Job) -> Path:
    """Give the ONNX file. Raises SourceError for another kind of source."""
    if not isinstance(job.source, FileSource) or job.source.kind != "onnx":
        raise SourceError("the tflite target reads an ONNX file only", "the farm makes it with its onnx target")
    return job.source.file


def reference(job: Job) -> Runtime:
    """Give the ONNX file in ONNX Runtime: in the farm the reference comes from the source of the model instead."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(source_file(job)), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    inputs = tuple(Tensor(item.name, item.shape, item.dtype) for item in job.inputs)
    device = Device("cpu", "cpu", f"ONNX Runtime {onnxruntime.__version__}")
    return Runtime(lambda arrays: dict(zip(names, session.run(names, arrays), strict=True)), inputs, (), device)
