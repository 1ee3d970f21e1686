"""Every failure has a code and a meaning of its own, and the guide names them all."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

import modelfarm
from modelfarm.errors import FarmError, nearest
from modelfarm.settings import ROOT


def failures() -> list[type[FarmError]]:
    """List every kind of failure, of all modules of the package: a finer class of a kind keeps its code and meaning."""
    for module in pkgutil.walk_packages(modelfarm.__path__, "modelfarm."):
        importlib.import_module(module.name)
    found = [FarmError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if "code" in vars(kind) or "meaning" in vars(kind)]


def test_every_failure_has_a_code_and_a_meaning_of_its_own() -> None:
    kinds = failures()
    assert len(kinds) >= 9
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert len({kind.meaning for kind in kinds}) == len(kinds)
    assert {kind.code for kind in kinds} == {1, 2, 3, 4, 5, 6, 7, 8, 130}


def test_the_guide_names_every_code_with_one_meaning() -> None:
    guide = (ROOT / "docs" / "user-guide.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|\s*`?(\d+)`?\s*\|\s*(.+?)\s*\|", guide, re.MULTILINE)
    table = dict(rows)
    assert len(table) == len(rows), "a code stands twice"
    assert len(set(table.values())) == len(table), "a meaning stands twice"
    # 1 is Python's own for what nobody foresaw; the guide need not promise it.
    assert set(map(int, table)) - {1} == {0, *(kind.code for kind in failures() if kind is not FarmError)}


def test_a_message_ends_with_its_remedy() -> None:
    assert str(FarmError("it broke", remedy="mend it")) == "it broke\n  -> mend it"
    assert str(FarmError("it broke")) == "it broke"


@pytest.mark.parametrize(("word", "known", "said"), [
    ("yolov5s-fase", ["yolov5n-face", "yolov5s-face", "resnet18"], "did you mean yolov5s-face or yolov5n-face?"),
    ("nchw", ["NCHW", "NHWC"], "did you mean NCHW or NHWC?"),
    ("RESNET", ["resnet18"], "did you mean resnet18?"),
    ("zzz", ["b", "a"], "known: a, b"),
    ("", ["b", "a"], "known: a, b"),
    ("x", [], "none is known"),
])
def test_unknown_names_are_answered_with_the_nearest_or_all(word: str, known: list[str], said: str) -> None:
    assert nearest(word, known) == said
