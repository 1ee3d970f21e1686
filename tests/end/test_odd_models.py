"""Odd models from end to end: what is unusual comes out right, what is wrong is stopped and named.

One command converts them all; each test looks at what became of one. What must come out is worked out here by hand.
"""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise

import numpy as np
import pytest

from modelfarm.settings import ROOT
from tests.conftest import Toolchain
from tests.end.conftest import Shop
from tests.end.odd.recipes import BAD, GOOD, ONNX
from tests.end.odd.shop import CORNER, ROWS, Odd, convert_all


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, toolchain: Toolchain) -> Odd:
    return convert_all(tmp_path_factory.mktemp("odd"), toolchain)


def test_what_is_right_is_published_and_what_is_wrong_is_not(odd: Odd) -> None:
    good = {*GOOD, "onnx-good"}
    assert set(odd.stopped) == {*BAD, *ONNX} - good
    published = {folder.name for folder in odd.shop.artifacts.iterdir() if folder.is_dir()} - {"failed"}
    assert published - {".staging", ".locks"} == good
    assert odd.ran.code == odd.stopped["missing-samples"].code == 4, "the code is that of the first failure"


def test_no_failure_is_a_stack_trace_of_the_farm(odd: Odd) -> None:
    assert "Traceback" not in odd.ran.out + odd.ran.err
    assert str(ROOT / "modelfarm") not in odd.ran.err


def test_nothing_half_made_is_left(odd: Odd) -> None:
    assert not list((odd.shop.artifacts / ".staging").iterdir())


def test_outputs_stay_together_in_the_order_of_the_end(odd: Odd) -> None:
    """Two jobs ran at a time; between two headings each step stands once."""
    headings = [index for index, line in enumerate(odd.ran.out.splitlines()) if "/onnx " in line and line[:1] != " "]
    lines = odd.ran.out.splitlines()
    for start, end in pairwise(headings):
        steps = [line[4:60].rstrip() for line in lines[start + 1:end] if line[:4] in ("  + ", "  x ")]
        assert len(set(steps)) == len(steps), lines[start]


def tried(odd: Odd, model: str) -> dict[str, int]:
    """Return how many samples of each group the model's outputs were compared on."""
    return {row["group"]: row["samples"] for row in odd.json(model, "smoke.json")["parity"]}


# What is unusual, and right


def test_a_picture_and_a_state_are_two_inputs(odd: Odd) -> None:
    camera, state = np.full((3, 3, 8, 8), 2.0), np.arange(12.0).reshape(3, 4)
    ((outputs, (inputs, found)),) = odd.run(("driver", {"camera": camera.tolist(), "state": state.tolist()}))
    assert np.allclose(outputs[0], [[2 + 6, 4 + 6], [2 + 22, 4 + 22], [2 + 38, 4 + 38]])
    assert (inputs, found) == ([["batch", 3, 8, 8], ["batch", 4]], [["batch", 2]])
    assert tried(odd, "driver") == {"corner.png": 1, "driver.npz": 2, "random": 1, "batch": 1}


def test_indices_are_an_input_of_any_length(odd: Odd) -> None:
    ((outputs, (inputs, _)), (longer, _)) = odd.run(("words", {"words": [[0, 1, 2, 3, 4, 5], [9] * 6]}),
                                                    ("words", {"words": [[7] * 40]}))
    assert outputs == [[[30.0, 36.0], [108.0, 114.0]]]  # row n of the table is (2n, 2n + 1)
    assert longer == [[[14.0 * 40, 15.0 * 40]]]
    assert inputs == [["batch", "length"]]
    assert tried(odd, "words") == {"words.npz": 2, "random": 3, "batch": 1}, "random: two, and one of another length"


def test_channels_last_with_scale_by_maximum_and_figures_per_channel(odd: Odd) -> None:
    (seen,) = odd.json("channels-last", "smoke.json")["predictions"]
    red, green, blue = ((value / 200 - mean) / std for value, mean, std in
                        zip(CORNER, (0.5, 0.25, 0.125), (0.5, 2, 1), strict=True))
    expected = {0: red, 1: 2 * green, 2: 3 * blue}
    (found,) = seen["artifact"]
    assert dict(zip(found["ranking"], found["scores"], strict=True)) == pytest.approx(expected, rel=6e-3)


