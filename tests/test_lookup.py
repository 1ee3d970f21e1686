"""Files are found in a fixed order, checked by digest, and downloaded whole or not at all."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from modelfarm.digest import Digests
from modelfarm.errors import MachineError, UsageError
from modelfarm.lookup import Lookup
from modelfarm.recipe import NamedFile
from modelfarm.settings import ROOT

BODY = b"weights " * 500_000  # four reads
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Serves BODY in the way that the path names."""

    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/whole")
            self.end_headers()
            return
        self.send_response(200)
        if self.path == "/nonsense":
            self.send_header("Content-Length", "many")
        elif self.path != "/unsized":
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:1000] if self.path in ("/short", "/stall") else BODY)
        if self.path == "/stall":
            self.wfile.flush()
            time.sleep(1.5)

    def log_message(self, format: str, *words: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as http:
        http.daemon_threads = True
        http.block_on_close = False
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.fixture
def lookup(tmp_path: Path) -> Lookup:
    for name in ("recipe", "one", "two", "one/weights", "two/images"):
        (tmp_path / name).mkdir()
    return Lookup(data=(tmp_path / "one", tmp_path / "two"), downloads=tmp_path / "downloads",
                  digests=Digests(tmp_path / "cache"), timeout=0.5)


def named(url: str | None = None, sha256: str | None = SHA256, file: str = "x.pt") -> NamedFile:
    return NamedFile(file=file, sha256=sha256, url=url)


def downloads(lookup: Lookup) -> list[str]:
    found = lookup.downloads.rglob("*") if lookup.downloads.is_dir() else ()
    return sorted(str(path.relative_to(lookup.downloads)) for path in found if path.is_file())


def test_a_file_is_sought_beside_the_recipe_then_in_the_data_folders_then_in_the_downloads(
        tmp_path: Path, lookup: Lookup, server: str) -> None:
    places = ["recipe/x.pt", "one/x.pt", "one/weights/x.pt", "two/x.pt", "two/images/x.pt", f"downloads/{SHA256}/x.pt"]
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(BODY)
    for place in places:
        assert lookup.file(named(f"{server}/missing"), tmp_path / "recipe") == tmp_path / place
        (tmp_path / place).unlink()
    assert lookup.file(named(f"{server}/whole"), tmp_path / "recipe") == tmp_path / places[-1]


def test_a_file_without_digest_is_taken_as_it_is(tmp_path: Path, lookup: Lookup) -> None:
    (tmp_path / "two" / "x.pt").write_bytes(b"anything")
    assert lookup.file(named(sha256=None), tmp_path / "recipe") == tmp_path / "two" / "x.pt"


def test_another_file_of_the_same_name_is_refused_with_both_digests(tmp_path: Path, lookup: Lookup) -> None:
    wrong = tmp_path / "one" / "weights" / "x.pt"
    wrong.write_bytes(b"another")
    with pytest.raises(MachineError) as caught:
        lookup.file(named(), tmp_path / "recipe")
    assert str(wrong) in caught.value.message
    assert SHA256 in caught.value.message
    assert hashlib.sha256(b"another").hexdigest() in caught.value.message
    assert f"WEIGHTS={wrong}" in caught.value.remedy


@pytest.mark.parametrize(("url", "sha256", "said"), [
    (None, SHA256, "the recipe gives no url"), (None, None, "the recipe gives no url"),
    ("http://127.0.0.1/x", None, "a url but no sha256 to check it by"),
])
def test_a_missing_file_is_reported_with_every_place(tmp_path: Path, lookup: Lookup, url: str | None,
                                                     sha256: str | None, said: str) -> None:
    with pytest.raises(MachineError) as caught:
        lookup.file(named(url, sha256), tmp_path / "recipe")
    for place in ("recipe", "one", "one/weights", "one/images", "two", "two/weights", "two/images", "downloads"):
        assert str(tmp_path / place) in caught.value.message
    assert said in caught.value.message
    assert "WEIGHTS=random" in caught.value.remedy


def test_nothing_is_downloaded_offline(tmp_path: Path, lookup: Lookup, server: str) -> None:
    offline = Lookup(data=lookup.data, downloads=lookup.downloads, digests=lookup.digests, offline=True)
    with pytest.raises(MachineError, match=f"{server}/whole was not asked"):
        offline.file(named(f"{server}/whole"), tmp_path / "recipe")
    assert downloads(lookup) == []


@pytest.mark.parametrize("path", ["whole", "unsized", "redirect"])
def test_a_download_is_kept_and_used_again(tmp_path: Path, lookup: Lookup, server: str, path: str) -> None:
    seen: list[tuple[int, int]] = []
    file = lookup.file(named(f"{server}/{path}"), tmp_path / "recipe", lambda done, of: seen.append((done, of)))
    assert file.read_bytes() == BODY
    assert downloads(lookup) == [f"{SHA256}/x.pt"]
    assert seen[-1] == (len(BODY), len(BODY))  # also where the server does not say how long it is
    assert seen == sorted(seen)
    assert len(seen) > 1
    assert lookup.file(named("http://127.0.0.1:1/gone"), tmp_path / "recipe") == file


@pytest.mark.parametrize(("path", "said"), [
    ("missing", "cannot be downloaded: Not Found"), ("short", f"ended after 1000 of {len(BODY)} bytes"),
    ("stall", "cannot be downloaded: timed out"), ("nonsense", "cannot be downloaded: invalid literal"),
])
def test_a_download_that_fails_leaves_nothing(tmp_path: Path, lookup: Lookup, server: str, path: str,
                                                  said: str) -> None:
    start = time.perf_counter()
    with pytest.raises(MachineError, match=said) as caught:
        lookup.file(named(f"{server}/{path}"), tmp_path / "recipe")
    assert f"{server}/{path}" in caught.value.message
    assert caught.value.remedy
    assert downloads(lookup) == []
    assert time.perf_counter() - start < 1.4


def test_a_download_with_another_digest_is_refused_and_not_kept(tmp_path: Path, lookup: Lookup, server: str) -> None:
    with pytest.raises(MachineError) as caught:
        lookup.file(named(f"{server}/whole", "0" * 64), tmp_path / "recipe")
    assert SHA256 in caught.value.message
    assert "0" * 64 in caught.value.message
    assert "nothing was kept" in caught.value.remedy
    assert downloads(lookup) == []


def test_a_server_that_never_answers_is_given_up(tmp_path: Path, lookup: Lookup) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.perf_counter()
        with pytest.raises(MachineError, match="timed out"):
            lookup.file(named(f"http://127.0.0.1:{silent.getsockname()[1]}/x"), tmp_path / "recipe")
    assert 0.4 < time.perf_counter() - start < 3


def test_a_server_that_is_not_there_is_named(tmp_path: Path, lookup: Lookup) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(MachineError, match=f"127.0.0.1:{port}/x cannot be downloaded: .*[Rr]efused"):
        lookup.file(named(f"http://127.0.0.1:{port}/x"), tmp_path / "recipe")


@pytest.mark.parametrize("url", ["http://[x/", "http://127.0.0.1:port/", "http://a b/"])
def test_a_url_that_is_none_is_named(tmp_path: Path, lookup: Lookup, url: str) -> None:
    with pytest.raises(MachineError, match="cannot be downloaded"):
        lookup.file(named(url), tmp_path / "recipe")


@pytest.mark.parametrize("file", ["../../../outside.pt", "/outside.pt", "sub/folder/outside.pt"])
def test_a_download_never_leaves_its_folder(tmp_path: Path, lookup: Lookup, server: str, file: str) -> None:
    found = lookup.file(named(f"{server}/whole", file=file), tmp_path / "recipe")
    assert found == lookup.downloads / SHA256 / "outside.pt"
    assert downloads(lookup) == [f"{SHA256}/outside.pt"]
    assert not (tmp_path / "outside.pt").exists()
    assert lookup.file(named("http://127.0.0.1:1/gone", file=file), tmp_path / "recipe") == found


def test_a_downloads_folder_that_cannot_be_made_is_named(tmp_path: Path, lookup: Lookup, server: str) -> None:
    lookup.downloads.write_text("a file")
    with pytest.raises(MachineError, match="cannot be downloaded: .*Not a directory|File exists"):
        lookup.file(named(f"{server}/whole"), tmp_path / "recipe")


def test_an_interrupted_download_leaves_nothing(tmp_path: Path, lookup: Lookup, server: str) -> None:
    def interrupt(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lookup.file(named(f"{server}/whole"), tmp_path / "recipe", interrupt)
    assert downloads(lookup) == []


def test_given_weights_are_found_from_anywhere(tmp_path: Path, lookup: Lookup, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "best.pt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for way in ("best.pt", "~/best.pt", str(tmp_path / "best.pt")):
        assert lookup.given(way) == tmp_path / "best.pt"


@pytest.mark.parametrize(("path", "said"), [("nothing.pt", "does not exist"), (".", "is a folder"),
                                            ("~nobody-of-this-name/x.pt", "does not exist"), ("x" * 300, "does not")])
def test_given_weights_that_are_not_there_are_a_usage_error(lookup: Lookup, path: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lookup.given(path)


def fill(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def test_patterns_match_in_the_first_folder_that_has_something(tmp_path: Path, lookup: Lookup) -> None:
    one = fill(tmp_path / "one" / "images", "a.png", "b.png")
    two = fill(tmp_path / "two", "a.png", "c.png", "d.npz")
    recipe = tmp_path / "recipe"
    assert lookup.matching(["*.png"], recipe) == one
    assert lookup.matching(["c.png", "*.png", "b.png"], recipe) == [two[1], *one]
    own = fill(recipe, "samples/z.png", "samples/y.png")
    assert lookup.matching(["samples/*.png", "*.npz"], recipe) == [*reversed(own), two[2]]
    assert lookup.matching([], recipe) == []
    assert lookup.matching([str(tmp_path / "two" / "*.npz")], recipe) == [two[2]]


def test_folders_do_not_match(tmp_path: Path, lookup: Lookup) -> None:
    (tmp_path / "recipe" / "a.png").mkdir()
    (found,) = fill(tmp_path / "two", "a.png")
    assert lookup.matching(["*.png"], tmp_path / "recipe") == [found]


def test_patterns_that_match_nothing_are_reported_together(tmp_path: Path, lookup: Lookup) -> None:
    fill(tmp_path / "one", "a.png")
    with pytest.raises(MachineError) as caught:
        lookup.matching(["*.jpg", "a.png", "samples/*.npz"], tmp_path / "recipe")
    assert caught.value.message.startswith("no file matches *.jpg, samples/*.npz; sought in ")
    assert str(tmp_path / "two" / "images") in caught.value.message
    assert "MODELFARM_DATA" in caught.value.remedy


def test_groups_of_patterns_are_found_together_and_reported_together(tmp_path: Path, lookup: Lookup) -> None:
    one = fill(tmp_path / "one", "a.png", "b.png")
    (array,) = fill(tmp_path / "recipe", "c.npz")
    recipe = tmp_path / "recipe"
    assert lookup.matching_all({"pictures": ["b.png", "*.png"], "arrays": ["*.npz"], "none": []}, recipe) == {
        "pictures": [one[1], one[0]], "arrays": [array], "none": []}
    with pytest.raises(MachineError) as caught:
        lookup.matching_all({"pictures": ["*.jpg", "*.png"], "arrays": ["*.npy"]}, recipe)
    assert caught.value.message.startswith("no file matches *.jpg, *.npy; sought in ")


_DOWNLOAD = """
import os, signal, sys
from pathlib import Path
from modelfarm.digest import Digests
from modelfarm.lookup import Lookup
from modelfarm.recipe import NamedFile
folder, url, sha256 = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
lookup = Lookup(data=(), downloads=folder / "downloads", digests=Digests(folder / "cache"))
named = NamedFile(file="x.pt", sha256=sha256, url=url)
lookup.file(named, folder, lambda done, of: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_what_killed_downloads_left_is_removed_by_the_next(tmp_path: Path, lookup: Lookup, server: str) -> None:
    died = subprocess.run([sys.executable, "-c", _DOWNLOAD, tmp_path, f"{server}/whole", SHA256], cwd=ROOT)
    assert died.returncode == -signal.SIGKILL
    (left,) = downloads(lookup)
    assert left.startswith(f"{SHA256}/.x.pt.")
    folder = lookup.downloads / SHA256
    others = [f".x.pt.{os.getppid()}", ".x.pt.1", ".x.pt.notes", f".y.pt.{left.rpartition('.')[2]}"]
    fill(folder, *others, f".x.pt.{10**30}")
    assert lookup.file(named(f"{server}/whole"), tmp_path / "recipe").read_bytes() == BODY
    assert downloads(lookup) == sorted(f"{SHA256}/{name}" for name in ("x.pt", *others))
