"""`make report` about a store that the farm itself has filled: nights of real conversions, a failure, a change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from selenium.webdriver.common.keys import Keys

from modelfarm.settings import ROOT
from tests.end.conftest import Ran, Shop
from tests.images.registry import free_port
from tests.site.browser import NARROW, WIDE, Browser, missing, opened
from tests.site.shelf import Page

NEEDED = pytest.mark.skipif(bool(missing()), reason=f"{missing()} not on this machine (ci/browser installs them)")
ONNX = "onnx: {opset: 12, simplify: true, dynamic: {input: {0: batch}}}"  # as the bundled recipe has it
GATES = ["complete", "signature", "finite", "parity", "predictions", "golden", "device"]


@dataclass(frozen=True, kw_only=True)
class Farmyard:
    """Two nights over two models, and the report about them."""

    shop: Shop
    first: Path
    second: Path
    said: Ran

    @property
    def report(self) -> Path:
        return self.shop.artifacts / "report"

    def page(self, name: str = "index.html") -> Page:
        return Page(file=self.report / name)

    def page_of(self, version: Path) -> Page:
        return self.page(f"{version.parent.parent.name}/{version.parent.name}/{version.name}.html")

    @property
    def failure(self) -> Path:
        """Return the folder of what failed."""
        (folder,) = (self.shop.artifacts / "failed" / "broken" / "onnx").iterdir()
        return folder


def make_report(shop: Shop) -> Ran:
    """Type `make report`."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", "--no-print-directory", "report", f"ARTIFACTS={shop.artifacts}"], cwd=ROOT,
                          env=outer, capture_output=True, text=True, timeout=120)
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


def retarget(recipe: Path, *targets: str) -> None:
    """Let a recipe ask for these targets, whatever the bundled one asks for."""
    text, found, _ = recipe.read_text().partition("\ntargets:\n")
    assert found
    recipe.write_text(f"{text}{found}" + "".join(f"  {target}\n" for target in targets))


def rewrite(recipe: Path, *pairs: tuple[str, str]) -> None:
    text = recipe.read_text()
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    recipe.write_text(text)


