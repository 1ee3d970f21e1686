from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from modelfarm.gates.signature import described, input_problems, output_problems
from modelfarm.job import Tensor
from modelfarm.recipe import Output
from tests.cases import entry

BATCH = {"input": {0: "batch"}}
SIDES = {"input": {0: "batch", 2: "height", 3: "width"}}


def tensor(*shape: int | str, name: str = "input", dtype: str = "float32") -> Tensor:
    return Tensor(name=name, shape=shape, dtype=dtype)


def references(*shapes: Sequence[int], dtype: type = np.float32) -> list[dict[str, np.ndarray]]:
    return [{"out": np.zeros(shape, dtype)} for shape in shapes]


def out(*shape: int | str, dtype: str = "float32") -> list[Tensor]:
    return [tensor(*shape, name="out", dtype=dtype)]


def test_inputs_as_the_recipe_says_have_no_problem() -> None:
    assert list(input_problems([entry()], [tensor(1, 3, 8, 8)], {})) == []
    assert list(input_problems([entry()], [tensor("batch", 3, 8, 8)], BATCH)) == []
    assert list(input_problems([entry()], [tensor("N", 3, "h", "w")], SIDES)) == []


@pytest.mark.parametrize(("found", "message"), [
    (tensor(1, 3, 8, 9), "axis 3 is 9, expected 8"),
    (tensor(1, 8, 8, 3), "axis 1 is 8, expected 3"),
    (tensor("batch", 3, 8, 8), "axis 0 is open ('batch'), expected 1"),
    (tensor(3, 8, 8), "has 3 axes, [3, 8, 8]; expected 4"),
    (tensor(1, 3, 8, 8, dtype="uint8"), "is uint8, expected float32"),
    (tensor(1, 3, 8, 8, name="images"), "the artifact's inputs are images; the recipe's input"),
])
def test_what_is_off_with_an_input_is_told(found: Tensor, message: str) -> None:
    assert message in " ".join(input_problems([entry()], [found], {}))


def test_a_dynamic_axis_must_be_open() -> None:
    assert list(input_problems([entry()], [tensor(1, 3, 8, 8)], BATCH)) == [
        "input 'input': axis 0 is fixed at 1, but is to be dynamic"]


def test_the_order_of_names_counts() -> None:
    inputs, found = [entry("a"), entry("b")], [tensor(1, 3, 8, 8, name="b"), tensor(1, 3, 8, 8, name="a")]
    assert list(input_problems(inputs, found, {})) == [
        "the artifact's inputs are b, a; the recipe's a, b (the order counts)"]


def test_outputs_have_the_shape_of_the_references() -> None:
    assert list(output_problems([Output(name="out")], out(1, 5), references((1, 5), (1, 5)), {})) == []
    assert list(output_problems([Output(name="out")], out(1, 6), references((1, 5), (1, 5)), {})) == [
        "output 'out': axis 1 is 6, expected 5"]
    assert list(output_problems([Output(name="out")], out(1, 5, dtype="float16"), references((1, 5)), {})) == [
        "output 'out' is float16, expected float32"]


def test_an_output_axis_that_varies_must_be_open_and_any_other_fixed() -> None:
    seen = references((1, 5), (4, 5))
    assert list(output_problems([Output(name="out")], out("batch", 5), seen, BATCH)) == []
    assert list(output_problems([Output(name="out")], out(1, 5), seen, BATCH)) == [
        "output 'out': axis 0 is fixed at 1, but is to be dynamic"]
    assert list(output_problems([Output(name="out")], out("batch", "n"), seen, BATCH)) == [
        "output 'out': axis 1 is open ('n'), expected 5"]


def test_with_dynamic_sides_a_runtime_may_leave_more_open() -> None:
    seen = references((1, 80, 5), (4, 80, 5), (1, 20, 5))
    assert list(output_problems([Output(name="out")], out("batch", "n", "m"), seen, SIDES)) == []
    assert list(output_problems([Output(name="out")], out("batch", "n", 4), seen, SIDES)) == [
        "output 'out': axis 2 is 4, expected 5"]
    assert "has 2 axes" in next(output_problems([Output(name="out")], out("batch", "n"), seen, SIDES))


def test_the_recipes_own_words_on_an_output_must_be_true() -> None:
    right = Output(name="out", shape=(1, 5), dtype="float32")
    assert list(output_problems([right], out("batch", 5), references((1, 5), (4, 5)), BATCH)) == []
    wrong = Output(name="out", shape=(1, 6), dtype="int64")
    assert list(output_problems([wrong], out("batch", 5), references((1, 5), (4, 5)), BATCH)) == [
        "output 'out': the recipe says [1, 6], the source gives [any, 5]",
        "output 'out': the recipe says int64, the source gives float32"]


def test_a_missing_output_is_told_once() -> None:
    assert list(output_problems([Output(name="out")], [], references((1, 5)), {})) == [
        "the artifact's outputs are none; the recipe's out"]


def test_the_description_says_the_layout_in_words() -> None:
    words = "input float32 [batch, 3, 8, 8], NCHW: channels before rows"
    assert described([entry()], [tensor("batch", 3, 8, 8)]) == words
    assert described([entry(layout="NHWC")], [tensor(1, 8, 8, 3)]).endswith("NHWC: channels last")
    assert described([], [tensor(1, 5, name="out")]) == "out float32 [1, 5]"
