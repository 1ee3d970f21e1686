"""Shapes: what they accept, what they say, and that their JSON Schema judges alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from modelfarm.document import INVALID, Document, Shape
from modelfarm.schema import (
    Anything,
    Boolean,
    Either,
    Field,
    Integer,
    Number,
    Record,
    Sequence,
    Table,
    Text,
    parse_number,
)


def read(shape: Shape, text: str) -> tuple[Any, list[str]]:
    document = Document(Path("x.yaml"), f"x: {text}\n" if "\n" not in text else f"x:\n{text}\n")
    values = document.read(Record(fields={"x": Field(shape=shape)}))
    return values["x"], [f"{problem.line}: {problem.where}: {problem.message}" for problem in document.problems]


def accepts(schema: dict[str, Any], text: str) -> bool:
    """Judge by JSON Schema what an editor would see of the text."""
    value = json.loads(json.dumps(yaml.safe_load(f"x:\n {text}"), default=str))["x"]
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


COLOR = Text(choices=("rgb", "bgr", "NCHW"))
WORD = Text(pattern="[a-z]+", like="a word")
SPAN = Integer(minimum=2, maximum=4)
POINT = Record(fields={"x": Field(shape=Integer(), required=True, help="across"),
                       "y": Field(shape=Integer(), default=7)})
ONE = Record(fields={"a": Field(shape=Integer()), "b": Field(shape=Integer())}, exactly_one=("a", "b"))
PLAIN = Either(scalar=Integer(), sequence=Sequence(of=Integer()))

GOOD = [
    (Text(), "abc", "abc"), (Text(), "5", "5"), (Text(), "1.50", "1.50"), (Text(), "2020-01-02", "2020-01-02"),
    (Text(), '"true"', "true"), (Text(), '""', ""), (Text(pattern="[0-9]+"), "007", "007"),
    (COLOR, "rgb", "rgb"), (WORD, "abc", "abc"),
    (Integer(), "12", 12), (Integer(), "-3", -3), (Integer(), "0x10", 16), (SPAN, "2", 2), (SPAN, "4", 4),
    (Number(), "2", 2.0), (Number(), "0.5", 0.5), (Number(), "1e-3", 0.001), (Number(), "1.5E+3", 1500.0),
    (Number(), "1/255", 1 / 255), (Number(), "-1 / 4", -0.25), (Number(), ".5", 0.5), (Number(), "5.", 5.0),
    (Number(minimum=0, maximum=1), "1", 1.0),
    (Boolean(), "true", True), (Boolean(), "no", False),
    (Anything(), "abc", "abc"), (Anything(), "1.5", 1.5), (Anything(), "~", None), (Anything(), "yes", True),
    (Anything(), "{a: [1, {b: c}], 2: d}", {"a": [1, {"b": "c"}], "2": "d"}),
    (Anything(), "2020-01-02", "2020-01-02"),
    (Sequence(of=Integer()), "[]", []), (Sequence(of=Integer(), lengths=(1, 3)), "[1, 2, 3]", [1, 2, 3]),
    (Sequence(of=WORD, least=1), "[a]", ["a"]),
    (Table(of=Integer()), "{a: 1, 2: 3}", {"a": 1, "2": 3}), (Table(of=Integer(), least=1), "{a: 1}", {"a": 1}),
    (Table(of=Integer(), keys=WORD), "{a: 1}", {"a": 1}),
    (POINT, "{x: 1}", {"x": 1, "y": 7}), (POINT, "{y: 1, x: 2}", {"x": 2, "y": 1}),
    (ONE, "{a: 1}", {"a": 1, "b": None}),
    (PLAIN, "1", 1), (PLAIN, "[1, 2]", [1, 2]),
    (Either(mapping=POINT), "{x: 1}", {"x": 1, "y": 7}),
]

BAD = [
    (Text(), "[a]", "1: x: expected text, found a list"),
    (Text(), "{a: b}", "1: x: expected text, found a mapping"),
    (Text(), "true", "1: x: expected text, found 'true'"),
    (Text(), "~", "1: x: expected text, found nothing"),
    (Text(), "", "1: x: expected text, found nothing"),
    (COLOR, "rbg", "1: x: 'rbg' is not known; did you mean rgb or bgr?"),
    (COLOR, "nchw", "1: x: 'nchw' is not known; did you mean NCHW?"),
    (COLOR, "5", "1: x: '5' is not known; known: NCHW, bgr, rgb"),
    (WORD, "a-b", "1: x: expected a word, found 'a-b'"),
    (WORD, "12", "1: x: expected a word, found '12'"),
    (WORD, "a" * 70 + "-", f"1: x: expected a word, found '{'a' * 60}...'"),
    (Integer(), "1.5", "1: x: expected a whole number, found '1.5'"),
    (Integer(), '"1"', "1: x: expected a whole number, found '1'"),
    (Integer(), "true", "1: x: expected a whole number, found 'true'"),
    (Integer(), "[]", "1: x: expected a whole number, found a list"),
    (SPAN, "1", "1: x: expected a whole number from 2 to 4, found '1'"),
    (SPAN, "5", "1: x: expected a whole number from 2 to 4, found '5'"),
    (Integer(minimum=1), "0", "1: x: expected a whole number of at least 1, found '0'"),
    (Integer(maximum=1), "2", "1: x: expected a whole number of at most 1, found '2'"),
    (Number(), "abc", "1: x: expected a number, found 'abc'"),
    (Number(), "1/2/3", "1: x: expected a number, found '1/2/3'"),
    (Number(), "1/", "1: x: expected a number, found '1/'"),
    (Number(), "nan", "1: x: expected a number, found 'nan'"),
    (Number(), "[1]", "1: x: expected a number, found a list"),
    (Number(), "true", "1: x: expected a number, found 'true'"),
    (Number(minimum=0, maximum=1), "1.5", "1: x: expected a number from 0 to 1, found '1.5'"),
    (Number(minimum=0), "-1", "1: x: expected a number of at least 0, found '-1'"),
    (Boolean(), "1", "1: x: expected true or false, found '1'"),
    (Boolean(), "maybe", "1: x: expected true or false, found 'maybe'"),
    (Sequence(of=Integer()), "5", "1: x: expected a list, found '5'"),
    (Sequence(of=Integer()), "{a: 1}", "1: x: expected a list, found a mapping"),
    (Sequence(of=Integer(), lengths=(1, 3)), "[1, 2]", "1: x: expected 1 or 3 items, found 2"),
    (Sequence(of=Integer(), least=1), "[]", "1: x: expected at least 1 items, found 0"),
    (Sequence(of=Integer()), "[1, a]", "1: x.1: expected a whole number, found 'a'"),
    (Table(of=Integer()), "[1]", "1: x: expected a mapping, found a list"),
    (Table(of=Integer(), least=1), "{}", "1: x: expected at least 1, found none"),
    (Table(of=Integer(), least=2), "{a: 1}", "1: x: expected at least 2, found 1"),
    (Table(of=Integer()), "{a: b}", "1: x.a: expected a whole number, found 'b'"),
    (Table(of=Integer(), keys=WORD), "{a1: 1}", "1: x.a1: expected a word, found 'a1'"),
    (POINT, "{y: 1}", "1: x: 'x' is missing: across"),
    (POINT, "{x: 1, z: 1}", "1: x.z: unknown key; known: x, y"),
    (POINT, "{x: 1, yy: 1}", "1: x.yy: unknown key; did you mean y?"),
    (POINT, "5", "1: x: expected a mapping, found '5'"),
    (ONE, "{}", "1: x: expected exactly one of a, b"),
    (ONE, "{a: 1, b: 1}", "1: x: expected exactly one of a, b"),
    (PLAIN, "{a: 1}", "1: x: expected a value or a list, found a mapping"),
    (Either(mapping=POINT), "1", "1: x: expected a mapping, found '1'"),
    (PLAIN, "[1, b]", "1: x.1: expected a whole number, found 'b'"),
]

# What YAML can say and JSON cannot, or what no JSON Schema can express: only the reader judges these.
UNSPEAKABLE = [
    (Integer(), "9" * 5000, f"1: x: expected a whole number, found '{'9' * 60}...'"),
    (Integer(), "0x_", "1: x: expected a whole number, found '0x_'"),
    (Integer(), "!!int foo", "1: x: expected a whole number, found 'foo'"),
    (Integer(), '!!int ""', "1: x: expected a whole number, found ''"),
    (Integer(), "!not:int 5", "1: x: expected a whole number, found '5'"),
    (Number(), "1/0", "1: x: expected a number, found '1/0'"),
    (Number(), "1e999", "1: x: expected a number, found '1e999'"),
    (Number(), ".inf", "1: x: expected a number, found '.inf'"),
    (Number(), ".nan", "1: x: expected a number, found '.nan'"),
    (Number(), '"1_000"', "1: x: expected a number, found '1_000'"),
    (Number(), '"\u0663"', "1: x: expected a number, found '\u0663'"),
    (Number(minimum=0, maximum=1), '"2/1"', "1: x: expected a number from 0 to 1, found '2/1'"),
    (Boolean(), "!!bool foo", "1: x: expected true or false, found 'foo'"),
    (Text(), "=", "1: x: expected text, found '='"),
    (Text(), "!mine:str abc", "1: x: expected text, found 'abc'"),
    (Text(), "!mine abc", "1: x: expected text, found 'abc'"),
    (Text(), "!!python/object:os.system abc", "1: x: expected text, found 'abc'"),
    (Anything(), ".nan", "1: x: expected text, a finite number, true or false, found '.nan'"),
    (Anything(), "-.inf", "1: x: expected text, a finite number, true or false, found '-.inf'"),
    (Anything(), "!!binary aGk=", "1: x: expected text, a finite number, true or false, found 'aGk='"),
    (Anything(), "{? [1] : 2}", "1: x: line 1: a key must be a plain word"),
    (Anything(), "{~: 2}", "1: x.~: expected text, found nothing"),
    (Table(of=Integer()), "{[1]: 2}", "1: x: line 1: a key must be a plain word"),
    (Table(of=Integer()), "{on: 2}", "1: x.on: expected text, found 'on'"),
    (Table(of=Text()), "{<<: a}", "1: x.<<: expected text, found '<<'"),
    (Table(of=Integer()), "{a: 1, a: 2}", "1: x.a: stands twice, on lines 1 and 1"),
    (POINT, "{x: 1, <<: {y: 1}}", "1: x.<<: unknown key; known: x, y"),
]


@pytest.mark.parametrize(("shape", "text", "value"), GOOD)
def test_what_fits_is_read_and_accepted_by_the_json_schema(shape: Shape, text: str, value: Any) -> None:
    found, problems = read(shape, text)
    assert problems == []
    assert found == value
    assert type(found) is type(value)
    assert accepts(shape.json(), text)


@pytest.mark.parametrize(("shape", "text", "said"), BAD)
def test_what_does_not_fit_is_explained_and_refused_by_the_json_schema(shape: Shape, text: str, said: str) -> None:
    assert read(shape, text)[1] == [said]
    assert not accepts(shape.json(), text)


@pytest.mark.parametrize(("shape", "text", "said"), UNSPEAKABLE)
def test_what_yaml_alone_can_say_is_explained(shape: Shape, text: str, said: str) -> None:
    assert read(shape, text)[1] == [said]


def test_a_tag_that_asks_for_code_is_inert(tmp_path: Path) -> None:
    value, problems = read(Anything(), f"!!python/object/apply:os.mkdir [{tmp_path / 'made'}]")
    assert (value, problems) == ([str(tmp_path / "made")], [])
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("shape", {id(shape): shape for shape, *_ in (*GOOD, *BAD)}.values())
def test_the_json_schema_of_every_shape_is_one(shape: Shape) -> None:
    jsonschema.Draft202012Validator.check_schema(shape.json())


def test_one_reading_finds_every_problem_with_its_line() -> None:
    shape = Table(of=POINT)
    found = read(shape, " a: {x: 1.5, q: 1}\n b:\n  y: [1]\n c: {x: 1}\n c: {x: 2}\n d: 4")[1]
    assert found == ["5: x.c: stands twice, on lines 5 and 6", "2: x.a.q: unknown key; known: x, y",
                     "2: x.a.x: expected a whole number, found '1.5'", "3: x.b: 'x' is missing: across",
                     "4: x.b.y: expected a whole number, found a list", "7: x.d: expected a mapping, found '4'"]


def test_a_list_of_a_wrong_length_has_its_items_checked_too() -> None:
    value, problems = read(Sequence(of=Integer(), lengths=(3,)), "[1, a]")
    assert value is INVALID
    assert problems == ["1: x: expected 3 items, found 2", "1: x.1: expected a whole number, found 'a'"]


def test_help_and_defaults_reach_whom_they_are_for() -> None:
    described = POINT.json()["properties"]
    assert described["x"]["description"] == "across"
    assert "description" not in described["y"]
    assert POINT.json()["required"] == ["x"]


@pytest.mark.parametrize(("text", "value"), [
    ("1", 1.0), ("1/8", 0.125), ("1e-3/2", 0.0005), ("", None), ("/", None), ("1/0", None), ("1 /2", 0.5),
    ("inf", None), ("1e400", None), ("0x10", None), ("1/-2", -0.5), (" 1", None), ("1e308/1e-308", None),
])
def test_numbers_are_finite_decimals_and_fractions(text: str, value: float | None) -> None:
    assert parse_number(text) == value
