"""Causes: each disease of a quantised artifact is named with its tensor, its figures and what helps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modelfarm.gates.diagnosis import causes, losses
from modelfarm.gates.evidence import Evidence
from modelfarm.gates.signature import Form
from modelfarm.job import Tensor
from modelfarm.verify import Case, verify
from tests.cases import ToyDecoder, case, result, sample

WHOLE = Form(integer="uint8")


def rows(count: int = 40, seed: int = 0) -> np.ndarray:
    """Return boxes over an input of 640 pixels with scores from 0 to 0.9."""
    random = np.random.default_rng(seed)
    boxes = random.uniform(0, 640, (1, count, 4))
    return np.concatenate([boxes, np.linspace(0, 0.9, count)[None, :, None]], axis=2).astype(np.float32)


def quantised(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Round as TFLite does, in eight bits."""
    whole = np.clip(np.rint(values / scale) + zero_point, 0, 255)
    return ((whole - zero_point) * scale).astype(np.float32)


def held(reference: np.ndarray, output: np.ndarray, scale: float = 2.51, zero_point: int = 0, **changes: Any) -> Case:
    """Make a case of an integer artifact with one output."""
    plain = result(reference.shape)
    tensor = Tensor(name="rows", shape=reference.shape, dtype="uint8", scale=scale, zero_point=zero_point)
    inputs = (replace(plain.inputs[0], dtype="uint8", scale=1.0, zero_point=0),)
    facts = changes.pop("facts", {})
    whole = replace(plain, inputs=inputs, outputs=(tensor,), facts=facts)
    return case(reference, output, **{"precision": "uint8", "form": WHOLE, "result": whole, **changes})


def told(found: Case) -> list[str]:
    return list(causes(Evidence(found)))


def test_pixels_and_scores_in_one_tensor_are_found_by_their_steps() -> None:
    wanted = rows()
    (cause, *more) = told(held(wanted, quantised(wanted, 2.51, 0)))
    assert "output 'rows' (uint8, scale 2.51, zero point 0, so from 0 to 640)" in cause
    assert "holds values of different ranges with one scale: box (" in cause
    assert "left with next to no steps: score (0 to 0.9) in 0.4" in cause
    for remedy in ("cut_decode: true", "normalise_boxes: true", "split_outputs: true"):
        assert remedy in cause
    assert any("every score is 0" in line for line in more)


def test_the_gate_that_fails_says_the_cause_first() -> None:
    wanted = rows()
    verdict = verify(held(wanted, quantised(wanted, 2.51, 0)))
    assert verdict.failure and verdict.failure.name == "parity"
    assert verdict.failure.reasons[0].startswith("cause: output 'rows' (uint8, scale 2.51")
    assert verdict.failure.summary.startswith("a.png: score")


def test_a_raw_head_that_was_not_taken_apart_is_named_with_what_helps() -> None:
    wanted, head = rows(), {"name": "rows", "stride": 8}
    whole = told(held(wanted, wanted, facts={"edited": {"cut_decode": {"heads": [head]}}}))
    assert len(whole) == 1 and "output 'rows' (uint8, scale 2.51" in whole[0] and "is a whole raw head" in whole[0]
    assert "adapt: {cut_decode: {columns: [[0, 4], [4, 5], [5, 15], [15, 16]]}}" in whole[0]
    apart = {**head, "name": "head", "parts": {"rows": [0, 4]}}
    assert told(held(wanted, wanted, facts={"edited": {"cut_decode": {"heads": [apart]}}})) == []


def test_what_is_well_quantised_shows_no_cause() -> None:
    wanted = rows() / np.array([640] * 4 + [1], np.float32)
    assert told(held(wanted, quantised(wanted, 1 / 255, 0), scale=1 / 255)) == []


def test_an_artifact_of_floats_has_no_such_causes() -> None:
    wanted = rows()
    assert told(case(wanted, wanted * 2, result=result(wanted.shape))) == []
    verdict = verify(case(wanted, wanted * 2))
    assert verdict.failure
    assert not any(reason.startswith("cause") for reason in verdict.failure.reasons)


def test_an_edited_graph_is_not_judged_by_the_steps_of_other_tensors() -> None:
    wanted = rows()
    found = told(held(wanted, quantised(wanted, 2.51, 0), facts={"edited": {"normalise_boxes": {}}}))
    assert not any("different ranges" in line for line in found)
    assert any("every score is 0" in line for line in found)


@pytest.mark.parametrize(("scores", "said"), [
    (0.0, "every score is 0, and the source's go up to 0.9"),
    (2.51, "score goes up to 2.51: no score is above 1"),
    (0.37, "no score is below 0.37, also where the source sees nothing (0)"),
])
def test_scores_that_cannot_be_are_named(scores: float, said: str) -> None:
    wanted, found = rows(), rows()
    found[..., 4] = scores if scores != 0.37 else np.maximum(found[..., 4], 0.37)
    lines = told(held(wanted, found, scale=0.37))
    assert any(said in line for line in lines) and any("cut_decode" in line for line in lines)


