from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from modelfarm.errors import RecipeError
from modelfarm.gates.limits import LIMITS, limits_for
from modelfarm.grammar import UNITS
from modelfarm.recipe import Limit

WIDER = Limit(unit="px", measure="max", limit=0.05, because="boxes of 4000 px")


def test_every_unit_of_the_grammar_has_limits_in_every_precision() -> None:
    for limits in LIMITS.values():
        assert set(limits.errors) == set(limits.cosines) == set(UNITS)


def test_fp16_keeps_boxes_to_a_pixel_and_scores_to_a_hundredth() -> None:
    limits = limits_for("fp16")
    assert limits.errors["px"] == 2 * (np.float16(640) - np.nextafter(np.float16(640), np.float16(0)))
    assert limits.errors["score"] >= 10 * np.finfo(np.float16).eps
    assert limits.errors["score"] == 0.01


def test_fp32_keeps_boxes_to_a_thousandth_of_a_pixel_and_scores_to_a_hundred_thousandth() -> None:
    limits = limits_for("fp32")
    assert (limits.errors["px"], limits.errors["score"]) == (1e-3, 1e-5)


def test_a_recipe_changes_one_limit_and_its_reason_is_kept() -> None:
    limits = limits_for("fp32", [WIDER])
    assert limits.errors == {**LIMITS["fp32"].errors, "px": 0.05}
    assert limits.cosines == LIMITS["fp32"].cosines
    assert limits.notes == ("the recipe sets the greatest error for px to 0.05 (usually 0.001): boxes of 4000 px",)


def test_a_cosine_is_changed_by_its_unit() -> None:
    wider = Limit(unit="score", measure="cosine", limit=0.9, because="tiny scores", precision="fp32")
    limits = limits_for("fp32", [wider])
    assert limits.cosines["score"] == 0.9
    assert limits.errors == LIMITS["fp32"].errors
    assert "least cosine for score to 0.9" in limits.notes[0]


def test_a_limit_for_another_precision_changes_nothing() -> None:
    other = Limit(unit="px", measure="max", limit=1, because="x", precision="fp16")
    assert limits_for("fp32", [other]) == LIMITS["fp32"]


def test_a_precision_without_limits_is_an_error() -> None:
    with pytest.raises(RecipeError, match="no parity limits for precision 'fp23'; did you mean fp32"):
        limits_for("fp23")


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_eight_bits_keep_boxes_landmarks_and_scores_to_what_a_user_accepts(precision: str) -> None:
    limits = limits_for(precision)
    assert (limits.box, limits.points, limits.score) == (4, 5, 0.05)
    assert limits.errors["px"] >= limits.points * 640 / 512
    assert limits.errors["score"] == pytest.approx(3 * limits.score), "of single rows"
    assert (limits.golden.box, limits.golden.points, limits.golden.score) == (4, 5, 0.05)
    assert limits.golden.accuracy == 0.01
    assert not limits.noise


def test_the_more_bits_the_narrower_every_limit() -> None:
    for one, other in pairwise(limits_for(name) for name in ("fp32", "fp16", "dynamic", "uint8")):
        assert all(one.errors[unit] <= other.errors[unit] for unit in UNITS)
        assert all(one.cosines[unit] >= other.cosines[unit] for unit in UNITS)
        assert (one.box, one.points, one.score, one.faint) <= (other.box, other.points, other.score, other.faint)
        assert one.iou >= other.iou and one.share >= other.share


@pytest.mark.parametrize("precision", ["fp16", "dynamic", "uint8"])
def test_rows_that_no_threshold_in_use_comes_near_are_faint(precision: str) -> None:
    limits = limits_for(precision)
    assert limits.score <= limits.faint <= 2 * limits.score
    assert limits.faint < 0.3, "the least confidence of the bundled recipes"


def test_lifted_limits_are_kept_by_any_number() -> None:
    lifted = limits_for("uint8").lifted
    assert min(lifted.errors.values()) == math.inf and max(lifted.cosines.values()) == -math.inf
