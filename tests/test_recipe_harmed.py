"""Whatever happens to a recipe, the reader answers with a recipe or with problems that have lines."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelfarm.document import INVALID
from modelfarm.errors import RecipeError
from modelfarm.recipe import read_recipe
from tests.recipes import BUNDLED, OPTIONS

NASTY = ["", "~", "true", "on", "=", "<<", "5", "-1", "1.5", ".nan", ".inf", "1/0", "1/255", "0x_", "0b_", "2001-99-99",
         "x" * 400, "..", "/", "../..", "a b", "\u00e9\u4e16", "%", "9" * 5000, "max", "none", "toy.py", "fp32",
         "input"]
TAGS = [None, None, None, "tag:yaml.org,2002:int", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp",
        "tag:yaml.org,2002:python/object/apply:os.system", "!mine", "tag:yaml.org,2002:float", "tag:yaml.org,2002:null"]
Harm = Callable[[str, random.Random], str]
CHARACTERS = "\t[]{}:,&*!%@`\"'|>-?#\x00\x07 \nax0."


def _nodes(node: yaml.Node) -> Iterator[yaml.CollectionNode]:
    if isinstance(node, yaml.CollectionNode):
        yield node
        for item in node.value:
            for part in item if isinstance(item, tuple) else (item,):
                yield from _nodes(part)


def _scalar(chance: random.Random) -> yaml.Node:
    text = chance.choice(NASTY)
    tag = chance.choice(TAGS) or yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False))
    return yaml.ScalarNode(tag=tag, value=text)


def _replacement(chance: random.Random, whole: list[yaml.CollectionNode]) -> yaml.Node:
    kind = chance.randrange(6)
    if kind == 0:
        return chance.choice(whole)  # perhaps an ancestor: an alias within what it names
    if kind == 1:
        items = [_scalar(chance) for _ in range(chance.randrange(4))]
        return yaml.SequenceNode(tag="tag:yaml.org,2002:seq", value=items)
    if kind == 2:
        return yaml.MappingNode(tag="tag:yaml.org,2002:map", value=[(_scalar(chance), _scalar(chance))])
    return _scalar(chance)


def harmed_tree(text: str, chance: random.Random) -> str:
    """Drop, replace or double a few nodes."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    whole = list(_nodes(root))
    for _ in range(chance.choice([1, 1, 2])):
        holder = chance.choice([node for node in whole if node.value])
        index = chance.randrange(len(holder.value))
        item = holder.value[index]
        action = chance.choice(["drop", "double", "value", "value", "value", "key"])
        if action == "drop":
            del holder.value[index]
        elif action == "double":
            holder.value.append(item)
        elif isinstance(item, tuple):
            new = _replacement(chance, whole)
            holder.value[index] = (item[0], new) if action == "value" else (new, item[1])
        else:
            holder.value[index] = _replacement(chance, whole)
    return str(yaml.serialize(root, allow_unicode=True))


def harmed_text(text: str, chance: random.Random) -> str:
    """Cut, insert or move a few characters."""
    for _ in range(chance.choice([1, 2, 4])):
        start = chance.randrange(len(text))
        stop = start + chance.choice([0, 0, 1, 5, 40])
        text = text[:start] + chance.choice(["", *CHARACTERS]) + text[stop:]
    return text


@pytest.mark.parametrize("harm", [harmed_tree, harmed_text])
@pytest.mark.parametrize("bundled", BUNDLED, ids=lambda file: file.parent.name)
def test_a_harmed_recipe_is_read_or_refused_with_lines_and_never_crashes(bundled: Path, harm: Harm,
                                                                        tmp_path: Path) -> None:
    chance = random.Random(f"{bundled.parent.name} {harm.__name__}")
    model = tmp_path / bundled.parent.name
    model.mkdir()
    if (bundled.parent / "labels.txt").is_file():
        shutil.copy(bundled.parent / "labels.txt", model)
    for _ in range(40):
        text = harm(bundled.read_text(), chance)
        (model / "model.yaml").write_text(text)
        try:
            recipe = read_recipe(model / "model.yaml", OPTIONS, bundled.parents[1] / "architectures")
        except RecipeError as error:
            _check_report(error.message, model / "model.yaml", text)
        else:
            assert recipe.name == model.name
            assert not _holds_invalid(recipe.values), text


def _check_report(message: str, file: Path, text: str) -> None:
    head, *listed = message.split(f"\n  {file}:")
    assert head.startswith(f"{file} has ")
    assert listed, message
    for problem in listed:
        line, _, words = problem.partition(": ")
        assert 1 <= int(line) <= text.count("\n") + 1, (problem, text)
        assert words


def _holds_invalid(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_invalid(part) for item in value.items() for part in item)
    return any(map(_holds_invalid, value)) if isinstance(value, list) else value is INVALID
