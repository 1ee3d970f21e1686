"""What a file begins with: whether it is TFLite at all, and what it is otherwise."""

from __future__ import annotations

from pathlib import Path

from jobkit import SourceError

# The file identifier of flatbuffers stands behind the offset of the root.
IDENTIFIER, PLACE = b"TFL3", slice(4, 8)

OTHERS = {
    b"version https://git-lfs": "a pointer of Git LFS: git lfs pull fetches the file itself",
    b"<": "a page of the web, probably that of an error: the download went wrong",
    b"\x89HDF\r\n": "an HDF5 file of Keras: convert it with TensorFlow's TFLiteConverter first",
    b"PK\x03\x04": "a zip archive: unpack it, or give it its right name",
    b"\x1f\x8b": "compressed with gzip: unpack it",
    b"\x08": "probably an ONNX file: name it as source: {onnx: ...}",
}

LEAST = 64  # bytes; an empty model is larger


def check_identifier(path: Path) -> None:
    """Raise SourceError unless the file at `path` begins as a TFLite file does."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(LEAST)
    if head[PLACE] == IDENTIFIER and size >= LEAST:
        return
    what = next((words for start, words in OTHERS.items() if head.startswith(start)), "")
    if head[PLACE] == IDENTIFIER or size < LEAST:
        what = f"truncated: it has {size} bytes"
    elif head[PLACE].isalnum():
        what = what or f"a flatbuffer of another kind, {head[PLACE].decode()!r}"
    raise SourceError(
        f"{path.name} is no TFLite file: it is {what}" if what else f"{path.name} is no TFLite file",
        "name a .tflite file, whole and as it was published",
    )
