"""A browser: Debian's chromium, driven as a user would drive it, by keyboard and by eye."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import axe_core_python
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains

WIDE, NARROW = 1280, 360
# Root has no sandbox, tests have no screen, and nothing is to be fetched or remembered.
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
          "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage")
_AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def missing() -> str:
    """Return which programs are not on this machine; empty where all are."""
    return " and ".join(name for name in ("chromium", "chromedriver") if not shutil.which(name))


class Browser:
    """One window: what it shows, what is pressed in it, and what it complains of."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver
        self.complaints: list[str] = []

    def show(self, page: Path, *, width: int = WIDE, scheme: str = "light", media: str = "",
             scripts: bool = True) -> None:
        """Open a page in a window of a width, with a colour scheme, on screen or in print."""
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500})
        self._driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        self._driver.get(page.as_uri())
        self.complaints += [entry["message"] for entry in self._driver.get_log("browser")]

    def ask(self, script: str) -> Any:
        """Return what an expression of the page's script gives."""
        return self._driver.execute_script(f"return {script}")

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        for key in keys:
            ActionChains(self._driver).send_keys(key).perform()

    def picture(self) -> bytes:
        """Return what is to be seen, as a PNG."""
        return self._driver.get_screenshot_as_png()

    def barriers(self) -> list[str]:
        """Return what axe-core finds on the page that keeps people out, by WCAG 2.1 A and AA and good practice."""
        if not self.ask("typeof axe === 'object'"):
            self._driver.execute_script(_AXE)
        found = self._driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run(document).then(done, error => done({error: String(error)}));")
        assert "error" not in found, found
        return [f"{each['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
                for each in found["violations"] for node in each["nodes"]]


@contextmanager
def opened(folder: Path) -> Iterator[Browser]:
    """Open a browser with a new profile, and close it on every path."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*_FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(60)
        yield Browser(driver)
    finally:
        driver.quit()
