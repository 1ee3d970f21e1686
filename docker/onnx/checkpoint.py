"""Weights out of a checkpoint file, as tensors by dotted name, without running anything that the file holds.

First ``torch.load(weights_only=True)``; where that refuses, as it does for pickled models of the YOLOv5 family, the
file is read as data (see pickles.py) and the tensors are taken out of the tree of modules that it describes.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from jobkit import CheckpointError
from pickles import Pickle, read_pickle
from records import SAFER, Standin, StorageRecord, TensorRecord

# Under which keys training scripts keep the weights, the averaged ones first, as YOLOv5 itself prefers them.
NESTINGS = ("ema", "model", "state_dict", "model_state_dict", "module", "params_ema", "params", "net", "weights")

DTYPES = {
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.BoolStorage": torch.bool,
    "torch.ByteStorage": torch.uint8,
    "torch.CharStorage": torch.int8,
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.IntStorage": torch.int32,
    "torch.LongStorage": torch.int64,
    "torch.ShortStorage": torch.int16,
}

# torch/serialization.py: the first pickle of a file in the format before zip.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

FETCH = "fetch the file anew and compare its size and digest with its source's"
MOST_MODULES = 100_000
DEEPEST = 100


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, in the file's own types, and how they were found: `nesting` is the path of keys to them."""

    state: dict[str, torch.Tensor]
    nesting: str
    reader: str


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the weights in `path`, onto the CPU.

    Raises CheckpointError where the file is no checkpoint, is damaged, holds no weights, or tries to run something.
    """
    _recognise(path)
    try:
        document: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        # Whatever torch made of it, the inert reader says better what is wrong, or reads it after all.
        return _read_as_data(path)
    state, nesting = _find_state(document)
    return Checkpoint(state=cast("dict[str, torch.Tensor]", state), nesting=nesting, reader="torch, weights only")


def _read_as_data(path: Path) -> Checkpoint:
    zipped = zipfile.is_zipfile(path)
    with path.open("rb") as stream:
        archive = ZipArchive(stream) if zipped else LegacyArchive(stream)
        records, nesting = _find_state(archive.document.value)
        state = {name: _view(record, archive) for name, record in records.items()}
    return Checkpoint(state=state, nesting=nesting, reader="as data, nothing run")


_OTHER_FILES = (
    (b"version https://git-lfs", "is a pointer of git-lfs, not the file itself", "run git lfs pull"),
    (b"<", "is a web page, not a checkpoint: the download went wrong", "download it again, by its direct address"),
    (b"{", "is JSON, not a checkpoint", "name the file that holds the weights"),
    (b"\x89HDF", "is an HDF5 file (Keras?), not a checkpoint of PyTorch", "convert it to a PyTorch state dict first"),
    (b"GGUF", "is a GGUF file, not a checkpoint of PyTorch", "convert it to a PyTorch state dict first"),
    (b"\x1f\x8b", "is compressed with gzip", "unpack it first"),
    (b"\x08", "looks like an ONNX file, not a checkpoint", "give it as source.onnx.file in the recipe"),
)


def _recognise(path: Path) -> None:
    """Refuse what is no checkpoint, saying what it is."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if not head:
        raise CheckpointError(f"{path.name} is empty", FETCH)
    size = path.stat().st_size
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        raise CheckpointError(
            f"{path.name} is a safetensors file, which holds no PyTorch checkpoint",
            "convert it: torch.save(safetensors.torch.load_file(path), 'weights.pt')",
        )
    for magic, what, remedy in _OTHER_FILES:
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(magic):
            raise CheckpointError(f"{path.name} {what}", remedy)
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path.name} is truncated: after {size:,} bytes its table of contents is missing", FETCH)
    if not head.startswith((b"PK", b"\x80")):
        raise CheckpointError(f"{path.name} is no checkpoint of PyTorch: it begins with {head[:12]!r}", FETCH)