@pytest.fixture(scope="module")
def yard(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Farmyard:
    """Return a store after a night in which all was well, and one with another opset and a model that is wrong."""
    folder = tmp_path_factory.mktemp("yard")
    shutil.copytree(stocked.artifacts, folder / "artifacts", symlinks=True)
    shutil.copytree(ROOT / "models" / "digits", folder / "models" / "digits")
    shop = Shop(artifacts=folder / "artifacts", models=folder / "models")
    retarget(shop.models / "digits" / "model.yaml", ONNX)
    # Nothing listens there: no client finds an engine, so that no image of tnn can be found either.
    nobody = {"DOCKER_HOST": f"tcp://127.0.0.1:{free_port()}", "CONTAINER_HOST": f"tcp://127.0.0.1:{free_port()}"}
    ran = shop.run("nightly", **nobody)
    assert ran.code == 0 and "1 cached" in ran.out, ran.out + ran.err
    first = shop.latest("digits")
    retarget(shop.models / "digits" / "model.yaml", ONNX.replace("opset: 12", "opset: 13"))
    shutil.copytree(shop.models / "digits", shop.models / "broken")
    rewrite(shop.models / "broken" / "model.yaml", ("name: digits", "name: broken"), ('7.png: {top1: "7"}',
                                                                                      '7.png: {top1: "1"}'))
    retarget(shop.models / "digits" / "model.yaml", ONNX.replace("opset: 12", "opset: 13"), "tnn: {optimize: true}")
    ran = shop.run("nightly", RUNNER="auto", DOCKER=str(folder / "none"), **nobody)
    assert ran.code == 6, ran.out + ran.err
    said = make_report(shop)
    assert said.code == 0, said.out + said.err
    return Farmyard(shop=shop, first=first, second=shop.latest("digits"), said=said)


def test_every_version_and_every_failure_has_a_page(yard: Farmyard) -> None:
    assert "3 pages, 3 written anew" in yard.said.out
    assert "artifacts/report/index.html" in yard.said.out
    pages = sorted(yard.report.rglob("*.html"))
    assert pages == sorted([yard.page().file, *(yard.page_of(version).file
                                                for version in (yard.first, yard.second, yard.failure))])
    for page in pages:
        assert Page(file=page).faults() == [], page


def test_what_changed_in_the_last_night_comes_first(yard: Farmyard) -> None:
    page = yard.page()
    assert page.texts(".//h2")[:3] == ["What changed in the last run", "Failures", "All models"]
    lines = page.texts(".//section[@aria-labelledby='changes']//li")
    assert lines[0].startswith("✕failed broken onnx gate golden: "), lines
    assert any(line.startswith("✓verified digits onnx") for line in lines)
    assert len(lines) == 2
    assert "1 skipped" in page.section("changes")


def test_a_failure_is_told_with_its_gate_its_words_and_its_log(yard: Farmyard) -> None:
    told = yard.page().section("failures")
    assert "gate golden" in told and "7.png" in told and "nothing was published" in told
    assert "digits" not in told
    page = yard.page_of(yard.failure)
    assert "Nothing was published" in page.section("why")
    assert f"failed/broken/onnx/{yard.failure.name}" in page.section("why")
    ended = {row[0]: row[1] for row in (page.texts(f".//table[@class='gates']//tr[{number}]/*")
                                        for number in range(1, 8)) if row}
    assert ended["golden"] == "✕failed" and ended["parity"] == "✓passed"
    log = (yard.failure / "convert.log").read_text()
    assert " ".join(log.split()[-8:]) in page.section("logs")


def test_the_matrix_has_a_word_for_every_variant(yard: Farmyard) -> None:
    cells = yard.page().all(".//table[@class='matrix']//td[@data-state]")
    states = {(cell.get("data-variant"), cell.get("data-state")) for cell in cells}
    assert states == {("onnx", "verified"), ("onnx", "failed"), ("tnn", "skipped")}


def test_the_figures_are_those_of_the_artifact(yard: Farmyard) -> None:
    for version in (yard.first, yard.second):
        smoke: dict[str, Any] = json.loads((version / "smoke.json").read_text())
        page = yard.page_of(version)
        gates = page.texts(".//table[@class='gates']//tbody/tr/th")
        assert gates == GATES
        assert page.texts(".//table[@class='gates']//tbody/tr/td[1]") == ["✓passed"] * 7
        assert f"{smoke['latency']['median_ms']:.3g} ms" in page.section("glance")
        for unit, error in smoke["worst"].items():
            assert f"{error:.3g} {unit}" in page.section("glance")
        operators = {row[0]: row[1] for row in _rows(page, "graph")}
        assert {name: operators[name] for name in smoke["facts"]["nodes"]} == {
            name: str(count) for name, count in smoke["facts"]["nodes"].items()}
        key = json.loads((version / "manifest.json").read_text())[
            "predicate"]["buildDefinition"]["internalParameters"]["key"]
        assert key in page.section("provenance")


def _rows(page: Page, section: str) -> list[list[str]]:
    rows = page.all(f".//section[@aria-labelledby='{section}']//table[@class='bars']//tbody/tr")
    return [["".join(cell.itertext()) for cell in row] for row in rows]


def test_versions_are_shown_over_time_and_lead_to_each_other(yard: Farmyard) -> None:
    page = yard.page_of(yard.second)
    table = page.section("time")
    assert yard.first.name in table and yard.second.name in table
    assert "The one before:" in page.words
    assert f"{yard.first.name}.html" in list(page.links())
    assert "A newer version:" in yard.page_of(yard.first).words


def test_pictures_are_those_of_the_artifact(yard: Farmyard) -> None:
    page = yard.page_of(yard.second)
    shown = [image.get("src") for image in page.all(".//img")]
    assert len(shown) == 10
    for source in shown:
        file = page.file.parent / unquote(source)
        assert file.read_bytes() == (yard.second / file.name).read_bytes()
    alternatives = [image.get("alt") for image in page.all(".//img")]
    assert "0.png: source and artifact find 0" in alternatives[0]


def test_nothing_is_written_again_until_something_changes(yard: Farmyard, tmp_path: Path) -> None:
    before = _digests(yard.report)
    assert "3 pages, 0 written anew" in make_report(yard.shop).out
    after = _digests(yard.report)
    assert {name for name in before if before[name] != after[name]} <= {"index.html"}, "its date alone"
    copy = Shop(artifacts=tmp_path / "artifacts", models=yard.shop.models)
    shutil.copytree(yard.shop.artifacts, copy.artifacts, symlinks=True)
    (copy.latest("digits") / "model.onnx").write_bytes(b"damaged")
    assert make_report(copy).code == 0
    index = Page(file=copy.artifacts / "report" / "index.html")
    assert "model.onnx has 7 bytes where the manifest says" in index.section("failures")


def _digests(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in folder.rglob("*") if file.is_file()}


def test_the_place_of_the_store_is_not_in_the_pages(yard: Farmyard) -> None:
    for file in yard.report.rglob("*.html"):
        text = file.read_text()
        logs = text.partition('aria-labelledby="logs"')[0]
        assert str(yard.shop.artifacts) not in logs.replace("everything is kept in", ""), file


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def moved(yard: Farmyard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report alone, as somebody gets it who has downloaded it from CI."""
    folder = tmp_path_factory.mktemp("downloads") / "report"
    shutil.copytree(yard.report, folder)
    return folder


@NEEDED
@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")])
def test_every_page_is_quiet_and_open_to_all(browser: Browser, moved: Path, width: int, scheme: str) -> None:
    for page in sorted(moved.rglob("*.html")):
        browser.show(page, width=width, scheme=scheme)
        assert browser.complaints == []
        assert browser.ask("document.documentElement.scrollWidth") <= width, page
        browser.ask("document.querySelectorAll('details').forEach(each => each.open = true)")
        browser.ask("[...document.images].forEach(image => image.loading = 'eager')")
        assert browser.barriers() == [], page
        assert browser.ask("document.documentElement.scrollWidth") <= width, f"{page}, all opened"
        assert browser.ask("[...document.images].filter(i => i.complete && !i.naturalWidth).length") == 0


@NEEDED
def test_from_a_failure_one_key_leads_to_its_page(browser: Browser, moved: Path, yard: Farmyard) -> None:
    browser.show(moved / "index.html")
    browser.ask("document.querySelector('#changes ~ ul a').focus()")
    browser.press(Keys.ENTER)
    assert browser.ask("location.pathname").endswith(f"/broken/onnx/{yard.failure.name}.html")
    assert browser.ask("document.querySelector('h1').textContent").startswith("broken onnx")


@NEEDED
def test_the_pictures_are_seen(browser: Browser, moved: Path, yard: Farmyard) -> None:
    browser.show(moved / yard.page_of(yard.second).file.relative_to(yard.report))
    browser.ask("[...document.images].forEach(image => image.loading = 'eager')")
    drawn = browser.ask("Promise.all([...document.images].map(i => i.decode())).then(() =>"
                        " [...document.images].map(i => [i.naturalWidth, i.naturalHeight]))")
    assert len(drawn) == 10 and all(width > 0 and height > 0 for width, height in drawn)
