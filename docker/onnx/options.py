"""What a recipe may say for the onnx target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobkit import FileSource, Job, OptionError

# The exporter without dynamo honours these; its upper end is also what torch 2.13 can write.
OPSETS = range(9, 24)

DEFAULT_OPSET = 17

# A protobuf message cannot be longer than this.
TWO_GIB = 2 * 1024**3

Axes = Mapping[str, Mapping[int, str]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """`opset` None keeps an ONNX source's own; `dynamic` gives free axes their names, by input or output.

    `exported` are the outputs of a PyTorch source where `edit` makes others of them.
    """

    opset: int | None
    simplify: bool
    dynamic: Axes
    external_data_above: int
    edit: Mapping[str, Any] = field(default_factory=dict)
    exported: tuple[str, ...] = ()

    def axes(self, name: str) -> Mapping[int, str]:
        """Give the names of the free axes of one input or output."""
        return self.dynamic.get(name, {})


def read_options(job: Job) -> Options:
    """Parse ``job.options``.

    Raises OptionError where a value cannot be honoured.
    """
    values = job.options
    edit = dict(values.get("edit") or {})
    exported = tuple(edit.pop("exported", None) or (output.name for output in job.outputs))
    return Options(
        opset=_opset(values.get("opset"), kept=isinstance(job.source, FileSource)),
        simplify=bool(values.get("simplify", True)),
        dynamic={name: _axes(name, axes, job) for name, axes in (values.get("dynamic") or {}).items()},
        external_data_above=min(int(values.get("external_data_above") or TWO_GIB), TWO_GIB),
        edit=edit,
        exported=exported,
    )


def _opset(value: Any, kept: bool) -> int | None:
    if value is None:
        return None if kept else DEFAULT_OPSET
    if type(value) is not int or value not in OPSETS:
        raise OptionError(
            f"opset {value!r} is not supported", f"choose one from {OPSETS.start} to {OPSETS.stop - 1} in the recipe"
        )
    return value


def _axes(name: str, axes: Mapping[str, str], job: Job) -> dict[int, str]:
    ranks = {item.name: len(item.shape) for item in job.inputs}
    known = [*ranks, *(output.name for output in job.outputs)]
    if name not in known:
        raise OptionError(f"dynamic names {name!r}, which is no input or output", f"choose from {', '.join(known)}")
    numbers = {int(number): axis for number, axis in axes.items()}
    rank = ranks.get(name)
    wrong = [number for number in numbers if number < 0 or (rank is not None and number >= rank)]
    if wrong:
        raise OptionError(f"dynamic: {name} has no axis {wrong[0]}", f"its axes are 0 to {(rank or 1) - 1}")
    return numbers
