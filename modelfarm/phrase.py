"""Phrases: paths and sizes as people read them."""

from __future__ import annotations

from pathlib import Path


def shown(path: Path) -> str:
    """Return a path relative to the working folder where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def size(count: int, word: str = "B") -> str:
    """Return a number of bytes in the unit that reads best; `word` stands for single bytes."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * step:  # what rounds to a thousand of a unit is one of the next
            return f"{count / step:.3g} {unit}"
    return f"{count} {word}"


def rounded(value: float) -> str:
    """Return a number with three significant digits, and whole where it has more before the point."""
    return f"{value:.0f}" if 999.5 <= abs(value) < 1e9 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Return a time in the unit that reads best."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
