"""The report in a real browser: quiet, readable at every width and in the dark, and usable by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from tests.site.browser import NARROW, WIDE, Browser, missing, opened
from tests.site.shelf import NOON, Shelf
from tests.site.test_record import night, row

DAY = 86400.0
MODELS = 130

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"{missing()} not on this machine (ci/browser installs them)")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Return a store with every kind of version, a night, and more models than one page of the table has."""
    shelf = Shelf(folder=tmp_path_factory.mktemp("store"))
    name = "a-model-with-quite-a-long-name-v2-640x640"
    for number in range(4):
        shelf.good(name, number=number, when=NOON + number * DAY, pictures=("a.png", "b.png"), size=1000 + number)
    shelf.good(name, "tflite-uint8", verification={"verified": "built, not run"},
               facts={"quantisation": [{"tensor": "x" * 60, "scale": 0.5, "zero_point": n} for n in range(20)],
                      "nodes": {"Conv": 5, "AVeryLongNameOfAnOperatorThatNobodyWouldBreak": 3}})
    shelf.failed(name, "tnn", reason=f"gate parity: {'x' * 200}\n  -> nothing was published", log="y" * 2000)
    (shelf.good("broken", when=NOON) / "model.onnx").unlink()
    for number in range(MODELS - 2):
        shelf.good(f"model-{number:03}", "onnx" if number % 2 else "trt", when=NOON)
    night(shelf, row(name, "onnx", version=shelf.latest(name).name),
          row(name, "trt-fp16", "skipped", reason="there is no GPU on this machine"), when=NOON + 9 * DAY)
    shelf.write()
    return shelf


@pytest.fixture(scope="module")
def pages(shelf: Shelf) -> list[Path]:
    """Return the index and a page of each kind."""
    folders = [shelf.latest("a-model-with-quite-a-long-name-v2-640x640", variant)
               for variant in ("onnx", "tflite-uint8")]
    (failure,) = [entry.folder for entry in shelf.store.failures()]
    return [shelf.page().file, *(shelf.page_of(folder).file for folder in (*folders, failure)),
            shelf.page_of(shelf.latest("broken")).file]


def shown(browser: Browser) -> list[str]:
    """Return the models that are to be seen in the table."""
    found: list[str] = browser.ask("[...document.querySelectorAll('table.matrix tbody tr')]"
                                   ".filter(row => row.offsetParent).map(row => row.dataset.model)")
    return found


def focused(browser: Browser) -> str:
    text: str = browser.ask("(document.activeElement.name || document.activeElement.className || "
                            "document.activeElement.tagName)")
    return text


def walk_to(browser: Browser, name: str, most: int = 400) -> None:
    """Press the Tab key until the focus is on a control."""
    for _ in range(most):
        if focused(browser) == name:
            return
        browser.press(Keys.TAB)
    raise AssertionError(f"no way to {name} by keyboard")


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_pages_are_quiet_and_as_wide_as_the_window(browser: Browser, pages: list[Path], width: int,
                                                   scheme: str) -> None:
    for page in pages:
        browser.show(page, width=width, scheme=scheme)
        assert browser.complaints == []
        assert browser.ask("document.documentElement.scrollWidth") <= width, page.name
        assert browser.ask("[...document.images].filter(i => i.complete && !i.naturalWidth).length") == 0


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_nothing_keeps_people_out(browser: Browser, pages: list[Path], width: int, scheme: str) -> None:
    for page in pages:
        browser.show(page, width=width, scheme=scheme)
        browser.ask("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert browser.barriers() == [], page.name


def test_the_check_for_barriers_can_fail(browser: Browser, pages: list[Path]) -> None:
    browser.show(pages[0])
    wrong = '<img src="data:,"><select></select>'
    browser.ask(f"document.querySelector('main').insertAdjacentHTML('beforeend', '{wrong}')")
    assert {found.partition(":")[0] for found in browser.barriers()} >= {"image-alt", "select-name"}


def test_the_scheme_of_the_machine_is_followed(browser: Browser, pages: list[Path]) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        browser.show(pages[1], scheme=scheme)
        picture = cv2.imdecode(np.frombuffer(browser.picture(), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        brightness[scheme] = float(np.median(picture))
    assert brightness["light"] > 230
    assert brightness["dark"] < 50


def test_the_first_key_leads_past_the_head_of_the_page(browser: Browser, pages: list[Path]) -> None:
    browser.show(pages[0])
    browser.press(Keys.TAB)
    assert focused(browser) == "skip"
    assert browser.ask("document.activeElement.getBoundingClientRect().left") >= 0
    browser.press(Keys.ENTER)
    assert browser.ask("document.activeElement.id") == "main"


def test_what_has_the_focus_is_seen(browser: Browser, pages: list[Path]) -> None:
    browser.show(pages[0])
    walk_to(browser, "words")
    assert browser.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert float(browser.ask("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")) >= 2


def test_the_table_is_searched_by_keyboard(browser: Browser, pages: list[Path]) -> None:
    browser.show(pages[0])
    walk_to(browser, "words")
    browser.press("model-00")
    assert shown(browser) == [f"model-00{digit}" for digit in range(10)]
    assert browser.ask("document.querySelector('#filter output').value") == f"10 of {MODELS} models"
    browser.press(Keys.BACKSPACE, " trt")
    assert shown(browser) == [f"model-{number:03}" for number in range(0, 100, 2)]
    walk_to(browser, "state")
    browser.press("failed")
    assert shown(browser) == []
    browser.press(Keys.TAB, Keys.TAB, Keys.ENTER)  # the variant, then Clear
    assert browser.ask("document.querySelector('#filter output').value") == f"{MODELS} models"


def test_states_and_variants_filter_rows_and_columns(browser: Browser, pages: list[Path]) -> None:
    browser.show(pages[0], width=NARROW)
    walk_to(browser, "state")
    browser.press("damaged")
    assert shown(browser) == ["broken"]
    browser.show(pages[0], width=NARROW)
    walk_to(browser, "state")
    browser.press("failed")
    assert shown(browser) == ["a-model-with-quite-a-long-name-v2-640x640"]
    browser.show(pages[0])
    walk_to(browser, "variant")
    browser.press("tnn")
    assert shown(browser) == ["a-model-with-quite-a-long-name-v2-640x640"]
    columns = browser.ask("[...document.querySelectorAll('table.matrix thead th')].filter(th => th.offsetParent)"
                          ".map(th => th.textContent)")
    assert columns == ["Model", "tnn"]


def test_long_tables_are_paged_by_keyboard(browser: Browser, pages: list[Path]) -> None:
    browser.show(pages[0])
    assert len(shown(browser)) == 100
    walk_to(browser, "next")
    browser.press(Keys.ENTER)
    assert len(shown(browser)) == MODELS - 100
    assert browser.ask("document.getElementById('place').textContent") == "page 2 of 2"
    assert browser.ask("document.querySelector('#pager button[name=next]').disabled")


def test_without_scripts_everything_is_there(browser: Browser, pages: list[Path]) -> None:
    browser.show(pages[0], scripts=False)
    picture = browser.picture()
    assert len(shown(browser)) == MODELS
    assert browser.ask("document.getElementById('filter').offsetParent === null")
    assert browser.ask("document.getElementById('pager').offsetParent === null")
    assert picture.startswith(b"\x89PNG")


def test_in_print_controls_are_left_out_and_paper_is_white(browser: Browser, pages: list[Path]) -> None:
    browser.show(pages[0], scheme="dark", media="print")
    assert browser.ask("document.getElementById('filter').offsetParent === null")
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.ask("getComputedStyle(document.body).color") == "rgb(31, 38, 44)"
