"""Compute capabilities: the generations of GPUs that an engine serves, as whole numbers such as 86 for 8.6."""

from __future__ import annotations

import re
from typing import Any, Optional, Sequence, Tuple

from jobkit import OptionError

_FORM = re.compile(r"(?:sm_?)?(\d{1,2})\.?(\d)", re.IGNORECASE)


def known(trt: Any) -> Tuple[int, ...]:
    """Give those that TensorRT-RTX's module `trt` can build for, in order."""
    found = (re.fullmatch(r"SM(\d+)", name) for name in dir(trt.ComputeCapability))
    return tuple(sorted(int(match[1]) for match in found if match))


def read(value: Optional[Sequence[Any]], available: Sequence[int]) -> Tuple[int, ...]:
    """Read the option ``compute_capabilities``: ``[86, 8.9, sm_120]``; nothing stands for all.

    Raises OptionError for one that there is not, with those that there are.
    """
    chosen = tuple(_number(str(each), available) for each in value or ())
    return tuple(sorted(set(chosen)))


def _number(text: str, available: Sequence[int]) -> int:
    found = _FORM.fullmatch(text.strip())
    number = int(found[1] + found[2]) if found else -1
    if number not in available:
        raise OptionError(
            f"there is no compute capability {text} that TensorRT-RTX builds for",
            f"choose from {', '.join(f'{each} ({shown(each)})' for each in available)}",
        )
    return number


def shown(capability: int) -> str:
    """Write a compute capability as NVIDIA does: 8.6."""
    return f"{capability // 10}.{capability % 10}"