def test_channels_first_in_opencvs_order(odd: Odd) -> None:
    (seen,) = odd.json("channels-first", "smoke.json")["predictions"]
    blue, green, red = ((value / 255 - 0.5) / std for value, std in zip(CORNER[::-1], (0.5, 2, 1), strict=True))
    (found,) = seen["artifact"]
    assert dict(zip(found["ranking"], found["scores"], strict=True)) == pytest.approx(
        {0: blue, 1: 2 * green, 2: 3 * red}, rel=6e-3)


def test_bytes_stay_bytes(odd: Odd) -> None:
    pixels = np.arange(192, dtype=np.uint8).reshape(1, 8, 8, 3)
    ((outputs, (inputs, _)),) = odd.run(("bytes", {"picture": np.concatenate([pixels, 255 - pixels]).tolist()}))
    means = [sum(range(channel, 192, 3)) / 64 for channel in range(3)]
    assert np.allclose(outputs[0], [np.multiply(means, [1, 2, 3]), np.multiply(np.subtract(255, means), [1, 2, 3])])
    assert inputs == [["batch", 8, 8, 3]]
    (seen,) = odd.json("bytes", "smoke.json")["predictions"]
    corner = [(63 * 10 + value) / 64 * weight for value, weight in zip(CORNER, (1, 2, 3), strict=True)]
    (found,) = seen["artifact"]
    assert dict(zip(found["ranking"], found["scores"], strict=True)) == pytest.approx(dict(enumerate(corner)), rel=6e-3)


def test_an_output_without_a_batch_axis_keeps_its_name_and_its_shape(odd: Odd) -> None:
    ((outputs, (_, shapes)),) = odd.run(("two", {"x": [[1, 2, 3], [4, 5, 6]]}))
    assert outputs == [[[6, 12], [15, 30]], [[0, 0], [1, 2], [2, 4], [3, 6], [4, 8]]]
    assert shapes == [["batch", 2], [5, 2]]


def test_an_output_may_be_an_input_and_another_stand_twice(odd: Odd) -> None:
    ((outputs, _),) = odd.run(("echo", {"x": [[1, 2, 3]]}))
    assert outputs == [[[1, 2, 3]], [[1, 4, 9]], [[1, 4, 9]]]


def test_an_output_of_indices_has_their_type(odd: Odd) -> None:
    ((outputs, (_, shapes)),) = odd.run(("argmax", {"x": ROWS.tolist()}))
    assert outputs == [[[1, 4, 9], [4, 2, 3], [-3, -4, -3]], [2, 0, 0]]
    assert shapes == [["batch", 3], ["batch"]]


def test_a_fixed_batch_of_four_takes_arrays_by_fours(odd: Odd) -> None:
    ((outputs, (inputs, _)),) = odd.run(("four", {"x": np.eye(4, 3).tolist()}))
    assert outputs == [[[1, 2], [3, 4], [5, 6], [0, 0]]]
    assert inputs == [[4, 3]]
    gates = {gate["name"]: gate for gate in odd.json("four", "smoke.json")["gates"]}
    assert gates["golden"]["summary"] == "1 expectation met; eight.npz: 100.00% right"


def test_a_fixed_batch_of_four_takes_a_picture_four_times(odd: Odd) -> None:
    (seen,) = odd.json("four-pictures", "smoke.json")["predictions"]
    assert seen["artifact"][0]["labels"] == ["green", "red", "blue"]
    gates = {gate["name"]: gate for gate in odd.json("four-pictures", "smoke.json")["gates"]}
    assert gates["predictions"]["summary"] == "the same best class 4 times of 4"


def test_open_height_and_width_hold_for_sizes_that_nothing_was_tried_at(odd: Odd) -> None:
    generator = np.random.default_rng(3)
    picture = generator.integers(0, 9, (2, 3, 5, 7)).astype(float)
    ((outputs, (inputs, shapes)),) = odd.run(("sizes", {"picture": picture.tolist()}))
    weight = np.arange(54.0).reshape(2, 3, 3, 3) / 54
    padded = np.pad(picture, [(0, 0), (0, 0), (1, 1), (1, 1)])
    expected = np.empty((2, 2, 5, 7))
    for row in range(5):
        for column in range(7):
            window = padded[:, :, row:row + 3, column:column + 3]
            expected[:, :, row, column] = np.tensordot(window, weight, [(1, 2, 3), (1, 2, 3)])
    expected += np.reshape([1, 2], (2, 1, 1))
    assert np.allclose(outputs[1], expected, rtol=1e-5)
    assert np.allclose(outputs[0], expected.mean((2, 3)), rtol=1e-5)
    assert inputs == [["batch", 3, "height", "width"]]
    assert shapes[0][1] == 2
    assert tried(odd, "sizes") == {"corner.png": 1, "random": 2, "batch": 1}, "random: one, and one of another size"


