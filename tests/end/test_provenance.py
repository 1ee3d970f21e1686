"""Provenance that one can act on, with a real model: why it would be made anew, and that it can be made again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from modelfarm.runners.venv import VenvRunner
from modelfarm.settings import ROOT, from_environment
from modelfarm.target import read_targets
from tests.end.conftest import Shop


def test_an_artifact_is_made_again_to_the_same_bytes(stocked: Shop) -> None:
    before = stocked.latest("digits").stat().st_mtime_ns
    ran = stocked.run("reproduce", "--model", "digits")
    assert ran.code == 0, ran.out + ran.err
    assert ran.out.splitlines()[-1].strip() == f"digits/onnx {stocked.latest('digits').name}: identical"
    assert stocked.latest("digits").stat().st_mtime_ns == before
    assert not list((stocked.artifacts / ".staging").iterdir())


def test_why_names_the_fields_of_the_key_that_changed(stocked: Shop, tmp_path: Path) -> None:
    assert "the latest artifact is what would be made now: cached" in stocked.run("why", "--model", "digits").out
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models" / "digits", models / "digits")
    recipe = models / "digits" / "model.yaml"
    recipe.write_text(recipe.read_text().replace("opset: 12", "opset: 13"))
    with (models / "digits" / "digits.py").open("a") as module:
        module.write("# a remark\n")
    ran = replace(stocked, models=models).run("why", "--model", "digits")
    assert ran.code == 0
    assert re.search(r"^  materials: module digits.py +[0-9a-f]{12} +[0-9a-f]{12} ", ran.out, re.MULTILINE)
    assert re.search(r"^  options.opset +12 +13 ", ran.out, re.MULTILINE)
    refused = replace(stocked, models=models).run("reproduce", "--model", "digits")
    assert refused.code == 4
    assert "materials: module digits.py: was " in refused.err and "opset" not in refused.err


def test_why_and_reproduce_need_an_artifact(tmp_path: Path) -> None:
    shop = Shop(artifacts=tmp_path / "artifacts")
    for task in ("why", "reproduce"):
        ran = shop.run(task, "--model", "digits")
        assert ran.code == 7
        assert "digits has no onnx artifact yet\n  -> make onnx MODEL=digits" in ran.err


def test_the_script_beside_the_artifact_makes_it_again_from_a_job_folder(stocked: Shop, tmp_path: Path) -> None:
    ran = stocked.run("job", "--model", "digits", "--folder", str(tmp_path / "job"))
    assert ran.code == 0, ran.err
    again = stocked.run("job", "--model", "digits", "--folder", str(tmp_path / "job"))
    assert (again.code, "is not empty" in again.err) == (2, True)
    # What the farm's own folder would be: the toolchains, and an environment made from the lock file.
    (tmp_path / "build").mkdir()
    (tmp_path / "docker").symlink_to(ROOT / "docker")
    settings = from_environment()
    runner = VenvRunner(environments=settings.environments, torch_index=settings.torch_index)
    (tmp_path / "build" / "onnx").symlink_to(runner.folder(read_targets()["onnx"]))
    done = subprocess.run(["sh", stocked.latest("digits") / "reproduce.sh", "job"], cwd=tmp_path, env=os.environ,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "equal to the artifact, byte for byte: model.onnx"
