"""What a recipe may say for the tflite target, whichever the way."""

from __future__ import annotations

from dataclasses import dataclass

from jobkit import Job, OptionError
from precision import INTEGER, PRECISIONS


@dataclass(frozen=True)
class Options:
    """`select_ops`: TensorFlow's own operators may be in the file; `threads` are the interpreter's."""

    select_ops: bool
    threads: int


def read_options(job: Job) -> Options:
    """Parse ``job.options`` and the precision.

    Raises OptionError where a value cannot be honoured, or an integer precision has no calibration samples.
    """
    if job.precision not in PRECISIONS:
        raise OptionError(f"there is no precision {job.precision!r}", f"choose from {', '.join(PRECISIONS)}")
    if job.precision in INTEGER and not job.calibration and not job.given:
        raise OptionError(
            f"{job.precision} wants calibration samples, and there are none",
            "name pictures like those of its use in the recipe: calibration: {pictures: [calibration/*.png]}",
        )
    return Options(
        select_ops=bool(job.options.get("select_ops", False)),
        threads=max(1, int(job.options.get("threads") or 2)),
    )