def test_an_output_may_be_one_number(odd: Odd) -> None:
    ((outputs, (_, shapes)),) = odd.run(("scalar", {"x": [[3, 6, 9]]}))
    assert outputs == [(3 + 12 + 27) / 3]
    assert shapes == [[]]
    assert odd.json("scalar", "smoke.json")["parity"]


def test_a_model_brings_its_own_decoder(odd: Odd) -> None:
    smoke = odd.json("own-decoder", "smoke.json")
    assert {row["column"] for row in smoke["columns"]} == {"first", "second"}
    assert {gate["name"]: gate["state"] for gate in smoke["gates"]}["predictions"] == "passed"
    materials = odd.json("own-decoder", "manifest.json")["predicate"]["buildDefinition"]["resolvedDependencies"]
    (decoder,) = [entry for entry in materials if entry["annotations"]["role"] == "decoder"]
    content = (odd.shop.models / "own-decoder" / "decoder.py").read_bytes()
    assert decoder["digest"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_widened_limit_stands_in_the_manifest_and_the_report_with_its_reason(odd: Odd) -> None:
    assert odd.json("widened", "manifest.json")["predicate"]["verification"]["widenedLimits"] == [
        {"unit": "relative", "measure": "max", "limit": 0.001, "because": "the sensor has ten bits"}]
    assert "the sensor has ten bits" in (odd.shop.latest("widened") / "smoke.log").read_text()
    assert odd.json("own-decoder", "manifest.json")["predicate"]["verification"]["widenedLimits"] == []


def test_an_older_onnx_file_becomes_one_of_the_opset_asked_for(odd: Odd) -> None:
    ((outputs, _),) = odd.run(("onnx-good", {"x": [[-1, 0, 2]]}))
    assert outputs == [[[0, 0, 2]]]
    facts = odd.json("onnx-good", "manifest.json")["predicate"]["verification"]["facts"]
    assert (facts["source"]["opset"], facts["opset"]) == (9, 13)


def test_weights_beside_the_graph_are_subjects_too(odd: Odd) -> None:
    folder = odd.shop.latest("heavy")
    subjects = odd.json("heavy", "manifest.json")["subject"]
    assert [entry["name"] for entry in subjects] == ["model.onnx", "model.onnx.data"]
    for entry in subjects:
        content = (folder / entry["name"]).read_bytes()
        assert entry["digest"]["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["annotations"]["size"] == len(content)
    assert (folder / "model.onnx.data").stat().st_size >= 3 * 700 * 4 > (folder / "model.onnx").stat().st_size
    ((outputs, _),) = odd.run(("heavy", {"x": [[1, 0, 0], [0, 0, 1]]}))
    assert outputs[0][0][:3] == [1, 2, 3]
    assert outputs[0][1][-1] == 2100


def test_damage_to_the_weights_beside_the_graph_is_noticed(odd: Odd) -> None:
    file = odd.shop.latest("heavy") / "model.onnx.data"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"\1")
    try:
        shown = odd.shop.run("show", "--model", "heavy")
        doctor = odd.shop.run("doctor")
    finally:
        file.write_bytes(whole)
    assert shown.code == 7
    assert "model.onnx.data has other content" in shown.err
    assert "model.onnx.data has other content" in doctor.out
    assert odd.shop.run("show", "--model", "heavy").code == 0


# What is wrong, with the code and the words that must be said

WRONG: dict[str, tuple[int, tuple[str, ...]]] = {
    "logarithm": (6, ("gate finite", "the source gives values that are no finite numbers", "rows.npz#2", "3 of 3")),
    "branch": (6, ("gate parity", "rows.npz#2")),
    "cached": (6, ("gate parity", "random-1x3x32x32")),
    "grid": (5, ("ONNX Runtime cannot run model.onnx on picture [1, 3, 32, 32]", "leave these axes fixed")),
    "dropout": (5, ("the output 'y' is another each time", "dropout(training=True)")),
    "dropout-old": (6, ("gate parity",)),
    "chance": (6, ("gate parity", "random-0", "random-1")),
    "dictionary": (5, ("returns a dict, not a tensor",)),
    "wrong-shape": (6, ("gate signature", "the recipe says [1, 3], the source gives [1, 2]")),
    "wrong-dtype": (6, ("gate signature", "the recipe says int64, the source gives float32")),
    "wrong-order": (6, ("gate signature", "output 'table': the recipe says [5, 2], the source gives [1, 2]",
                        "output 'y': the recipe says [1, 2], the source gives [5, 2]")),
    "too-few": (5, ("the model gives 2 outputs; the recipe names y", "name all outputs")),
    "too-many": (5, ("the model gives 1 outputs; the recipe names y, z",)),
    "wrong-input": (5, ("1x4 and 3x2", "return x @ self.weight")),
    "scalar-batch": (5, ("the output y is a single number", "leave the axis fixed")),
    "seven": (3, ("seven.npz", "7 rows: the last 3 do not fill a batch of 4", "a multiple of 4")),
    "bad-decoder": (3, ("the decoder failed on sample random-0: KeyError: 'nothing'",)),
    "misspelt": (5, ("nets.py has no factory 'linaer'; did you mean linear",)),
    "raising": (5, ("raising() failed at line", "RuntimeError: no such table of anchors")),
    "demanding": (5, ("missing a required argument: 'classes'", "demanding(classes: 'int')")),
    "no-module": (5, ("no_module() made a str", "returns a torch.nn.Module")),
    "syntax": (5, ("importing nets.py failed at line 3: SyntaxError",)),
    "import": (5, ("importing nets.py failed at line 2", "No module named 'no_such_package'")),
    "missing-samples": (4, ("no file matches no.png, no.npz; sought in",)),
    "onnx-input": (5, ("the inputs of the model are x; the recipe names image",)),
    "onnx-opset": (5, ("the graph has opset 12 and cannot become opset 10", "Celu")),
}


@pytest.mark.parametrize("model", WRONG)
def test_what_is_wrong_is_stopped_and_named(odd: Odd, model: str) -> None:
    code, said = WRONG[model]
    stopped = odd.stopped[model]
    assert stopped.code == code, stopped.said
    for words in said:
        assert words in stopped.said
    assert "->" in stopped.said, "there is a remedy"


@pytest.mark.parametrize("model", [model for model, (code, _) in WRONG.items() if code == 6])
def test_what_a_gate_stops_is_kept_with_its_figures(odd: Odd, model: str) -> None:
    smoke = odd.failed(model)
    states = [gate["state"] for gate in smoke["gates"]]
    assert states.count("failed") == 1
    assert set(states[states.index("failed") + 1:]) <= {"not run"}
    assert not smoke["passed"]
    (folder,) = (odd.shop.artifacts / "failed" / model / "onnx").iterdir()
    assert {"model.onnx", "convert.log", "smoke.log", "reason.txt"} <= {file.name for file in folder.iterdir()}
    assert json.loads((folder / "job.json").read_text())["model"] == model


def test_every_wrong_model_is_tested() -> None:
    assert set(WRONG) == {*BAD, *ONNX} - {"onnx-good"}


def test_a_failure_stays_a_failure_until_its_cause_is_gone(odd: Odd) -> None:
    """The second run tries again, says the same, and keeps one failure, not two."""
    again = odd.shop.run("convert", "--model", "wrong-shape")
    assert again.code == 6
    assert "cached" not in again.out
    assert len(list((odd.shop.artifacts / "failed" / "wrong-shape" / "onnx").iterdir())) == 1
    recipe = odd.shop.models / "wrong-shape" / "model.yaml"
    text = recipe.read_text()
    recipe.write_text(text.replace("{shape: [1, 3]}}\nsamples", "{shape: [1, 2]}}\nsamples"))
    try:
        repaired = Shop(artifacts=odd.shop.artifacts / "repaired", models=odd.shop.models)
        ran = repaired.run("convert", "--model", "wrong-shape")
    finally:
        recipe.write_text(text)
    assert ran.code == 0, ran.err
