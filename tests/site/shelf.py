"""A shelf: stores filled quickly with versions whose age, figures and faults a test chooses.

The documents have the shape that the farm writes; tests/end/test_report.py holds the report against a store that the
farm itself has filled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import cv2
import html5lib
import numpy as np

from modelfarm.digest import Digests, key_of
from modelfarm.site.writer import Writer, Written
from modelfarm.store import Store

NOON = 1_790_000_000.0  # 2026-09-21 14:13 UTC
SVG = "{http://www.w3.org/2000/svg}"
GATES = ("complete", "signature", "finite", "parity", "predictions", "golden", "device")


def row(column: str, error: float, limit: float = 1e-3, **changes: Any) -> dict[str, Any]:
    return {"sample": "a.png", "group": "a.png", "column": column, "unit": "px", "max_error": error,
            "mean_error": error / 10, "relative": error / 100, "cosine": 0.999999995, "limit": limit,
            "cosine_limit": 0.999, "relative_limit": "inf", "passed": error <= limit, "samples": 3, **changes}


def smoke(**changes: Any) -> dict[str, Any]:
    """Return a smoke document with everything in it."""
    gates = [{"name": name, "state": "passed", "summary": f"{name} is fine", "reasons": []} for name in GATES]
    ranking = {"labels": ["cat", "dog"], "ranking": [3, 5], "scores": [0.75, 0.25]}
    face = {"box": [1.5, 2.0, 30.25, 40.0], "score": 0.875, "landmarks": [[1, 2], [3, 4]]}
    return {
        "schema": 1, "model": "m", "description": "a model to look at", "variant": "onnx", "precision": "fp32",
        "made_at": "2026-09-21T14:13:20Z", "made_from": [{"role": "weights", "name": "m.pt", "sha256": "ab" * 32}],
        "runner": "venv", "processor": "EPYC", "random_weights": False,
        "options": {"opset": 12, "dynamic": {"input": {"0": "batch"}}},
        "passed": True, "gates": gates, "worst": {"px": 0.0005}, "devices": {},
        "columns": [row("box", 0.0005), row("landmarks", 0.0001)], "parity": [row("box", 0.0005, samples=1)],
        "predictions": [{"sample": "a.png", "reference": [ranking], "artifact": [ranking]},
                        {"sample": "b.png", "reference": [face], "artifact": []}],
        "size": 1000, "files": {"model.onnx": 1000}, "previous": None,
        "timings": {"prepare": 0.25, "toolchain: convert": 2.5},
        "latency": {"median_ms": 10.0, "p95_ms": 12.0, "runs": 50, "sample": "a.png"},
        "device": {"wanted": "cpu", "used": "cpu", "detail": "CPUExecutionProvider"},
        "versions": {"onnx": "1.23.2"}, "facts": {"nodes": {"Conv": 6, "Relu": 3}, "opset": 12}, **changes}


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A store below a folder, and how to fill it."""

    folder: Path

    @cached_property
    def store(self) -> Store:
        return Store(self.folder / "artifacts", Digests(self.folder / "cache"))

    @property
    def report(self) -> Path:
        return self.store.root / "report"

    def write(self) -> Written:
        """Bring the report up to date, as a new process would."""
        return Writer(self.store).write()

    def good(self, model: str = "m", variant: str = "onnx", *, number: int = 0, when: float = NOON, size: int = 1000,
             verification: Mapping[str, Any] | None = None, pictures: tuple[str, ...] = (), **changes: Any) -> Path:
        """Put a published version into the store and return its folder; `latest` points to the last one put there."""
        key = key_of([model, variant, number])
        folder = self.store.root / model / variant / key[:16]
        folder.mkdir(parents=True)
        content = bytes(size)
        (folder / "model.onnx").write_bytes(content)
        subject = {"name": "model.onnx", "digest": {"sha256": hashlib.sha256(content).hexdigest()},
                   "annotations": {"size": size}}
        recipe = {"description": "of the recipe", "inputs": {"input": {"shape": [1, 3, 8, 8]}}}
        definition = {"internalParameters": {"key": key, "identity": {"target": "onnx"}, "toolchain": {"lock": "12ab"}},
                      "externalParameters": {"recipe": recipe},
                      "resolvedDependencies": [{"name": "m.pt", "digest": {"sha256": "ab" * 32},
                                                "annotations": {"role": "weights"}}]}
        manifest = {"subject": [subject], "predicate": {"buildDefinition": definition,
                                                        "verification": dict(verification or {})}}
        (folder / "smoke.json").write_text(json.dumps(smoke(**{"model": model, "variant": variant, **changes})))
        (folder / "convert.log").write_text("$ python -m jobkit\nconverted\n")
        for name in pictures:
            cv2.imwrite(str(folder / f"{name}.overlay.png"), np.full((20, 40, 3), 128, np.uint8))
        (folder / "manifest.json").write_text(json.dumps(manifest))
        os.utime(folder / "manifest.json", (when, when))
        latest = folder.parent / "latest"
        latest.unlink(missing_ok=True)
        latest.symlink_to(folder.name)
        return folder

    def failed(self, model: str = "m", variant: str = "onnx", *, number: int = 0, when: float = NOON,
               reason: str = "gate parity: box is off\n  -> nothing was published", log: str = "") -> Path:
        """Put a failure into the store and return its folder."""
        key = key_of([model, variant, "failed", number])
        folder = self.store.root / "failed" / model / variant / key[:16]
        folder.mkdir(parents=True)
        if reason:
            (folder / "reason.txt").write_text(reason)
        (folder / "convert.log").write_text(log or "$ python -m jobkit\nlast words\n")
        os.utime(folder, (when, when))
        return folder

    def latest(self, model: str = "m", variant: str = "onnx") -> Path:
        """Return the folder of the latest version."""
        return (self.store.root / model / variant / "latest").resolve(strict=True)

    def page(self, name: str = "index.html") -> Page:
        """Read a page of the report."""
        return Page(file=self.report / name)

    def page_of(self, version: Path) -> Page:
        """Read the page of a version's folder."""
        return self.page(f"{version.parent.parent.name}/{version.parent.name}/{version.name}.html")


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of the report, as a browser reads it."""

    file: Path

    @cached_property
    def source(self) -> str:
        return self.file.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> Any:
        """Parse it as HTML5; what is no valid HTML raises."""
        return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(self.source)

    @cached_property
    def words(self) -> str:
        """Return the words of the page in one line, without those of scripts and styles."""
        return _words(self.tree.find("body"))

    def all(self, path: str) -> list[Any]:
        """Return the elements at an XPath of the body, such as `.//td`."""
        found: list[Any] = self.tree.find("body").findall(path)
        return found

    def texts(self, path: str) -> list[str]:
        """Return the words of each element at a path."""
        return [_words(element) for element in self.all(path)]

    def drawings(self) -> list[Any]:
        """Return the drawings within the page."""
        return list(self.tree.iter(f"{SVG}svg"))

    def section(self, name: str) -> str:
        """Return the words of the section whose heading has this id; empty where there is none."""
        found = self.texts(f".//section[@aria-labelledby='{name}']")
        return found[0] if found else ""

    def links(self) -> Iterator[str]:
        """Yield every address that the page leads to or loads from."""
        parser = _Links()
        parser.feed(self.source)
        yield from parser.found

    def faults(self) -> list[str]:
        """Return what is wrong with the page: ids, alternatives, headings, links, tables, words for controls."""
        return [*self._ids(), *self._pictures(), *self._headings(), *self._addresses(), *self._references()]

    def _ids(self) -> Iterator[str]:
        ids = [element.get("id") for element in self.tree.iter() if element.get("id")]
        yield from (f"id {name} stands twice" for name in set(ids) if ids.count(name) > 1)

    def _pictures(self) -> Iterator[str]:
        for image in self.all(".//img"):
            if not image.get("alt") or not image.get("width"):
                yield f"{image.get('src')} has no words or no size"
        for drawing in self.drawings():
            if not drawing.get("aria-labelledby"):
                yield "a drawing has no title"

    def _headings(self) -> Iterator[str]:
        levels = [int(element.tag[1]) for element in self.tree.iter() if re.fullmatch("h[1-6]", str(element.tag))]
        if levels.count(1) != 1:
            yield f"{levels.count(1)} headings of the first level"
        yield from (f"h{after} follows h{before}" for before, after in pairwise(levels)
                    if after > before + 1)

    def _addresses(self) -> Iterator[str]:
        ids = {element.get("id") for element in self.tree.iter()}
        for link in self.links():
            parts = urlsplit(link)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc or link.startswith("/"):
                yield f"{link} leads out of the report"
            elif not parts.path:
                if parts.fragment not in ids:
                    yield f"{link} leads nowhere on the page"
            elif not (self.file.parent / unquote(parts.path)).is_file():
                yield f"{link} leads to no file"

    def _references(self) -> Iterator[str]:
        ids = {element.get("id") for element in self.tree.iter()}
        for element in self.tree.iter():
            for name in (element.get("aria-labelledby") or "").split():
                if name not in ids:
                    yield f"aria-labelledby names {name}, which is not there"


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("href", "src") and value]


def _words(element: Any) -> str:
    parts: list[str] = []

    def walk(here: Any) -> None:
        if here.tag in ("script", "style"):
            return
        parts.append(here.text or "")
        for child in here:
            walk(child)
            parts.append(f" {child.tail or ''}" if child.tag in ("li", "td", "th", "p", "div", "dt", "dd", "h2", "h3")
                         else child.tail or "")

    walk(element)
    return " ".join("".join(parts).split())
