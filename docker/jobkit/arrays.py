"""Arrays by sample and name in .npz files: read lazily, written one at a time."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple, Type

import numpy as np

from jobkit.errors import JobError


class Samples:
    """The prepared input tensors of each sample, read from the file when asked for.

    The file holds the arrays under ``<sample index>/<input name>``.
    """

    def __init__(self, path: Path, names: Tuple[str, ...], inputs: Tuple[str, ...]) -> None:
        """Remember where the arrays lie; nothing is opened yet."""
        self._archive: Any = None
        self.path = path
        self.names = names
        self.inputs = inputs

    @classmethod
    def counted(cls, path: Path, inputs: Tuple[str, ...]) -> Samples:
        """Give the samples of a file that tells their number only by its keys.

        Raises JobError where the file is unreadable or holds none.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                numbers = {name.partition("/")[0] for name in archive.namelist()}
        except (OSError, zipfile.BadZipFile) as error:
            raise JobError(f"cannot read {path}: {error}", "run the job again: the farm prepares it anew") from None
        if not numbers:
            raise JobError(f"{path} holds no arrays", "run the job again: the farm prepares it anew")
        return cls(path, tuple(str(index) for index in range(len(numbers))), inputs)

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.names)

    def __getitem__(self, index: int) -> Dict[str, np.ndarray[Any, Any]]:
        """Read the tensors of sample `index`, by input name.

        Raises JobError where the file is unreadable or lacks one of them.
        """
        if not 0 <= index < len(self.names):
            raise IndexError(index)
        try:
            # Opened once: reading the directory of hundreds of arrays takes longer than an array.
            self._archive = self._archive or np.load(self.path, allow_pickle=False)
            return {name: self._archive[f"{index}/{name}"] for name in self.inputs}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise JobError(
                f"cannot read sample {index} ({self.names[index]}) from {self.path}: {error}",
                "run the job again: the farm prepares the samples anew",
            ) from None

    def __iter__(self) -> Iterator[Dict[str, np.ndarray[Any, Any]]]:
        """Read one sample after the other."""
        for index in range(len(self)):
            yield self[index]


class ArrayWriter:
    """Write arrays into an uncompressed .npz as they come; the file appears only when all are in it."""

    def __init__(self, path: Path) -> None:
        """Begin a file that will be `path`."""
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self.archive = zipfile.ZipFile(self.partial, "w", zipfile.ZIP_STORED, allowZip64=True)

    def add(self, index: int, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Add the arrays of sample `index` under ``<index>/<name>``."""
        for name, array in arrays.items():
            with self.archive.open(f"{index}/{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)

    def __enter__(self) -> ArrayWriter:
        """Give the writer itself."""
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        """Publish the file, or remove what there is of it after an error."""
        self.archive.close()
        if kind is None:
            self.partial.replace(self.path)
        else:
            self.partial.unlink()
