"""The gates of precisions of 8 bits: what they leave to rounding, and what they do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modelfarm.gates.signature import Form
from modelfarm.job import Tensor
from modelfarm.verify import Case, verify
from tests.cases import ROWS, ToyClassifier, case, recipe, result, sample
from tests.test_verify import failed, gate

WHOLE = Form(integer="uint8", layouts=("NCHW", "NHWC"), layout="NCHW")
STEP = {"dtype": "uint8", "scale": 0.5, "zero_point": 3}


def bits(reference: Any = ROWS, output: Any = None, /, **changes: Any) -> Case:
    """Make a case of an integer artifact, which passes every gate."""
    plain = result(np.shape(reference))
    tensors = [replace(tensor, **STEP) for tensor in (*plain.inputs, *plain.outputs)]
    plain = replace(plain, inputs=tuple(tensors[:1]), outputs=tuple(tensors[1:]))
    return case(reference, output, **{"precision": "uint8", "form": WHOLE, "result": plain, **changes})


def moved(**changes: float) -> np.ndarray:
    """Return the rows with their first box or score elsewhere."""
    rows = ROWS.copy()
    rows[0, 0, 0] += changes.get("box", 0)
    rows[0, 0, 4] += changes.get("score", 0)
    return rows


def test_an_artifact_of_integers_passes_and_shows_what_they_stand_for() -> None:
    verdict = verify(bits())
    assert verdict.passed
    assert "input uint8 [1, 3, 8, 8], NCHW: channels before rows, scale 0.5, zero point 3" in gate(
        verdict, "signature").summary
    floats = verify(bits(result=result(ROWS.shape)))
    assert "input 'input' is float32, expected uint8" in failed(floats, "signature")


@pytest.mark.parametrize(("changes", "passes"), [
    ({"box": 3.9}, True), ({"score": -0.04}, True), ({"box": 7.0}, False), ({"score": -0.06}, False),
])
def test_a_few_steps_are_left_to_rounding(changes: dict[str, float], passes: bool) -> None:
    assert verify(bits(ROWS, moved(**changes))).passed is passes
    assert not verify(case(ROWS, moved(**changes))).passed, "fp32 leaves nothing of the kind"


def test_noise_is_shown_and_not_judged_where_there_are_other_samples() -> None:
    wild = ROWS.copy()
    wild[0, 0] = [0, 0, 90, 90, 0.2]
    mixed = bits(outputs=[{"rows": ROWS}, {"rows": wild}])
    verdict = verify(mixed)
    assert verdict.passed
    assert "random samples are shown, not judged: in uint8" in "\n".join(gate(verdict, "parity").reasons)
    assert max(row.max_error for row in verdict.rows if row.group == "random") > 20
    assert verdict.worst == {"px": 0.0, "score": 0.0}
    assert "greatest error: box 0, score 0 (limits: 6.5 px, 0.15 score)" in gate(verdict, "parity").summary
    assert not verify(replace(mixed, precision="fp16", form=Form(), result=result(ROWS.shape))).passed
    alone = replace(mixed, samples=[sample("random-0", "random"), sample("random-1", "random")])
    assert not verify(alone).passed, "where there is nothing else, noise is what an artifact is proven on"


def test_noise_must_still_be_finite() -> None:
    wild = np.full_like(ROWS, np.nan)
    assert "NaN" in failed(verify(bits(outputs=[{"rows": ROWS}, {"rows": wild}])), "finite")


def classes(flips: int, of: int = 100) -> Case:
    """Make a case of a classifier that is another opinion on some samples."""
    right, wrong = np.array([[0.9, 0.1]], np.float32), np.array([[0.1, 0.9]], np.float32)
    plain = result((1, 2))
    return case(right, precision="uint8", decoder=ToyClassifier(), result=plain, form=Form(),
                samples=[sample(f"{index}.png") for index in range(of)], reference=[{"rows": right}] * of,
                outputs=[{"rows": wrong}] * flips + [{"rows": right}] * (of - flips),
                recipe=recipe(limits=()))


def test_two_other_opinions_of_a_hundred_are_told_and_left() -> None:
    verdict = verify(replace(classes(0), reference=[{"rows": np.array([[0.62, 0.565]], np.float32)}] * 100,
                             outputs=[{"rows": np.array([[0.565, 0.62]], np.float32)}] * 2
                             + [{"rows": np.array([[0.62, 0.565]], np.float32)}] * 98))
    assert verdict.passed
    predictions = gate(verdict, "predictions")
    assert "the same best class 98 times of 100" in predictions.summary
    assert [reason.partition(":")[0] for reason in predictions.reasons] == ["0.png", "1.png"]


def test_a_third_other_opinion_of_a_hundred_stops_it() -> None:
    reference, other = np.array([[0.62, 0.565]], np.float32), np.array([[0.565, 0.62]], np.float32)
    verdict = verify(replace(classes(0), reference=[{"rows": reference}] * 100,
                             outputs=[{"rows": other}] * 3 + [{"rows": reference}] * 97))
    assert "best class 'b', the reference has 'a'" in failed(verdict, "predictions")


def test_an_opinion_that_is_far_off_is_found_by_parity() -> None:
    assert "0.png: classes" in failed(verify(classes(1)), "parity")


def test_the_slack_of_accuracy_is_said_openly() -> None:
    labels = [np.array([0])] * 98 + [np.array([1])] * 2
    rows = [replace(sample(f"held.npz#{index}", "held.npz"), labels=label) for index, label in enumerate(labels)]
    plain = replace(classes(0), samples=rows, recipe=recipe(expect={"held.npz": {"accuracy": 0.99}}))
    golden = gate(verify(plain), "golden")
    assert golden.state == "passed"
    assert "98.00% right (1 point less than expected is accepted in uint8)" in golden.summary
    assert "accuracy 0.9800, expected at least 0.99" in failed(verify(replace(plain, precision="fp32")), "golden")


def test_a_file_with_channels_last_is_shown_beside_the_recipes_layout() -> None:
    last = Tensor(name="input", shape=(1, 8, 8, 3), dtype="uint8", layout="NHWC", scale=0.5, zero_point=0)
    plain = bits()
    assert plain.result
    verdict = verify(replace(plain, result=replace(plain.result, inputs=(last,))))
    assert verdict.passed
    assert "NHWC: channels last (the recipe's is NCHW)" in gate(verdict, "signature").summary
