"""`make nightly ENGINE=... REGISTRY=...`: real conversions on workers that share no folder with the farm."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelfarm.night import read_night
from modelfarm.settings import ROOT
from tests.end.conftest import Shop
from tests.end.test_report import ONNX, retarget
from tests.engines.cluster import Cluster, cluster
from tests.images.registry import Registry


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return two workers, each with its own store and without recipes."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "no models").mkdir()
    with cluster(folder) as made:
        for name in ("one", "two"):
            made.hire(name, "modelfarm.hand", RUNNER="venv", ARTIFACTS=str(folder / f"store of {name}"), MEMORY="8GiB",
                      CPUS="2", MODELS_DIR=str(folder / "no models"), MODELFARM_DATA="", LABELS=name)
        yield made


@pytest.fixture
def shop(stocked: Shop, tmp_path: Path) -> Shop:
    """Return an empty store, and two models: the digits, and the digits with an expectation that is wrong."""
    shop = Shop(artifacts=tmp_path / "artifacts", models=tmp_path / "models")
    for name in ("digits", "broken"):
        shutil.copytree(ROOT / "models" / "digits", shop.models / name)
        recipe = shop.models / name / "model.yaml"
        recipe.write_text(recipe.read_text().replace("name: digits", f"name: {name}"))
        retarget(recipe, ONNX)
    broken = shop.models / "broken" / "model.yaml"
    assert '7.png: {top1: "7"}' in broken.read_text()
    broken.write_text(broken.read_text().replace('7.png: {top1: "7"}', '7.png: {top1: "1"}'))
    return shop


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()
            if file.name not in ("convert.log", "smoke.json", "smoke.log", "manifest.json")}


def statement(folder: Path) -> dict[str, Any]:
    """Return the manifest without the recipe, which here asks for fewer targets."""
    document: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    del document["predicate"]["buildDefinition"]["externalParameters"]["recipe"]
    return document


def test_a_night_through_a_registry_gives_the_artifacts_of_this_machine(stocked: Shop, shop: Shop, site: Cluster,
                                                                        registry: Registry) -> None:
    settings = {"ENGINE": site.address, "REGISTRY": f"{registry.host}/farm"}
    ran = shop.run("nightly", **settings)
    assert ran.code == 6, ran.out + ran.err
    assert shop.latest("digits").name == stocked.latest("digits").name
    assert digests(shop.latest("digits")) == digests(stocked.latest("digits"))
    assert statement(shop.latest("digits")) == statement(stocked.latest("digits"))
    (failure,) = (shop.artifacts / "failed" / "broken" / "onnx").iterdir()
    assert f"everything is kept in {failure}" in ran.err
    assert "gate golden" in (failure / "reason.txt").read_text() and (failure / "convert.log").is_file()
    (file,) = (shop.artifacts / "nights").iterdir()
    night = read_night(file)
    assert night and night.engine == site.address
    assert {(row.name, row.state, row.code) for row in night.rows} == {("digits/onnx", "verified", 0),
                                                                      ("broken/onnx", "failed", 6)}
    assert {row.failed for row in night.rows} == {"", f"failed/broken/onnx/{failure.name}"}
    again = shop.run("nightly", "--model", "digits", **settings)
    assert again.code == 0 and "1 cached" in again.out, again.out + again.err
