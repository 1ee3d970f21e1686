"""Limits: how far an artifact may be from its reference, by precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelfarm.errors import RecipeError, nearest
from modelfarm.recipe import Limit


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the gates tolerate.

    `errors` is the greatest error by unit: px (of the network's input), score (0 to 1) or relative
    (to the range of the reference); `cosines` the least cosine by unit. The others concern decoded
    results: intersection over union, score, and pixels of the original picture. `notes` says what a
    recipe widened, and why.
    """

    errors: Mapping[str, float]
    cosines: Mapping[str, float]
    iou: float
    score: float
    points: float
    tie: float = 1e-6  # classes whose scores differ by less are equally good
    notes: tuple[str, ...] = field(default=())


LIMITS: Mapping[str, Limits] = {
    # A float32 near 640, the usual width of an input, has neighbours 6e-5 away. Runtimes order sums
    # differently and fuse operations, which moves results by tens of such steps.
    "fp32": Limits(
        errors={
            "px": 1e-3,        # 16 steps at 640; a thousandth of a pixel is nothing that a user can see
            "score": 1e-5,     # 170 steps at 1, while a tenth of a per cent is the least that is ever shown
            "relative": 1e-5,  # the same for outputs of unknown meaning, scaled by their range
        },
        # Random errors of 1e-5 leave 1 - 5e-11; a wrong weight or a swapped channel shows in the second digit.
        cosines={"px": 0.99999, "score": 0.99999, "relative": 0.99999},
        iou=0.99,     # 1e-3 px moves the IoU of a face of 10 pixels by 4e-4
        score=1e-4,   # ten times the limit of parity, as a score may be a product
        points=0.05,  # 1e-3 px of the input, for pictures up to 50 times as large
    ),
    # A half has 11 significant bits: neighbours of 640 are 0.5 away, those of 1 are 1e-3 below and 5e-4 apart, and
    # rounded weights move every sum by about as much.
    "fp16": Limits(
        errors={
            "px": 1.0,         # two steps at 640: what a user of half precision has to accept, and no more
            "score": 1e-2,     # twenty steps at 1; a decision near its threshold is judged by the predictions
            "relative": 1e-2,  # the same for outputs of unknown meaning, scaled by their range
        },
        # Random errors of 1e-2 leave 1 - 5e-5.
        cosines={"px": 0.9999, "score": 0.9999, "relative": 0.9999},
        iou=0.95,    # 1 px moves the IoU of a face of 80 pixels by 0.05
        score=1e-2,
        points=1.0,  # in pixels of the picture, for pictures no larger than the input
    ),
}


def limits_for(precision: str, widened: Sequence[Limit] = ()) -> Limits:
    """Return the limits of a precision, with what a recipe changes; raises RecipeError where it is unknown."""
    if precision not in LIMITS:
        raise RecipeError(f"there are no parity limits for precision {precision!r}; {nearest(precision, LIMITS)}",
                          remedy="add it to modelfarm/gates/limits.py, with the reason of each figure")
    limits = LIMITS[precision]
    for change in widened:
        if change.precision in (None, precision):
            limits = _changed(limits, change)
    return limits


def _changed(limits: Limits, change: Limit) -> Limits:
    kind = "cosines" if change.measure == "cosine" else "errors"
    measure = "least cosine" if change.measure == "cosine" else "greatest error"
    before = getattr(limits, kind)
    note = (f"the recipe sets the {measure} for {change.unit} to {change.limit:g} "
            f"(usually {before[change.unit]:g}): {change.because}")
    values = {"errors": limits.errors, "cosines": limits.cosines, kind: {**before, change.unit: change.limit}}
    return replace(limits, errors=values["errors"], cosines=values["cosines"], notes=(*limits.notes, note))