class Raw(ToyDecoder):
    """Knows no columns, so that tensors are judged as they are."""

    def columns(self, outputs: Any, size: Any) -> list[Any]:
        return []

    def decode(self, outputs: Any, placements: Any) -> list[Any]:
        return [[] for _ in placements]


def test_a_constant_output_is_named_with_what_the_source_gives() -> None:
    wanted = rows()
    (cause,) = told(held(wanted, np.zeros_like(wanted), decoder=Raw()))
    assert "is 0 throughout; the source's values go from 0 to" in cause and "calibrate on pictures" in cause


def test_saturation_is_named_with_its_share() -> None:
    wanted = rows()
    (cause,) = told(held(wanted, quantised(wanted, 1.0, 0), scale=1.0, decoder=Raw()))
    share = float((wanted > 256).mean())
    assert f"is saturated: {share:.1%} of its values lie at an end" in cause
    below = wanted - 400
    (cause,) = told(held(below, quantised(below, 1.0, 0), scale=1.0, decoder=Raw()))
    assert "is saturated" in cause


def test_few_values_at_an_end_are_no_saturation() -> None:
    wanted = rows()
    assert told(held(wanted, quantised(wanted, 640 / 255, 0), scale=640 / 255, decoder=Raw())) == []


def layers(**changes: Any) -> dict[str, Any]:
    """Return what docker/tflite/diagnosis.py writes into the facts."""
    lossy = {"layer": "Concat_2", "operator": "CONCATENATION", "tensor": "Sigmoid_1;1", "scale": 4.037,
             "zero_point": -120, "minimum": 0.0, "maximum": 0.8709, "signal_to_noise_db": 0.0, "before_db": 23.9}
    plain = {"samples": 4, "compared": 693, "limit_db": 10.0, "first": lossy, "worst": lossy, "constant": [],
             "saturated": []}
    return {**plain, **changes}


def lost(**changes: Any) -> list[str]:
    return list(losses({"layers": layers(**changes)}))


def test_the_layer_where_noise_begins_is_named_with_tensor_scale_and_zero_point() -> None:
    wanted = rows() / 640
    (cause,) = told(held(wanted, wanted, scale=1 / 255, decoder=Raw(), facts={"layers": layers()}))
    assert cause == ("the signal-to-noise ratio falls first at layer 'Concat_2' (CONCATENATION), in the tensor "
                     "'Sigmoid_1;1' (scale 4.037, zero point -120, 0.2 steps) with values from 0 to 0.871: "
                     "from 23.9 to 0 dB")


def test_the_layer_that_loses_most_is_named_beside_the_first() -> None:
    other = {**layers()["first"], "layer": "Slice", "scale": None, "zero_point": None, "before_db": None}
    first, worst = lost(worst=other)
    assert "first at layer 'Concat_2'" in first
    assert worst == ("it falls farthest at layer 'Slice' (CONCATENATION), in the tensor 'Sigmoid_1;1' with values from "
                     "0 to 0.871: to 0 dB")


def test_a_tensor_with_many_steps_has_them_uncounted() -> None:
    (said,) = lost(first={**layers()["first"], "maximum": 640.0}, worst=None)
    assert "(scale 4.037, zero point -120)" in said


def test_tensors_that_say_one_thing_are_named_and_counted() -> None:
    *_, said = lost(constant=["a", "b", "c", "d", "e"])
    assert said == "tensors inside that have one value throughout: a, b, c and 2 more"
    assert lost(saturated=["a"])[-1] == "tensors inside that are clipped: a"


def test_an_artifact_that_loses_nothing_inside_has_nothing_to_tell() -> None:
    assert lost(first=None, worst=None) == [] == list(losses({}))


def test_layers_of_an_artifact_with_floats_outside_are_told_too() -> None:
    wanted = rows()
    plain = result(wanted.shape)
    found = case(wanted, wanted * 2, result=replace(plain, facts={"layers": layers()}))
    assert [line[:32] for line in told(found)] == ["the signal-to-noise ratio falls "]


def test_a_remedy_is_said_once() -> None:
    wanted = rows()
    found = told(held(wanted, quantised(wanted, 2.51, 0)))
    assert len(found) > 1 and sum("cut_decode" in line for line in found) == 1


def test_noise_samples_explain_nothing() -> None:
    wanted = rows() / np.array([640] * 4 + [1], np.float32)
    found = quantised(wanted, 1 / 255, 0)
    wild = np.zeros_like(found)
    mixed = held(wanted, found, scale=1 / 255, outputs=[{"rows": found}, {"rows": wild}])
    assert told(mixed) == []
    alone = replace(mixed, samples=[sample("random-0", "random"), sample("random-1", "random")])
    assert told(replace(alone, outputs=[{"rows": wild}] * 2)) != []
