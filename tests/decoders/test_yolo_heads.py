"""Raw heads: by hand, by a slow loop, and with what is wrong about them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfarm import decoders
from modelfarm.decoders.prediction import Detection, Placement
from modelfarm.decoders.yolo_face import Decoder
from modelfarm.decoders.yolo_heads import ANCHORS, read_heads, rows_of
from modelfarm.errors import RecipeError
from modelfarm.gates.parity import columns
from modelfarm.recipe import DecoderChoice

PARTS = ((0, 4), (4, 5), (5, 15), (15, 16))
OPTIONS = {"confidence": 0.3, "iou": 0.5, "anchors": None}


def facts(*strides: int | None) -> dict[str, Any]:
    heads = [{"name": f"/m.{index}/Conv", "stride": stride, "shape": None} for index, stride in enumerate(strides)]
    return {"outputs": ["output"], "heads": heads}


def heads_of(side: int, *strides: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {f"/m.{index}/Conv": random.normal(0, 2, (2, 48, side // stride, side // stride)).astype(np.float32)
            for index, stride in enumerate(strides)}


def slow(raw: np.ndarray, stride: int, item: int, anchor: int, row: int, column: int) -> list[float]:
    """Decode one cell in plain Python, from the description in the paper's repository."""
    t = [float(raw[item, anchor * 16 + index, row, column]) for index in range(16)]
    width, height = ANCHORS[stride][2 * anchor:2 * anchor + 2]

    def s(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    box = [(2 * s(t[0]) - 0.5 + column) * stride, (2 * s(t[1]) - 0.5 + row) * stride,
           4 * s(t[2]) * s(t[2]) * width, 4 * s(t[3]) * s(t[3]) * height]
    marks = [t[5 + index] * (height if index % 2 else width) + (row if index % 2 else column) * stride
             for index in range(10)]
    return [*box, s(t[4]), *marks, s(t[15])]


def test_every_row_is_what_a_plain_loop_makes_of_its_cell() -> None:
    outputs = heads_of(64, 8, 16, 32)
    rows = rows_of(outputs, read_heads(facts(8, 16, 32), None))
    assert rows.shape == (2, 3 * (64 + 16 + 4), 16)
    place = 0
    for index, stride in enumerate((8, 16, 32)):
        raw, side = outputs[f"/m.{index}/Conv"], 64 // stride
        for anchor in range(3):
            for row in range(side):
                for column in range(side):
                    for item in range(2):
                        expected = slow(raw, stride, item, anchor, row, column)
                        assert rows[item, place] == pytest.approx(expected, rel=1e-9)
                    place += 1


def test_a_face_by_hand() -> None:
    raw = np.full((1, 48, 4, 4), -20.0, np.float32)
    raw[0, 16:32, 1, 2] = [0, 0, 0, 0, 3, *[0, 0] * 4, 0.5, -0.5, 4]  # the second anchor, 43x55, of stride 16
    found, = Decoder(OPTIONS, Path(), facts(16)).decode({"/m.0/Conv": raw}, [Placement.identity(64, 64)])
    face, = found
    assert isinstance(face, Detection)
    # s(0) = 0.5: the centre is the cell's (2.5, 1.5) * 16, the size the anchor's.
    assert face.box == pytest.approx((18.5, 0, 61.5, 51.5))
    assert face.score == pytest.approx(0.952574 * 0.982014, rel=1e-5)
    assert face.landmarks[0] == pytest.approx((32, 16)) and face.landmarks[4] == pytest.approx((53.5, -11.5))


def test_a_head_that_was_taken_apart_gives_the_same_rows() -> None:
    outputs, told = heads_of(64, 8, 16, 32), facts(8, 16, 32)
    expected = rows_of(outputs, read_heads(told, None))
    for head in told["heads"]:
        raw = outputs.pop(head["name"]).reshape(2, 3, 16, *outputs_side(head["stride"]))
        head["parts"] = {f"{head['name']}_{start}": [start, stop] for start, stop in (PARTS[0], PARTS[3], *PARTS[1:3])}
        for start, stop in PARTS:
            outputs[f"{head['name']}_{start}"] = raw[:, :, start:stop].reshape(2, -1, *raw.shape[3:])
    heads = read_heads(told, None)
    assert np.array_equal(rows_of(outputs, heads), expected)
    assert len(columns(outputs, Decoder(OPTIONS, Path(), told), (64, 64))) == 5, "every part is covered"
    del told["heads"][0]["parts"]["/m.0/Conv_15"]
    with pytest.raises(RecipeError, match="the parts of /m.0/Conv have 15 of 16 columns"):
        rows_of(outputs, read_heads(told, None))


def outputs_side(stride: int) -> tuple[int, int]:
    return (64 // stride, 64 // stride)


def test_heads_come_in_the_order_of_their_strides_whatever_the_graphs() -> None:
    heads = read_heads(facts(32, 8, 16), None)
    assert [head.stride for head in heads] == [8, 16, 32]
    assert [head.name for head in heads] == ["/m.1/Conv", "/m.2/Conv", "/m.0/Conv"]
    assert heads[2].anchors.tolist() == [[146, 217], [231, 300], [335, 433]]


def test_a_recipe_may_have_anchors_of_its_own() -> None:
    (head,) = read_heads(facts(64), [[1, 2, 3, 4]])
    assert head.anchors.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(("strides", "anchors", "said"), [
    ((64,), None, "no anchors are known for the head /m.0/Conv, of stride 64"),
    ((None,), None, "of stride None"),
    ((8, 16), [[1, 2]], "anchors for 1 heads, but the graph has 2"),
    ((8,), [[1, 2, 3]], "no anchors are known"),
])
def test_heads_that_nobody_can_decode_are_refused(strides: tuple[int | None, ...], anchors: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read_heads(facts(*strides), anchors)


@pytest.mark.parametrize(("outputs", "said"), [
    ({}, "no such output"),
    ({"/m.0/Conv": np.zeros((1, 32, 4, 4))}, r"shape \[1, 32, 4, 4\]"),
    ({"/m.0/Conv": np.zeros((1, 16, 16))}, r"shape \[1, 16, 16\]"),
])
def test_outputs_that_are_no_heads_are_refused(outputs: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Decoder(OPTIONS, Path(), facts(16)).columns(outputs, (64, 64))


def test_columns_cover_all_heads_and_are_those_of_the_whole_network() -> None:
    decoder = Decoder(OPTIONS, Path(), facts(8, 16, 32))
    outputs = {**heads_of(64, 8, 16, 32), "more": np.zeros((1, 2))}
    found = columns(outputs, decoder, (64, 64))
    assert [(column.name, column.unit) for column in found] == [
        ("box", "px"), ("landmarks", "px"), ("objectness", "score"), ("class", "score"), ("score", "score"),
        ("more", "")]


def test_the_edit_decides_whether_a_decoder_reads_heads(tmp_path: Path) -> None:
    choice = DecoderChoice(name="yolo_face", options=OPTIONS)
    outputs = heads_of(64, 8, 16, 32)
    cut = decoders.load(choice, tmp_path, {"cut_decode": facts(8, 16, 32), "changed": []})
    assert len(cut.columns(outputs, (64, 64))) == 5
    with pytest.raises(RecipeError, match="raw heads are read where the edit cut_decode made them|needs one output"):
        decoders.load(choice, tmp_path).columns(outputs, (64, 64))
    with pytest.raises(RecipeError, match="decoder classification cannot decode raw heads"):
        decoders.load(DecoderChoice(name="classification", options={}), tmp_path, {"cut_decode": facts(8)})
