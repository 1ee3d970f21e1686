from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from modelfarm.gates.signature import Form, described, input_problems, output_problems
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


WHOLE = Form(integer="uint8", layouts=("NCHW", "NHWC"), layout="NCHW")


def whole(*shape: int | str, name: str = "input", dtype: str = "uint8", layout: str | None = None,
          scale: float | None = 0.5, zero_point: int | None = 0) -> Tensor:
    return Tensor(name=name, shape=shape, dtype=dtype, layout=layout, scale=scale, zero_point=zero_point)


def test_an_integer_precision_has_integers_that_say_what_they_stand_for() -> None:
    assert list(input_problems([entry()], [whole(1, 3, 8, 8)], {}, WHOLE)) == []
    assert list(input_problems([entry()], [whole(1, 3, 8, 8)], {})) == ["input 'input' is uint8, expected float32"]
    assert list(input_problems([entry()], [tensor(1, 3, 8, 8)], {}, WHOLE)) == [
        "input 'input' is float32, expected uint8"]
    assert list(input_problems([entry()], [whole(1, 3, 8, 8, dtype="int8")], {}, WHOLE)) == [
        "input 'input' is int8, expected uint8"]


@pytest.mark.parametrize("lacking", [{"scale": None}, {"zero_point": None}])
def test_integers_of_unknown_meaning_are_a_problem(lacking: dict[str, None]) -> None:
    found = [whole(1, 5, name="out", **lacking)]
    assert list(output_problems([Output(name="out")], found, references((1, 5)), {}, WHOLE)) == [
        "output 'out' is uint8, but has no scale and no zero point: nobody can tell what it stands for"]


def test_integers_of_the_model_itself_stay_what_they_are_in_every_precision() -> None:
    tokens = entry("tokens", (1, 9), "int64", None)
    assert list(input_problems([tokens], [tensor(1, 9, name="tokens", dtype="int64")], {}, WHOLE)) == []
    best = output_problems([Output(name="out")], out(1, dtype="int64"), references((1,), dtype=np.int64), {}, WHOLE)
    assert list(best) == []


def test_a_file_may_have_another_layout_where_the_target_says_so() -> None:
    last = whole(1, 8, 9, 3, layout="NHWC")
    assert list(input_problems([entry(shape=(1, 3, 8, 9))], [last], {}, WHOLE)) == []
    assert list(input_problems([entry(shape=(1, 3, 9, 8))], [last], {}, WHOLE)) == [
        "input 'input': axis 1 is 8, expected 9", "input 'input': axis 2 is 9, expected 8"]
    strict = Form(integer="uint8", layouts=("NCHW",), layout="NCHW")
    assert list(input_problems([entry(shape=(1, 3, 8, 9))], [last], {}, strict)) == [
        "input 'input' is NHWC, the recipe's layout is NCHW"]


def test_outputs_are_judged_in_the_layout_of_the_file() -> None:
    seen = references((1, 16, 4, 5))
    last, first = whole(1, 4, 5, 16, name="out", layout="NHWC"), whole(1, 16, 4, 5, name="out")
    assert list(output_problems([Output(name="out")], [last], seen, {}, WHOLE)) == []
    assert list(output_problems([Output(name="out")], [first], seen, {}, WHOLE)) == []
    assert list(output_problems([Output(name="out")], [whole(1, 16, 4, 5, name="out", layout="NHWC")], seen, {},
                                WHOLE)) != []
    five = whole(1, 80, 80, 16, 3, name="out", layout="NHWC")
    assert list(output_problems([Output(name="out")], [five], references((1, 3, 80, 80, 16)), {}, WHOLE)) == []
    flat = whole(1, 10, name="out", layout="NHWC")
    assert list(output_problems([Output(name="out")], [flat], references((1, 10)), {}, WHOLE)) == []


def test_a_source_with_channels_last_may_get_them_second() -> None:
    form = Form(layouts=("NCHW", "NHWC"), layout="NHWC")
    second = tensor(1, 3, 8, 9, name="out")
    found = Tensor(name="out", shape=second.shape, dtype="float32", layout="NCHW")
    assert list(output_problems([Output(name="out")], [found], references((1, 8, 9, 3)), {}, form)) == []


def test_the_description_says_what_the_file_has() -> None:
    assert described([entry()], [whole(1, 8, 8, 3, layout="NHWC", scale=0.00392157)]) == (
        "input uint8 [1, 8, 8, 3], NHWC: channels last (the recipe's is NCHW), scale 0.003922, zero point 0")
    assert described([], [whole(1, 5, name="out", scale=1.25, zero_point=7)]) == (
        "out uint8 [1, 5], scale 1.25, zero point 7")