class ZipArchive:
    """The format of torch since 1.6: a zip file with data.pkl and one entry for each storage."""

    def __init__(self, stream: BinaryIO) -> None:
        """Read the description; the storages are read when asked for."""
        self.archive = zipfile.ZipFile(stream)
        names = self.archive.namelist()
        pickled = next((name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")), None)
        if pickled is None:
            raise CheckpointError("the file is a zip archive, but not one of torch: it has no data.pkl", FETCH)
        self.prefix = pickled[: -len("data.pkl")]
        if self.prefix + "constants.pkl" in names:
            raise CheckpointError("the file is a TorchScript program, not a checkpoint", SAFER)
        self.read_tensors: dict[str, torch.Tensor] = {}
        if self.prefix + "byteorder" in names and self._read("byteorder") != b"little":
            raise CheckpointError("the file was saved on a big-endian machine", SAFER)
        with self.archive.open(pickled) as description:
            self.document = read_pickle(cast(BinaryIO, description))

    def storage(self, record: StorageRecord) -> torch.Tensor:
        """Give the numbers of a storage."""
        if record.key not in self.read_tensors:
            self.read_tensors[record.key] = _numbers(record, self._read(f"data/{record.key}"))
        return self.read_tensors[record.key]

    def _read(self, name: str) -> bytes:
        try:
            return self.archive.read(self.prefix + name)
        except (KeyError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            raise CheckpointError(f"the file is damaged: {name} cannot be read from it ({error})", FETCH) from None


class LegacyArchive:
    """The format of torch before 1.6: five pickles, then the storages in the order of their keys."""

    def __init__(self, stream: BinaryIO) -> None:
        """Read everything."""
        if read_pickle(stream).value != LEGACY_MAGIC:
            raise CheckpointError("the file is a pickle, but not one of torch", SAFER)
        read_pickle(stream)
        system = read_pickle(stream).value
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise CheckpointError("the file was saved on a big-endian machine", SAFER)
        self.document: Pickle = read_pickle(stream)
        keys = read_pickle(stream).value
        if not isinstance(keys, list) or not set(keys) <= set(self.document.storages):
            raise CheckpointError("the file is damaged: its storages are not those it describes", FETCH)
        self.read_tensors = {key: _read_legacy(self.document.storages[key], stream) for key in keys}

    def storage(self, record: StorageRecord) -> torch.Tensor:
        """Give the numbers of a storage."""
        if record.key not in self.read_tensors:
            raise CheckpointError(f"the file is damaged: the storage {record.key} is not in it", FETCH)
        return self.read_tensors[record.key]


def _read_legacy(record: StorageRecord, stream: BinaryIO) -> torch.Tensor:
    count = int.from_bytes(stream.read(8), "little")
    if count != record.count:
        raise CheckpointError(f"the file is damaged or truncated at the storage {record.key}", FETCH)
    return _numbers(record, stream.read(count * _dtype(record).itemsize))


def _dtype(record: StorageRecord) -> torch.dtype:
    if record.kind not in DTYPES:
        raise CheckpointError(f"the checkpoint holds numbers of the type {record.kind}, which is not supported", SAFER)
    return DTYPES[record.kind]


def _numbers(record: StorageRecord, content: bytes) -> torch.Tensor:
    dtype = _dtype(record)
    if len(content) != record.count * dtype.itemsize:
        raise CheckpointError(
            f"the file is damaged or truncated: the storage {record.key} has {len(content):,} bytes "
            f"instead of {record.count * dtype.itemsize:,}",
            FETCH,
        )
    return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)


def _view(record: Any, archive: ZipArchive | LegacyArchive) -> torch.Tensor:
    numbers = archive.storage(record.storage)
    if math.prod(record.shape) == 0:
        return numbers.new_empty(record.shape)
    return torch.as_strided(numbers, record.shape, record.stride, record.offset)


def _find_state(document: Any) -> tuple[dict[str, Any], str]:
    """Find the weights in what a file holds, and the path of keys that leads to them."""
    path: list[str] = []
    while True:
        if _is_module(document):
            state = dict(_module_state(document))
        else:
            items = _items(document)
            key = next((key for key in NESTINGS if _items(items.get(key)) or _is_module(items.get(key))), None)
            if key is not None and len(path) < len(NESTINGS):
                document = items[key]
                path.append(key)
                continue
            state = {name: value for name, value in items.items() if isinstance(name, str) and _is_tensor(value)}
        if not state:
            raise CheckpointError(f"there are no weights in the file: it holds {_summary(document)}", SAFER)
        return state, ".".join(path)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, TensorRecord))


def _items(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, Standin):
        return value.items
    return value if isinstance(value, Mapping) else {}


def _attributes(value: Any) -> dict[Any, Any]:
    state = value.state if isinstance(value, Standin) else None
    # A class with slots pickles its state as a pair.
    state = state[0] if isinstance(state, tuple) and state else state
    return state if isinstance(state, dict) else {}


def _is_module(value: Any) -> bool:
    return "_modules" in _attributes(value) and "_parameters" in _attributes(value)


def _module_state(module: Standin) -> Iterator[tuple[str, TensorRecord]]:
    """Yield the tensors of a described torch.nn.Module by the names that its state_dict() would give them."""
    waiting: list[tuple[str, Any, int]] = [("", module, 0)]
    seen = 0
    while waiting:
        prefix, part, depth = waiting.pop()
        seen += 1
        if seen > MOST_MODULES or depth > DEEPEST:
            raise CheckpointError("the model in the file contains itself or is endless", SAFER)
        attributes = _attributes(part)
        passing = attributes.get("_non_persistent_buffers_set") or ()
        tensors = {**_items(attributes.get("_parameters")), **_items(attributes.get("_buffers"))}
        for name, value in tensors.items():
            if value is not None and name not in passing:
                yield f"{prefix}{name}", _readable(f"{prefix}{name}", value)
        children = list(_items(attributes.get("_modules")).items())
        waiting.extend((f"{prefix}{name}.", child, depth + 1) for name, child in reversed(children))


def _readable(name: str, value: Any) -> TensorRecord:
    if isinstance(value, TensorRecord):
        return value
    kind = value.kind if isinstance(value, Standin) else type(value).__name__
    raise CheckpointError(f"the weight {name} is a {kind}, not a plain tensor", SAFER)


def _summary(document: Any) -> str:
    if isinstance(document, Standin):
        return f"a {document.kind}"
    keys = [str(key) for key in _items(document)]
    return f"the keys {', '.join(keys[:10])}" if keys else f"a {type(document).__name__}"
