"""The Makefile: words on its command line reach the task as they were typed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from modelfarm.settings import ROOT
from tests.conftest import Toolchain
from tests.end.conftest import Shop
from tests.toys import Toys

_ECHO = """
import json, sys
from pathlib import Path
Path({file!r}).write_text(json.dumps(sys.argv[1:]))
"""

AWKWARD = ['dynamic={"input":{"0":"batch"}}', "it's", "a b", "a,b", 'say "x"', "back\\slash", "semi;colon", "*", "&",
           "(x)", "`id`", "a=b c=d", "''", "'"]


@pytest.fixture
def echo(tmp_path: Path) -> list[str]:
    """Return make's words for a farm whose tasks only write down what they were called with."""
    script = tmp_path / "echo.py"
    script.write_text(_ECHO.format(file=str(tmp_path / "words")))
    tasks = f"INV={sys.executable} {shlex.quote(str(script))}"
    return ["make", "-s", "-o", "setup", "-o", ".venv/ready", "onnx", tasks]


@pytest.mark.parametrize("value", AWKWARD)
@pytest.mark.parametrize(("variable", "option"), [("MODEL", "--model"), ("OPTIONS", "--options"),
                                                  ("WEIGHTS", "--weights")])
def test_make_hands_on_every_word_as_it_is(tmp_path: Path, echo: list[str], variable: str, option: str,
                                           value: str) -> None:
    done = subprocess.run([*echo, f"{variable}={value}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "words").read_text()) == ["convert", "--target", "onnx", option, value]


def test_make_says_which_model_there_is_not_whatever_its_quotes(toys: Toys) -> None:
    done = subprocess.run(["make", "-s", "onnx", "MODEL=it's", 'OPTIONS=dynamic={"input":{"0":"batch"}}',
                           f"MODELS_DIR={toys.settings.models}", f"ARTIFACTS={toys.settings.artifacts}"],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert '''there is no model "it's"''' in done.stderr


def test_make_opens_axes_by_options_as_the_user_guide_writes_them(shop: Shop, toolchain: Toolchain) -> None:
    guide = (ROOT / "docs" / "user-guide.md").read_text()
    (line,) = re.findall(r"^    (make onnx .*OPTIONS=.*)$", guide, re.MULTILINE)
    command = line.replace('"batch"', '"items"')
    assert command != line
    done = subprocess.run(["sh", "-c", f"{command} ARTIFACTS={shlex.quote(str(shop.artifacts))}"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (variant,) = [folder.name for folder in (shop.artifacts / "digits").iterdir()]
    assert re.fullmatch(r"onnx-dynamic-[0-9a-f]{6}-opset13", variant)
    model = shop.latest("digits", variant) / "model.onnx"
    shape, opset = toolchain("import json, onnx, sys; model = onnx.load(sys.argv[1]); print(json.dumps(["
                             "[d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim],"
                             "model.opset_import[0].version]))", str(model))
    assert (shape, opset) == (["items", 1, 8, 8], 13)
