"""The metadata of a .tflite file, as tflite-support writes and reads it. Runs in the toolchain's own process.

https://ai.google.dev/edge/litert/models/metadata: a flatbuffer of its own inside the file, and behind the file a zip
with the files that it names. tflite-support as a whole loads its task library, which wants the protobuf of its time;
the part for metadata is imported alone.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import flatbuffers
import numpy as np
from flatfile import read_model, text, write_model
from interpreter import Fed
from jobkit import Input
from support import MetadataDisplayer, MetadataPopulator, schema, versions
from words import LABELS, OWN, ModelWords, TensorWords

# Equal jobs give equal bytes: no time of day in the zip.
LONG_AGO = (1980, 1, 1, 0, 0, 0)

COLORS = {"RGB": schema.ColorSpaceType.RGB, "GRAYSCALE": schema.ColorSpaceType.GRAYSCALE,
          "": schema.ColorSpaceType.UNKNOWN}  # fmt: skip


def attach(path: str, words: ModelWords) -> None:
    """Write `words` into the file at `path`."""
    file = Path(path)
    model = read_model(file)
    # With the schema of the installed TensorFlow: tflite-support's own is older than some files.
    entry, buffer = _entry(model)
    buffer.data = np.frombuffer(_packed(words), np.uint8)
    model.buffers.append(buffer)
    entry.name, entry.buffer = MetadataPopulator.METADATA_FIELD_NAME, len(model.buffers) - 1
    model.metadata = [*(model.metadata or ()), entry]
    write_model(model, file)
    if words.labels:
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(zipfile.ZipInfo(LABELS, LONG_AGO), "".join(f"{label}\n" for label in words.labels))


def _entry(model: Any) -> Tuple[Any, Any]:
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated.MetadataT(), schema_py_generated.BufferT()


def _packed(words: ModelWords) -> bytes:
    model = schema.ModelMetadataT()
    model.name, model.description = words.name, words.description
    graph, own = schema.SubGraphMetadataT(), schema.CustomMetadataT()
    graph.inputTensorMetadata = [_input(tensor) for tensor in words.inputs]
    graph.outputTensorMetadata = [_output(tensor) for tensor in words.outputs]
    own.name, own.data = OWN, list(words.own.encode())
    graph.customMetadata = [own]
    model.subgraphMetadata = [graph]
    model.minParserVersion = versions.GetMinimumMetadataParserVersion(_bytes(model))
    return _bytes(model)


def _bytes(model: Any) -> bytes:
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), MetadataPopulator.METADATA_FILE_IDENTIFIER)
    return bytes(builder.Output())


def _named(words: TensorWords) -> Any:
    tensor = schema.TensorMetadataT()
    tensor.name, tensor.description = words.name, words.description
    return tensor


def _input(words: TensorWords) -> Any:
    tensor = _named(words)
    if words.size:
        tensor.content = schema.ContentT()
        tensor.content.contentPropertiesType = schema.ContentProperties.ImageProperties
        image = tensor.content.contentProperties = schema.ImagePropertiesT()
        image.colorSpace, image.defaultSize = COLORS[words.color], schema.ImageSizeT()
        image.defaultSize.width, image.defaultSize.height = words.size
    if words.std:
        unit, tensor.stats = schema.ProcessUnitT(), schema.StatsT()
        unit.optionsType = schema.ProcessUnitOptions.NormalizationOptions
        unit.options = schema.NormalizationOptionsT()
        unit.options.mean, unit.options.std = list(words.mean), list(words.std)
        tensor.processUnits = [unit]
        tensor.stats.min, tensor.stats.max = list(words.minimum), list(words.maximum)
    return tensor


def _output(words: TensorWords) -> Any:
    tensor = _named(words)
    tensor.content = schema.ContentT()
    tensor.content.contentPropertiesType = schema.ContentProperties.FeatureProperties
    tensor.content.contentProperties = schema.FeaturePropertiesT()
    if words.labels:
        file = schema.AssociatedFileT()
        file.name, file.description = LABELS, "one label per line, in the order of the scores"
        file.type = schema.AssociatedFileType.TENSOR_AXIS_LABELS
        tensor.associatedFiles = [file]
    return tensor


def read(path: str) -> Optional[ModelWords]:
    """Read what the file at `path` says of itself, with tflite-support's own reader; None where it says nothing."""
    entries = read_model(Path(path)).metadata or ()
    if not any(text(entry.name) == MetadataPopulator.METADATA_FIELD_NAME for entry in entries):
        return None
    shown = MetadataDisplayer.with_model_file(path)
    root = schema.ModelMetadata.GetRootAsModelMetadata(shown.get_metadata_buffer(), 0)
    model = schema.ModelMetadataT.InitFromObj(root)
    (graph,) = model.subgraphMetadata
    files = shown.get_packed_associated_file_list()
    labels = shown.get_associated_file_buffer(LABELS).decode() if LABELS in files else ""
    own = next((entry for entry in graph.customMetadata or () if text(entry.name) == OWN), None)
    return ModelWords(
        name=text(model.name),
        description=text(model.description or ""),
        inputs=tuple(map(_words, graph.inputTensorMetadata)),
        outputs=tuple(map(_words, graph.outputTensorMetadata)),
        labels=tuple(labels.splitlines()),
        own=bytes(bytearray(own.data)).decode() if own is not None else "",
    )


def _words(tensor: Any) -> TensorWords:
    said: Dict[str, Any] = {"name": text(tensor.name), "description": text(tensor.description or "")}
    image = tensor.content.contentProperties if tensor.content else None
    if isinstance(image, schema.ImagePropertiesT):
        said["color"] = next(name for name, value in COLORS.items() if value == image.colorSpace)
        said["size"] = (image.defaultSize.width, image.defaultSize.height)
    for unit in tensor.processUnits or ():
        said["mean"], said["std"] = _floats(unit.options.mean), _floats(unit.options.std)
    if tensor.stats:
        said["minimum"], said["maximum"] = _floats(tensor.stats.min), _floats(tensor.stats.max)
    said["labels"] = any(text(file.name) == LABELS for file in tensor.associatedFiles or ())
    return TensorWords(**said)


def _floats(values: Any) -> Tuple[float, ...]:
    return tuple(float(value) for value in values)


def outputs_of(path: str) -> List[str]:
    """Give the names of the outputs, in the order of the file."""
    graph = read_model(Path(path)).subgraphs[0]
    return [text(graph.tensors[number].name) for number in graph.outputs]


def same(plain: str, path: str, inputs: Sequence[Input], usual: str, sample: Any, threads: int) -> bool:
    """Say whether two files give equal bits on a sample in the plain interpreter."""
    one, other = (Fed(file, inputs, usual, threads).run(sample) for file in (plain, path))
    return one.keys() == other.keys() and all(one[key].tobytes() == other[key].tobytes() for key in one)
