"""Limits: how far an artifact may be from its reference, by precision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelfarm.errors import RecipeError, nearest
from modelfarm.recipe import Limit


@dataclass(frozen=True, kw_only=True)
class Golden:
    """How far an artifact may be from golden results: pixels of the original picture, score, and share of accuracy."""

    box: float = 1.0
    points: float = 1.0
    score: float = 0.01
    accuracy: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the gates tolerate.

    `errors` is the greatest error by unit: px (of the network's input), score (0 to 1) or relative (to the range of the
    reference); `cosines` the least cosine by unit. Rows that score less than `faint` in both never become a prediction,
    and are bounded by `unseen`, a share of the column's range. `raw` times its limit is what a column may be off that a
    decoder works out of raw heads. `noise` says whether random samples are judged where there are others.

    The others concern decoded results: intersection over union, score, and pixels of the original picture, of boxes and
    of landmarks; `share` is the least share of samples whose best class is the reference's. `golden` is for golden
    results. `notes` says what a recipe widened, and why.
    """

    errors: Mapping[str, float]
    cosines: Mapping[str, float]
    iou: float
    score: float
    box: float
    points: float
    # The same rounding moves rows of low score further: what lies under the last bits of a sum is multiplied by a whole
    # anchor.
    faint: float = 1e-3
    unseen: float | None = None  # left out: as outputs of unknown meaning
    raw: float = 1.0
    noise: bool = True
    share: float = 1.0
    tie: float = 1e-6  # classes whose scores differ by less are equally good
    golden: Golden = Golden()
    notes: tuple[str, ...] = field(default=())

    @property
    def lifted(self) -> Limits:
        """Return limits that any finite result keeps."""
        return replace(self, errors=dict.fromkeys(self.errors, math.inf),
                       cosines=dict.fromkeys(self.cosines, -math.inf), unseen=math.inf)


# Eight bits hold 256 steps: a tensor of pixels from 0 to 640 has one every 2.5 px, a score one every 0.004, and what a
# tensor holds is a sum of such tensors.
_EIGHT_BITS = Limits(
    errors={
        "px": 6.5,         # 5 px of a picture of 512 pixels in an input of 640, which is two and a half steps
        "score": 0.15,     # of a single row, 4.6 steps of 0.13 of a logit near 0; what is found is judged below
        "relative": 0.25,  # outputs of unknown meaning
    },
    unseen=0.5,
    # Errors of a tenth of the range leave more than 0.99. A cosine of scores that are all near 0, as on a picture with
    # nothing to find, compares noise with noise, and where it reads 0.99 scores may be lost: their errors decide.
    cosines={"px": 0.99, "score": 0.0, "relative": 0.95},
    iou=0.95,    # 2 px of a face of 80 pixels
    box=4.0,     # of the picture; one and a half steps at 640
    points=5.0,  # two steps: a landmark is an anchor's cell and an offset of its own, each with a step
    score=0.05,
    # Scores are off by 0.05 at most, so that a row of less than twice that is far from every threshold in use.
    faint=0.1,
    # A side is an anchor times the square of a logistic function: one step of 0.09 of its logit moves 130 px by 9.
    raw=2.0,
    # Random pixels lie outside the ranges that were measured on pictures: to clip them is what quantisation is.
    noise=False,
    share=0.98,  # one point of accuracy may be one sample lost in a hundred and another gained
    tie=0.05,    # as scores may be off
    golden=Golden(box=4.0, points=5.0, score=0.05, accuracy=0.01),
)


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
        box=0.05,     # 1e-3 px of the input, for pictures up to 50 times as large
        points=0.05,
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
        box=1.0,     # in pixels of the picture, for pictures no larger than the input
        points=1.0,
        # Scores are off by 0.01 at most, so that a row of less than twice that is far from every threshold in use.
        faint=2e-2,
        raw=2.0,  # rounded weights move a logit by 2e-3, and the decoder multiplies it by an anchor
    ),
    # Weights of 8 bits, each channel with a scale of its own, and sums in float: what is lost is a fraction of what the
    # same weights lose with tensors of 8 bits too.
    "dynamic": Limits(
        errors={"px": 4.0, "score": 0.03, "relative": 0.05},
        cosines={"px": 0.999, "score": 0.99, "relative": 0.99},
        iou=0.95, box=2.0, points=2.5, score=0.03, faint=0.05, raw=2.0, share=0.98, tie=0.03,
        golden=Golden(box=2.0, points=2.5, score=0.03, accuracy=0.01),
    ),
    "int8": _EIGHT_BITS,
    "uint8": _EIGHT_BITS,
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
