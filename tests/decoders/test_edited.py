"""Outputs that an edit split or divided: put back, for every decoder alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelfarm import decoders
from modelfarm.decoders.edited import Edited, restored
from modelfarm.decoders.prediction import Placement
from modelfarm.gates.parity import columns
from modelfarm.recipe import DecoderChoice
from tests.decoders.test_yolo_face import decoder, row

ROWS = np.array([[row(30, 45, 20, 10, 0.9, 0.8), row(70, 50, 10, 10, 0.9, 0.2)]], np.float32)
PIXELS = [[0, 4], [5, 15]]
DIVIDED = {"normalise_boxes": {"factor": 640.0, "columns": {"output": PIXELS}}}
SPLIT = {"split_outputs": {"output": "output", "parts": {"boxes": [0, 4], "sure": [4, 5], "marks": [5, 15],
                                                         "face": [15, 16]}}}
BOTH = {**SPLIT, "normalise_boxes": {"factor": 640.0, "columns": {"boxes": [[0, 4]], "marks": [[0, 10]]}}}


def divided(rows: np.ndarray) -> np.ndarray:
    result = rows.copy()
    for start, stop in PIXELS:
        result[..., start:stop] /= 640
    return result


def split(rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: rows[..., start:stop] for name, (start, stop) in SPLIT["split_outputs"]["parts"].items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("edits", "outputs"), [
    (DIVIDED, {"output": divided(ROWS)}),
    (SPLIT, split(ROWS)),
    (BOTH, split(divided(ROWS))),
    ({}, {"output": ROWS}),
], ids=["divided", "split", "both", "neither"])
def test_what_an_edit_did_is_undone(edits: dict[str, object], outputs: dict[str, np.ndarray]) -> None:
    found = restored(outputs, edits)
    assert found["output"] == pytest.approx(ROWS, rel=1e-6)
    place = Placement.identity(100, 100)
    theirs, ours = decoder().decode({"output": ROWS}, [place]), Edited(decoder(), edits).decode(outputs, [place])
    assert len(ours[0]) == len(theirs[0]) == 1
    assert ours[0][0].box == pytest.approx(theirs[0][0].box, rel=1e-5)


def test_the_arrays_that_were_given_stay_what_they_are() -> None:
    outputs = {"output": divided(ROWS)}
    before = outputs["output"].copy()
    restored(outputs, DIVIDED)
    assert np.array_equal(outputs["output"], before)


def test_other_outputs_are_left_alone() -> None:
    more = np.arange(4.0)
    assert restored({**split(ROWS), "more": more}, SPLIT)["more"] is more
    assert list(restored({"boxes": ROWS}, SPLIT)) == ["boxes"], "parts are missing: a gate says so"


def test_columns_are_in_pixels_and_cover_the_parts() -> None:
    found = columns(split(divided(ROWS)), Edited(decoder(), BOTH), (640, 640))
    assert [column.name for column in found] == ["box", "landmarks", "objectness", "class", "score"]
    assert found[0].values == pytest.approx(ROWS[..., 0:4], rel=1e-6)


def test_columns_that_no_part_has_are_nought() -> None:
    half = {"split_outputs": {"output": "output", "parts": {"marks": [5, 15], "face": [15, 16]}}}
    found = restored({"marks": ROWS[..., 5:15], "face": ROWS[..., 15:16]}, half)["output"]
    assert found.shape == ROWS.shape and not found[..., 0:5].any()


def test_every_decoder_is_put_behind_the_edit(tmp_path: Path) -> None:
    options = {"confidence": 0.5, "iou": 0.5, "boxes": "boxes", "scores": "scores", "landmarks": None, "priors": None}
    choice = DecoderChoice(name="ssd_face", options=options)
    plain, behind = decoders.load(choice, tmp_path), decoders.load(choice, tmp_path, DIVIDED)
    assert isinstance(behind, Edited) and not isinstance(plain, Edited)
    assert not isinstance(decoders.load(choice, tmp_path, {"changed": ["constants: 3 nodes"]}), Edited)
