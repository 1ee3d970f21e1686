"""Documents say where they are broken, however they are broken."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from modelfarm.document import INVALID, Document
from modelfarm.errors import RecipeError
from modelfarm.schema import Anything


def complaints(text: str) -> list[tuple[int, str]]:
    document = Document(Path("x.yaml"), text)
    assert document.read(Anything()) is INVALID
    return [(problem.line, problem.message) for problem in document.problems]


@pytest.mark.parametrize(("text", "line", "said"), [
    ("", 1, "the file is empty"),
    ("# only a remark\n\n", 1, "the file is empty"),
    ("a: 1\nb: [1,\n", 2, "flow node"),
    ("a: 1\nb: [1,", 2, "flow"),
    ("a:\n\tb: 1\n", 2, "(tabs cannot indent YAML)"),
    ("a: 1\n\tb: 1\n", 2, "(tabs cannot indent YAML)"),
    ("a: 1\nb: *nowhere\n", 2, "undefined alias"),
    ("a: 1\n---\nb: 2\n", 2, "single document"),
    ("a: 1\nb: \x01\n", 2, "control characters are not allowed"),
    ("a: 1\n\nb: 'open\n", 3, "quoted scalar"),
    ("%YAML 9.0\n---\na: 1\n", 1, "incompatible"),
])
def test_a_syntax_error_is_reported_with_its_line(text: str, line: int, said: str) -> None:
    (found,) = complaints(text)
    assert found[0] == line
    assert said in found[1]


def test_a_tab_is_named_only_where_it_indents() -> None:
    (found,) = complaints("a: [1,\t\n")
    assert "tabs" not in found[1]


@pytest.mark.parametrize("text", [
    "[" * 200_000, "a: " + "{b: " * 60 + "1" + "}" * 60, "\n".join(" " * depth + "a:" for depth in range(2000)),
    "- " * 3000 + "1",
])
def test_huge_nesting_is_a_problem_and_not_a_crash(text: str) -> None:
    (found,) = complaints(text)
    assert found[1] == "more than 50 levels of nesting"


def test_the_line_of_huge_nesting_is_that_of_the_first_level_too_many() -> None:
    text = "\n".join(" " * depth + "a:" for depth in range(60)) + " 1\n"
    assert complaints(text) == [(51, "more than 50 levels of nesting")]


def test_fifty_levels_are_fine() -> None:
    document = Document(Path("x.yaml"), "[" * 50 + "]" * 50)
    document.read(Anything())
    assert not document.problems


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a {b: {c: *a}}", "&a {? *a : 1}"])
def test_an_alias_within_what_it_names_is_a_problem(text: str) -> None:
    (found,) = complaints(text)
    assert "an alias stands within what it names" in found[1]


def test_a_billion_laughs_are_a_problem_at_once() -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)]
    start = time.perf_counter()
    (found,) = complaints("\n".join(lines))
    assert "aliases stand for too much" in found[1]
    assert time.perf_counter() - start < 2


def test_an_alias_stands_for_what_it_names() -> None:
    document = Document(Path("x.yaml"), "a: &a [1, 2]\nb: *a\n")
    assert document.read(Anything()) == {"a": [1, 2], "b": [1, 2]}
    assert not document.problems


def test_half_characters_of_a_command_line_do_no_harm() -> None:
    assert Document(Path("OPTIONS"), "a: \udcff").read(Anything()) == {"a": "\\udcff"}


@pytest.mark.parametrize(("data", "said"), [
    (b"a: 1\nb: \xff\n", "x.yaml:2: byte 0xff is not UTF-8"), ("a: 1\n".encode("utf-16"), "x.yaml:1: byte 0xff is not"),
])
def test_a_file_that_is_not_utf8_is_a_problem_with_its_line(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x.yaml").write_bytes(data)
    with pytest.raises(RecipeError, match=said):
        Document.open(tmp_path / "x.yaml")


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes("\ufeffa: 1\r\nb: 2\r\n".encode())
    assert Document.open(tmp_path / "x.yaml").read(Anything()) == {"a": 1, "b": 2}


@pytest.mark.parametrize(("name", "said"), [("nothing.yaml", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_a_recipe_error(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(RecipeError, match=f"cannot be read: {said}"):
        Document.open(tmp_path / name)


def test_problems_are_raised_together_in_the_order_of_their_lines() -> None:
    document = Document(Path("x.yaml"), "a: !!int x\nb: {c: !!int y}\n")
    document.read(Anything())
    document.complain((), "late, but of the first line")
    document.complain(("b", "c", 7), "of a place that has no line: its neighbour's")
    with pytest.raises(RecipeError) as caught:
        document.raise_problems()
    head, *lines = caught.value.message.splitlines()
    assert head == "x.yaml has 4 problems:"
    assert [line.split()[0] for line in lines] == ["x.yaml:1:", "x.yaml:1:", "x.yaml:2:", "x.yaml:2:"]
    assert lines[1:3] == ["  x.yaml:1: late, but of the first line",
                          "  x.yaml:2: b.c: expected text, a finite number, true or false, found 'y'"]


def test_a_document_without_problems_raises_nothing() -> None:
    document = Document(Path("x.yaml"), "a: 1")
    document.read(Anything())
    document.raise_problems()
