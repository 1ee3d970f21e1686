"""Plain values: JSON that may be anything, read so that what is not as expected is nothing.

The documents of a store outlive the farm that wrote them, are edited by hand and are damaged by disks. One wrong value
must not cost the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from modelfarm.phrase import rounded

_LONGEST = 12  # items of a list that are written in one line


def text(value: Any) -> str:
    """Return text as it is, and anything else as empty."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """Return a real number, also one that smoke.json writes as text (inf, nan); None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    return float(value) if value in ("inf", "-inf", "nan") else None


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a JSON object, and anything else as an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> Sequence[Any]:
    """Return a JSON list, and anything else as an empty one."""
    return value if isinstance(value, list | tuple) else ()


def at(value: Any, *keys: str) -> Any:
    """Return what lies at a path of keys; None where there is no such path."""
    for key in keys:
        value = mapping(value).get(key)
    return value


def figure(value: Any) -> str:
    """Write a number with three significant digits, large ones in full, text as it is; a dash for nothing."""
    if isinstance(value, bool) or value is None:
        return "–" if value is None else _word(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")  # a thin space, as ISO 80000-1 has it
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "not a number")
    return rounded(value)


def is_scalar(value: Any) -> bool:
    """Tell whether a value has no parts."""
    return not isinstance(value, Mapping | list | tuple)


def in_line(value: Any) -> str | None:
    """Write a value that fits into one line; None for one that does not."""
    if is_scalar(value):
        return _word(value)
    if isinstance(value, Mapping):
        return None if value else "none"
    if len(value) <= _LONGEST and all(is_scalar(item) for item in value):
        return ", ".join(map(_word, value)) or "none"
    return None


def columns(value: Any) -> list[str]:
    """Return the columns of a list of objects whose values fit into cells; empty where it is no such list."""
    rows = items(value)
    if not rows or not all(isinstance(row, Mapping) and row for row in rows):
        return []
    names = list(dict.fromkeys(name for row in rows for name in row))
    fitting = all(in_line(cell) is not None for row in rows for cell in row.values())
    return names if fitting and len(names) <= _LONGEST else []


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return figure(value) if isinstance(value, int | float) else str(value or "none")
