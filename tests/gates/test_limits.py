from __future__ import annotations

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
