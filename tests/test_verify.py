"""The gates: a case that passes all of them, and what breaks each one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfarm.decoders.prediction import Placement
from modelfarm.errors import RecipeError
from modelfarm.job import Device, Tensor
from modelfarm.recipe import Limit, Output
from modelfarm.verify import GateResult, Verdict, verify
from tests.cases import ROWS, ToyClassifier, ToyDecoder, case, recipe, result, sample

NAMES = ["complete", "signature", "finite", "parity", "predictions", "golden", "device"]
FACE = {"box": [10, 20, 50, 60], "score": 0.9}
CLASSES = np.array([[0.1, 0.7, 0.2]], np.float32)


def gate(verdict: Verdict, name: str) -> GateResult:
    return next(entry for entry in verdict.gates if entry.name == name)


def failed(verdict: Verdict, name: str) -> str:
    """Return all that a failed gate says, after seeing that it is the first and the later ones did not run."""
    index = NAMES.index(name)
    states = [entry.state for entry in verdict.gates]
    assert states[index] == "failed", verdict.gates
    assert "failed" not in states[:index]
    assert states[index + 1:] == ["not run"] * (len(NAMES) - index - 1)
    assert not verdict.passed
    assert verdict.failure is verdict.gates[index]
    return "\n".join((verdict.gates[index].summary, *verdict.gates[index].reasons))


def test_an_equal_artifact_passes_every_gate_in_their_order() -> None:
    verdict = verify(case(recipe=recipe(expect={"a.png": [FACE]})))
    assert [entry.name for entry in verdict.gates] == NAMES
    assert [entry.state for entry in verdict.gates] == ["passed"] * 7
    assert verdict.passed and verdict.failure is None
    assert verdict.worst == {"px": 0.0, "score": 0.0}
    assert len(verdict.rows) == 4  # two columns on two samples
    seen, = verdict.predictions
    assert (seen.sample, seen.picture) == ("a.png", Path("a.png"))
    assert seen.reference == seen.artifact and len(seen.artifact) == 1


def test_a_target_for_the_gpu_must_have_run_there_whatever_its_converter_wanted() -> None:
    on_gpu = replace(result(ROWS.shape), device=Device(wanted="gpu", used="gpu", detail="a card"))
    assert verify(case(result=on_gpu, device="gpu")).passed
    said = failed(verify(case(device="gpu")), "device")
    assert said.startswith("ran on cpu (CPUExecutionProvider), but was to run on gpu")
    fallen = replace(on_gpu, device=Device(wanted="gpu", used="cpu", detail="no CUDA"))
    said = failed(verify(case(result=fallen, device="gpu")), "device")
    assert said.count("ran on cpu (no CUDA), but was to run on gpu") == 1


def test_promised_files_must_be_there() -> None:
    said = failed(verify(case(files=["outputs.npz"])), "complete")
    assert said == "model.onnx was promised and is missing; there is outputs.npz"
    extra = replace(result(ROWS.shape), files=("model.onnx", "model.data"))
    assert "model.data was promised" in failed(verify(case(result=extra)), "complete")
    assert "there is nothing" in failed(verify(case(files=[])), "complete")


def test_an_artifact_that_does_not_load_says_why() -> None:
    said = failed(verify(case(result=None, outputs=[], error="no such operator: Foo")), "complete")
    assert "does not work in its runtime: no such operator: Foo" in said
    assert "the artifact gave no rows on sample a.png" in said
    assert "no reason was given" in failed(verify(case(result=None)), "complete")


def test_every_output_must_be_given_on_every_sample() -> None:
    given = {"rows": ROWS}
    assert failed(verify(case(outputs=[given, {}])), "complete") == "the artifact gave no rows on sample random-0"
    assert failed(verify(case(reference=[given])), "complete") == "the reference gave no rows on sample random-0"


def test_the_signature_must_be_the_recipes() -> None:
    other = replace(result(ROWS.shape), inputs=(Tensor(name="images", shape=(1, 3, 8, 8), dtype="float32"),))
    assert "the artifact's inputs are images; the recipe's input" in failed(verify(case(result=other)), "signature")
    short = result((1, 2, 4))
    assert "axis 2 is 4, expected 5" in failed(verify(case(result=short)), "signature")
    assert "NCHW: channels before rows -> rows float32 [1, 2, 5]" in gate(verify(case()), "signature").summary


def test_many_problems_are_listed_and_the_rest_counted() -> None:
    samples = [sample(f"{index}.png") for index in range(20)]
    verdict = verify(case(samples=samples, reference=[{"rows": ROWS}] * 20, outputs=[{}] * 20))
    entry = gate(verdict, "complete")
    assert entry.summary == "20 problems"
    assert (len(entry.reasons), entry.reasons[-1]) == (13, "and 8 more")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_fail(value: float) -> None:
    broken = ROWS.copy()
    broken[0, 1, 2] = value
    said = failed(verify(case(ROWS, broken)), "finite")
    assert "output 'rows' on sample a.png has 1 of 10 values NaN or infinite" in said
    assert "source" not in said


def test_a_source_that_gives_no_numbers_is_at_fault_itself() -> None:
    broken = np.full_like(ROWS, np.nan)
    verdict = verify(case(broken, broken))
    assert "the source gives values that are no finite numbers" in failed(verdict, "finite")
    assert verdict.rows == () and verdict.predictions == ()


def test_an_error_over_the_limit_fails_and_the_pictures_are_shown_all_the_same() -> None:
    off = ROWS + np.array([0.002, 0, 0, 0, 0], np.float32)
    verdict = verify(case(ROWS, off))
    said = failed(verdict, "parity")
    assert "2 columns of samples too far from the reference" in said
    assert "a.png: box: 0.002 px, the limit is 0.001" in said
    assert verdict.worst["px"] == pytest.approx(0.002, abs=1e-5)
    assert len(verdict.predictions) == 1


def test_a_single_column_that_fails_is_the_summary() -> None:
    verdict = verify(case(outputs=[{"rows": ROWS}, {"rows": ROWS + 1}]))
    assert len(gate(verdict, "parity").reasons) == 2  # box and score
    one = ROWS + np.array([0, 0, 0, 0, 0.01], np.float32)
    verdict = verify(case(outputs=[{"rows": ROWS}, {"rows": one}]))
    assert gate(verdict, "parity").summary == "random-0: score: 0.01 score, the limit is 1e-05"


def test_other_shapes_than_the_references_fail() -> None:
    verdict = verify(case(ROWS, ROWS[:, :1]))
    said = failed(verdict, "parity")
    assert "a.png: output 'rows' has shape [1, 1, 5], the reference's is [1, 2, 5]" in said
    assert verdict.rows == ()


def test_a_widened_limit_is_shown_with_its_reason() -> None:
    wider = Limit(unit="px", measure="max", limit=0.01, because="boxes of 4000 px")
    verdict = verify(case(ROWS, ROWS + np.array([0.002, 0, 0, 0, 0], np.float32), recipe=recipe(limits=(wider,))))
    assert verdict.passed
    assert gate(verdict, "parity").reasons == (
        "the recipe sets the greatest error for px to 0.01 (usually 0.001): boxes of 4000 px",)
    assert "0.01 px" in gate(verdict, "parity").summary


def test_outputs_that_the_recipe_does_not_name_are_not_judged() -> None:
    extra = {"rows": ROWS, "debug": np.full(3, np.nan)}
    assert verify(case(reference=[extra] * 2)).passed


def test_without_a_decoder_outputs_are_judged_and_predictions_skipped() -> None:
    verdict = verify(case(decoder=None))
    assert verdict.passed
    assert gate(verdict, "predictions").state == "skipped"
    assert "names no decoder" in gate(verdict, "predictions").summary
    assert [row.unit for row in verdict.rows] == ["relative", "relative"]
    assert verdict.predictions == ()


def test_a_detection_at_the_threshold_that_comes_and_goes_fails() -> None:
    here, gone = ROWS.copy(), ROWS.copy()
    here[0, 1, 4], gone[0, 1, 4] = 0.500001, 0.499999
    said = failed(verify(case(here, gone)), "predictions")
    assert "a.png: 1 predictions, the reference has 2" in said


def test_the_predictions_gate_says_how_closely_they_agree() -> None:
    summary = gate(verify(case(ROWS, ROWS + np.array([0.0005, 0, 0, 0, 0], np.float32))), "predictions").summary
    assert summary.startswith("2 detections on 2 pictures as in the reference; least IoU 0.9999")
    none = ROWS * np.array([1, 1, 1, 1, 0.1], np.float32)
    assert gate(verify(case(none)), "predictions").summary == "0 detections on 2 pictures as in the reference"


def test_the_expected_is_found() -> None:
    verdict = verify(case(recipe=recipe(expect={"a.png": [FACE], "random-0": [FACE]})))
    assert gate(verdict, "golden").summary == "2 expectations met"


def test_a_miss_that_the_source_shares_is_the_sources() -> None:
    said = failed(verify(case(recipe=recipe(expect={"a.png": []}))), "golden")
    assert said == ("a.png: 1 found (scores 0.900), expected 0; the source model misses it too: "
                    "its weights or the preprocessing are wrong, not the conversion")


def test_a_miss_of_the_artifact_alone_is_its_own() -> None:
    wide = Limit(unit="px", measure="max", limit=9, because="test")
    large = ROWS * np.array([1, 1, 10, 10, 1], np.float32)  # large boxes overlap by 0.99 when 0.3 px apart
    expected = {"box": [9.2, 20, 500, 600], "score": 0.9}
    verdict = verify(case(large, large + np.array([0.3, 0, 0, 0, 0], np.float32),
                          recipe=recipe(expect={"a.png": [expected]}, limits=(wide,))))
    said = failed(verdict, "golden")
    assert "1.1 px apart" in said
    assert "source" not in said


def test_an_expectation_of_an_unknown_sample_fails_with_the_nearest_name() -> None:
    said = failed(verify(case(recipe=recipe(expect={"b.png": []}))), "golden")
    assert said == "b.png: there is no such sample; did you mean a.png?"


def test_an_expectation_without_a_decoder_fails() -> None:
    said = failed(verify(case(decoder=None, recipe=recipe(expect={"a.png": []}))), "golden")
    assert said == "a.png: the recipe expects results, but names no decoder"


@pytest.mark.parametrize(("changes", "why"), [
    ({"random_weights": True}, "the weights are random"), ({"golden_waived": True}, "waived on the command line")])
def test_golden_results_are_skipped_for_a_reason(changes: dict[str, Any], why: str) -> None:
    entry = gate(verify(case(recipe=recipe(expect={"a.png": []}), **changes)), "golden")
    assert entry.state == "skipped"
    assert why in entry.summary


def test_a_recipe_without_expectations_skips_them() -> None:
    assert gate(verify(case()), "golden").summary == "the recipe has no `expect`"


def test_the_measured_accuracy_is_told() -> None:
    rows = [sample(f"held.npz#{index}", "held.npz", labels=np.array([label])) for index, label in enumerate((1, 1, 0))]
    judged = case(CLASSES, decoder=ToyClassifier(), samples=rows, reference=[{"rows": CLASSES}] * 3,
                  outputs=[{"rows": CLASSES}] * 3, recipe=recipe(expect={"held.npz": {"accuracy": 0.6}}))
    verdict = verify(judged)
    assert gate(verdict, "golden").summary == "1 expectation met; held.npz: 66.67% right"
    assert gate(verdict, "predictions").summary == "the same best class 3 times of 3"
    too_much = recipe(expect={"held.npz": {"accuracy": 0.7}})
    assert "accuracy 0.6667, expected at least 0.7" in failed(verify(replace(judged, recipe=too_much)), "golden")


def test_a_runtime_that_fell_back_fails() -> None:
    fallen = replace(result(ROWS.shape), device=Device(wanted="gpu", used="cpu", detail="CPUExecutionProvider"))
    assert failed(verify(case(result=fallen)), "device") == "ran on cpu (CPUExecutionProvider), but was to run on gpu"
    assert gate(verify(case()), "device").summary == "ran on cpu (CPUExecutionProvider)"


def test_an_unknown_precision_is_an_error() -> None:
    with pytest.raises(RecipeError, match="no parity limits for precision 'fp12'"):
        verify(case(precision="fp12"))


class Broken(ToyDecoder):
    def decode(self, outputs: Mapping[str, Any], placements: Sequence[Placement | None]) -> list[list[Any]]:
        raise IndexError("row 7")


class Forgetful(ToyDecoder):
    def decode(self, outputs: Mapping[str, Any], placements: Sequence[Placement | None]) -> list[list[Any]]:
        return []


class Refusing(ToyDecoder):
    def columns(self, outputs: Mapping[str, Any], size: tuple[int, int]) -> list[Any]:
        raise RecipeError(f"no priors for {size[1]}x{size[0]}")


@pytest.mark.parametrize(("decoder", "message"), [
    (Broken(), "the decoder failed on sample a.png: IndexError: row 7"),
    (Forgetful(), "the decoder gave predictions for 0 items of sample a.png, which has 1"),
    (Refusing(), "^no priors for 100x100$"),
])
def test_a_decoder_that_does_not_fit_is_a_problem_of_the_recipe(decoder: ToyDecoder, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        verify(case(decoder=decoder))


def test_an_input_that_is_no_picture_has_no_size() -> None:
    plain = replace(sample(), placements=(None,))
    with pytest.raises(RecipeError, match="no priors for 0x0"):
        verify(case(decoder=Refusing(), samples=[plain, plain]))


def test_a_batch_is_judged_item_by_item() -> None:
    two = np.concatenate([ROWS, ROWS])
    other = two.copy()
    other[1, 0, 4] = 0.4
    wide = Limit(unit="score", measure="max", limit=1, because="test")
    opened = Tensor(name="input", shape=("batch", 3, 8, 8), dtype="float32")
    same = case(reference=[{"rows": ROWS}, {"rows": two}], outputs=[{"rows": ROWS}, {"rows": other}],
                samples=[sample(), sample("batch-2", "batch", 2)], dynamic={"input": {0: "batch"}},
                result=result(("batch", 2, 5), inputs=(opened,)),
                recipe=recipe(outputs=[Output(name="rows", shape=(1, 2, 5))], limits=(
                    wide, Limit(unit="score", measure="cosine", limit=0, because="test"))))
    assert failed(verify(same), "predictions") == "batch-2: 0 predictions, the reference has 1"
