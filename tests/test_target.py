"""target.yaml: what it says, what it may not say, and the sizes in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from modelfarm.document import INVALID, Document
from modelfarm.errors import RecipeError, UsageError
from modelfarm.settings import ROOT
from modelfarm.target import Option, Size, Target, choose_target, modules, parse_size, read_target, read_targets

TOY = """\
title: Toy
reads: [torch]
makes: toy
python: 3.10
precisions: [fp32, fp16]
promises: [model.toy]
options:
  level: {type: integer, minimum: 0, maximum: 3, default: 1, help: how much}
  share: {type: number, minimum: 0, maximum: 1, default: 1/4, help: how much of it}
  room: {type: size, default: 2GiB, help: how large}
  way: {type: text, choices: [fast, small], help: which way}
  parts: {type: texts, default: [a], help: which parts}
  exact: {type: boolean, help: whether}
  open: {type: axes, default: {}, help: which axes}
"""


def write(folder: Path, text: str = TOY, name: str = "toy") -> Path:
    file = folder / name / "target.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def changed(old: str, new: str) -> str:
    assert old in TOY
    return TOY.replace(old, new, 1)


def read_options(target: Target, text: str) -> Any:
    document = Document(Path("x"), text)
    values = document.read(target.options)
    return [problem.message for problem in document.problems] or values


def test_a_target_is_read_with_its_defaults(tmp_path: Path) -> None:
    target = read_target(write(tmp_path))
    assert (target.name, target.title, target.folder) == ("toy", "Toy", tmp_path / "toy")
    assert (target.reads, target.makes, target.python) == (("torch",), "toy", "3.10")
    assert (target.precisions, target.promises) == (("fp32", "fp16"), ("model.toy",))
    assert (target.device, target.seconds) == ("cpu", 1800)
    assert target.requirements == tmp_path / "toy" / "requirements.txt"
    assert target.converter == tmp_path / "toy" / "converter.py"
    assert target.defaults == {"level": 1, "share": 0.25, "room": 2 << 30, "way": None, "parts": ["a"], "exact": None,
                               "open": {}}


def test_a_target_says_what_its_artifacts_may_be_like(tmp_path: Path) -> None:
    plain = read_target(write(tmp_path))
    assert (plain.calibrates, plain.integer, plain.layouts, plain.bridges, plain.ways) == ((), (), (), {}, {})
    more = ("calibrates: [fp16]\ninteger: [fp16]\nlayouts: [NCHW, NHWC]\nbridges: {tflite: tflite2onnx}\n"
            "ways: {long: toy, short: toy-short}\n")
    target = read_target(write(tmp_path, TOY + more))
    assert (target.calibrates, target.integer, target.layouts) == (("fp16",), ("fp16",), ("NCHW", "NHWC"))
    assert target.bridges == {"tflite": "tflite2onnx"}
    assert list(target.ways.items()) == [("long", "toy"), ("short", "toy-short")]
    assert (target.way_of, target.makes_for) == ("", "toy")


@pytest.mark.parametrize(("more", "said"), [
    ("calibrates: [int8]", "calibrates: 'int8' is no precision of this target; known: fp16, fp32"),
    ("integer: [fp61]", "integer: 'fp61' is no precision of this target; did you mean fp16?"),
    ("layouts: [NHCW]", "layouts.0: 'NHCW' is not known; did you mean NHWC or NCHW?"),
    ("bridges: {caffe: x}", "bridges.caffe: 'caffe' is not known"),
    ("ways: {}", "ways: expected at least 1, found none"),
    ("ways: {Long: toy}", "ways.Long: expected a name in small letters"),
])
def test_what_cannot_be_of_an_artifact_is_told(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(said)):
        read_target(write(tmp_path, f"{TOY}{more}\n"))


WAY = "title: Toy, the short way\nway_of: toy\npython: 3.11\nseconds: 7\n"


def test_a_way_has_all_but_its_toolchain_from_the_target(tmp_path: Path) -> None:
    target = read_target(write(tmp_path, TOY + "ways: {long: toy, short: toy-short}\n"))
    way = read_target(write(tmp_path, WAY + "needs: {target: other, options: {opset: 17}}\n", "toy-short"))
    assert (way.name, way.title, way.folder, way.python, way.seconds) == (
        "toy-short", "Toy, the short way", tmp_path / "toy-short", "3.11", 7)
    assert (way.way_of, way.makes_for, way.ways) == ("toy", "toy", {})
    assert (way.precisions, way.promises, way.options, way.defaults) == (
        target.precisions, target.promises, target.options, target.defaults)
    assert way.needs and way.needs.options == {"opset": 17}
    assert target.needs is None
    assert list(read_targets(tmp_path)) == ["toy", "toy-short"]


@pytest.mark.parametrize(("text", "said"), [
    (WAY, "way_of: toy is no target that names toy-short among its `ways`"),
    (WAY.replace("of: toy", "of: yot"), "way_of: yot is no target that names toy-short among its `ways`"),
    (WAY.replace("of: toy", "of: toy-short"), "way_of: toy-short is no target"),
    (WAY + "precisions: [fp32]\n", "precisions: unknown key"),
    (WAY.replace("python: 3.11\n", ""), "'python' is missing"),
    ("way_of: [toy]\ntitle: x\npython: 3.11\n", "way_of: expected a name in small letters"),
])
def test_a_way_that_no_target_knows_is_told(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path)
    with pytest.raises(RecipeError, match=re.escape(said)):
        read_target(write(tmp_path, text, "toy-short"))


def test_the_way_is_an_option_where_there_are_several(tmp_path: Path) -> None:
    target = read_target(write(tmp_path, TOY + "ways: {long: toy, short: toy-short}\n"))
    assert read_options(target, "{}")["via"] == "long"
    assert read_options(target, "via: [short, long]")["via"] == ["short", "long"]
    assert read_options(target, "via: shrot") == ["'shrot' is not known; did you mean short?"]
    assert read_options(read_target(write(tmp_path)), "via: long") == ["unknown key; known: exact, level, open, "
                                                                       "parts, precision, room, seconds, share, way"]
    with pytest.raises(RecipeError, match="not precision, seconds or via"):
        read_target(write(tmp_path, TOY + "  via: {type: text, help: x}\n"))


def test_a_target_without_options_has_the_precision_only(tmp_path: Path) -> None:
    target = read_target(write(tmp_path, TOY[:TOY.index("options:")] + "device: gpu\nseconds: 5\n"))
    assert (target.defaults, target.device, target.seconds) == ({}, "gpu", 5)
    assert (target.memory, target.processes, target.cpus) == (8 << 30, 512, None)
    assert read_options(target, "precision: [fp16, fp32]") == {"precision": ["fp16", "fp32"], "seconds": None}
    assert read_options(target, "{}") == {"precision": ["fp32"], "seconds": None}


@pytest.mark.parametrize(("given", "said"), [
    ("level: 3", None), ("level: 4", "expected a whole number from 0 to 3, found '4'"),
    ("share: 1/2", None), ("share: 2", "expected a number from 0 to 1, found '2'"),
    ("way: fast", None), ("way: fsat", "'fsat' is not known; did you mean fast?"),
    ("exact: true", None), ("exact: 1", "expected true or false, found '1'"),
    ("room: 1KB", None), ("room: much", "expected a size such as 512MiB, found 'much'"),
    ("parts: [x, y]", None), ("parts: x", "expected a list, found 'x'"),
    ("open: {input: {0: batch}}", None), ("open: {input: {a: batch}}", "expected the number of an axis, found 'a'"),
    ("precision: fp16", None), ("precision: fp8", "'fp8' is not known; known: fp16, fp32"),
    ("precision: []", "expected at least 1 items, found 0"), ("leve: 1", "unknown key; did you mean level?"),
])
def test_the_options_of_a_target_are_checked(tmp_path: Path, given: str, said: str | None) -> None:
    answer = read_options(read_target(write(tmp_path)), given)
    if said:
        assert answer == [said]
    else:
        assert isinstance(answer, dict)


@pytest.mark.parametrize(("old", "new", "said"), [
    ("title: Toy\n", "", "1: 'title' is missing"), ("reads: [torch]", "reads: []", "2: reads: expected at least 1"),
    ("reads: [torch]", "reads: [caffe]", "2: reads.0: 'caffe' is not known"),
    ("python: 3.10", "python: 2.7", "4: python: expected a Python version such as 3.11, found '2.7'"),
    ("makes: toy", "makes: toy\ncolour: red", "4: colour: unknown key"),
    ("makes: toy", "makes: toy\nseconds: 0", "4: seconds: expected a whole number of at least 1"),
    ("makes: toy", "makes: toy\nmemory: lots", "4: memory: expected a size such as 512MiB, found 'lots'"),
    ("makes: toy", "makes: toy\nprocesses: 0", "4: processes: expected a whole number of at least 1"),
    ("makes: toy", "makes: toy\ncpus: 0", "4: cpus: expected a number of at least 0.01"),
    ("type: size", "type: bytes", "10: options.room.type: 'bytes' is not known"),
    ("help: whether", "", "13: options.exact: 'help' is missing"),
    ("default: 1,", "default: 7,", "8: options.level.default: expected a whole number from 0 to 3, found '7'"),
    ("default: 1,", "default: ~,", "8: options.level.default: expected a whole number from 0 to 3, found nothing"),
    ("minimum: 0", "minimum: x", "8: options.level.minimum: expected a whole number, found 'x'"),
    ("default: 2GiB", "default: 2XB", "10: options.room.default: expected a size such as 512MiB, found '2XB'"),
    ("choices: [fast, small]", "default: [a]", "11: options.way.default: expected text, found a list"),
    ("choices: [fast, small]", "choices: [fast, ~], default: quick", "11: options.way.choices.1: expected text"),
    ("choices: [fast, small]", "choices: []", "11: options.way.choices: expected at least 1"),
    ("  exact: {type: boolean, help: whether}", "  exact: boolean", "13: options.exact: expected a mapping"),
    ("  level:", "  precision:", "8: options.precision: expected a name in small letters, and not precision"),
    ("  level:", "  Level-1:", "8: options.Level-1: expected a name in small letters"),
    ("  level:", "  ? [a]\n  : 1\n  level:", "7: options: line 8: a key must be a plain word"),
    ("type: integer, ", "? [a] : 1, type: integer, ", "8: options.level: line 8: a key must be a plain word"),
    ("title: Toy", "title: [", "not valid YAML"), ("title: Toy", "title: &a [*a]", "an alias stands within"),
])
def test_a_target_that_is_wrong_is_explained(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = write(tmp_path, changed(old, new))
    with pytest.raises(RecipeError) as caught:
        read_target(file)
    assert said in caught.value.message.replace(f"{file}:", "")


def test_an_empty_target_is_explained(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the file is empty"):
        read_target(write(tmp_path, ""))


def test_an_option_describes_itself() -> None:
    assert Option().json()["required"] == ["type", "help"]


@pytest.mark.parametrize(("text", "size"), [
    ("1000", 1000), ("0", 0), ("512MiB", 512 * 1024 * 1024), ("2GiB", 2 * 1024 ** 3), ("1KiB", 1024), ("3KB", 3000),
    ("1.5 MB", 1_500_000), ("0.5GiB", 1 << 29), ("1 GB", 10 ** 9), ("2147483649", 2147483649),
])
def test_sizes_are_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert Document(Path("x"), text).read(Size()) == size


@pytest.mark.parametrize("text", ["..", "1.2.3", "1..", ".", "MiB", "GiB2", "1TiB", "1kb", "-5", "1 2", "1e3",
                                  "9" * 400 + "GiB", "2.5", "[]", "~", "true", "1MiB extra", "\u0663MiB"])
def test_nonsense_is_no_size_and_no_crash(text: str) -> None:
    document = Document(Path("x"), text)
    assert document.read(Size()) is INVALID
    assert "expected a size such as 512MiB" in document.problems[0].message


def test_the_bundled_targets_are_whole() -> None:
    targets = read_targets()
    assert "onnx" in targets
    for target in targets.values():
        assert target.converter.is_file()
        assert target.requirements.is_file()
        for name, field in target.options.fields.items():
            assert field.help, name


def test_the_page_of_recipes_has_every_edit_and_no_other() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text()
    edits = read_targets()["onnx"].options.json()["properties"]["edit"]["properties"]
    assert not [name for name in edits if f"| `{name}` |" not in page]
    section = page.partition("## edit, adapt")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(edits)


def test_an_unknown_target_is_answered_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, name="onnx")
    write(tmp_path, name="tflite")
    targets = read_targets(tmp_path)
    assert choose_target(targets, "tflite").name == "tflite"
    with pytest.raises(UsageError, match=re.escape("there is no target 'onx'; did you mean onnx?")):
        choose_target(targets, "onx")


def test_a_target_shares_the_modules_of_folders_beside_it(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    target = read_target(write(tmp_path, TOY + "shares: [other]\n"))
    assert target.shares == (tmp_path / "other",)
    assert target.code == (tmp_path / "toy", tmp_path / "other")
    assert read_target(write(tmp_path)).code == (tmp_path / "toy",)


def test_an_image_stands_on_folders_beside_it(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    target = read_target(write(tmp_path, TOY + "stands_on: [other]\n"))
    assert target.stands_on == (tmp_path / "other",)
    assert target.code == (tmp_path / "toy",), "a stage is no module"
    assert read_target(write(tmp_path)).stands_on == ()


@pytest.mark.parametrize("key", ["shares", "stands_on"])
@pytest.mark.parametrize("name", ["toy", "nowhere", "../toy", "Toy"])
def test_it_must_be_another_folder_beside_it(tmp_path: Path, key: str, name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_target(write(tmp_path, TOY + f"{key}: [{name}]\n"))
    line = len(TOY.splitlines()) + 1
    assert f"target.yaml:{line}: {key}" in caught.value.message


def test_the_modules_of_a_folder_are_those_of_its_packages_too(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.py", "self_test/in/tiny.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert modules(tmp_path) == [tmp_path / "a.py", tmp_path / "b" / "c.py"]
