"""The calibrator of int8: it shows TensorRT the calibration set, and keeps what was measured as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np
from jobkit import JobError

NAME = "calibration.cache"

# Copies an array to the GPU and gives its address there, which stays good until the next call for that input.
Upload = Callable[[str, "np.ndarray[Any, Any]"], int]


class Feed:
    """The calibration set, one batch after the other, as addresses on the GPU."""

    def __init__(self, samples: Sequence[Dict[str, Any]], upload: Upload) -> None:
        """Remember the samples; nothing is read or copied yet. Raises JobError where there are none."""
        if not len(samples):
            raise JobError("there are no calibration samples", "name some in the recipe: calibration: {pictures: [..]}")
        self.batch = _batch(samples[0])
        self._samples: Iterator[Dict[str, Any]] = iter(samples)
        self._upload = upload

    def next(self, names: Sequence[str]) -> Optional[List[int]]:
        """Give the addresses of the next batch's inputs in the order of `names`, or None after the last."""
        sample = next(self._samples, None)
        if sample is None:
            return None
        return [self._upload(name, np.ascontiguousarray(sample[name])) for name in names]


def _batch(sample: Dict[str, Any]) -> int:
    return max(1, min(array.shape[0] if array.ndim else 1 for array in sample.values()))


def make_calibrator(trt: Any, feed: Feed, cache: Path) -> Any:
    """Give an entropy calibrator of TensorRT's module `trt`.

    It measures on `feed` unless `cache` is there, from an earlier build with the same network and calibration set; what
    was measured is written to `cache`.
    """

    class Calibrator(trt.IInt8EntropyCalibrator2):
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)
            self.error: Optional[BaseException] = None

        def get_batch_size(self) -> int:
            return feed.batch

        def get_batch(self, names: Sequence[str], *rest: Any) -> Optional[List[int]]:
            try:
                return feed.next(names)
            except Exception as error:  # native code would swallow it, and go on with half of the ranges
                self.error = error
                return None

        def read_calibration_cache(self) -> Optional[bytes]:
            return cache.read_bytes() if cache.is_file() else None

        def write_calibration_cache(self, ranges: Any) -> None:
            if self.error is None:
                cache.write_bytes(bytes(ranges))

    return Calibrator()


def read_ranges(cache: Path) -> Dict[str, float]:
    """Give the scale of each tensor that a calibration cache holds: lines of a name and a float32's bits in hex."""
    lines = cache.read_text(encoding="utf-8").splitlines()[1:]
    pairs = [line.rpartition(": ") for line in lines if ": " in line]
    return {name: float(np.frombuffer(bytes.fromhex(bits.rjust(8, "0")), ">f4")[0]) for name, _, bits in pairs}
