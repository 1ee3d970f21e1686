"""Weights that come over the network: the real download code, against a server on loopback."""

from __future__ import annotations

import functools
import hashlib
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfarm.settings import ROOT
from tests.end.conftest import Shop

WEIGHTS = ROOT / "models" / "digits" / "digits.pt"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serve the digits' weights on loopback."""
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copy(WEIGHTS, folder / "far.pt")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()


def remote(shop: Shop, folder: Path, url: str, sha256: str) -> Shop:
    """Return the shop with a digits model whose weights are elsewhere."""
    model = folder / "models" / "digits"
    shutil.copytree(ROOT / "models" / "digits", model)
    (model / "digits.pt").unlink()
    recipe = (model / "model.yaml").read_text()
    assert "{file: digits.pt}" in recipe
    named = f"{{file: far.pt, sha256: {sha256}, url: '{url}/far.pt'}}"
    (model / "model.yaml").write_text(recipe.replace("{file: digits.pt}", named))
    return Shop(artifacts=shop.artifacts, models=model.parent)


@pytest.fixture
def cache(tmp_path: Path, onnx_python: Path) -> str:
    """Return an empty cache that has the toolchain already."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "venvs").symlink_to(onnx_python.parent.parent.parent)
    return str(folder)


def test_weights_are_downloaded_checked_and_kept(shop: Shop, tmp_path: Path, server: str, cache: str) -> None:
    away = remote(shop, tmp_path, server, hashlib.sha256(WEIGHTS.read_bytes()).hexdigest())
    ran = away.run("convert", "--model", "digits", MODELFARM_CACHE=cache)
    assert ran.code == 0, ran.err
    assert "download the weights" in ran.out
    again = away.run("convert", "--model", "digits", MODELFARM_CACHE=cache)
    assert "cached" in again.out
    assert "download the weights" not in again.out


def test_other_weights_than_the_recipe_names_are_refused(shop: Shop, tmp_path: Path, server: str, cache: str) -> None:
    ran = remote(shop, tmp_path, server, "0" * 64).run("convert", "--model", "digits", MODELFARM_CACHE=cache)
    assert ran.code == 4
    assert "holds another file than the recipe names" in ran.err
    assert not list(Path(cache).glob("downloads/*/*.pt"))
