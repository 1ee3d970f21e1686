"""Failures: one class per kind of failure, one exit code per class."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FarmError(Exception):
    """A failure that a user can understand and act on.

    `message` says what happened, `remedy` what to do about it. Subclasses fix the exit code and
    its meaning; a program ends with the code of the error that stopped it.
    """

    code = 1
    meaning = "an error inside the farm itself"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.remedy}" if self.remedy else self.message


class UsageError(FarmError):
    """The command's words are off: unknown model, target or value of a variable."""

    code = 2
    meaning = "the command names something that does not exist, or a value that is not allowed"


class RecipeError(FarmError):
    """A recipe (or target.yaml) has problems; the message lists all of them."""

    code = 3
    meaning = "a recipe has problems"


class MachineError(FarmError):
    """This machine lacks something: weights, an interpreter, disk space, a container engine."""

    code = 4
    meaning = "this machine lacks something that the job needs"


class ConversionError(FarmError):
    """The toolchain refused the source or failed on it."""

    code = 5
    meaning = "the conversion failed"


class GateError(FarmError):
    """An artifact did not pass a gate, and was not published; or it did, and is worse than the last good one."""

    code = 6
    meaning = "a result did not pass a gate, or is worse than the last good one"


class ArtifactError(FarmError):
    """An artifact was asked for that does not exist or is damaged."""

    code = 7
    meaning = "an artifact was not found or is damaged"


class RegistryError(FarmError):
    """A registry cannot be reached, refuses, or holds something else than expected."""

    code = 8
    meaning = "a registry failed"


class Interrupted(FarmError):  # noqa: N818 -- nothing went wrong
    """Somebody stopped the farm."""

    code = 130
    meaning = "interrupted"


def nearest(word: str, known: Iterable[str]) -> str:
    """Phrase the known names closest to `word` as a question, or list what is known."""
    names = sorted(known)
    lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), lower, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(lower[name] for name in close)}?"
    return f"known: {', '.join(names)}" if names else "none is known"
