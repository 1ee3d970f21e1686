"""Uploads that were broken off go on in the next run, against a real registry; what is remembered is never believed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from modelfarm.artifact import Artifact
from modelfarm.errors import RegistryError
from modelfarm.registry import transfer
from modelfarm.registry.line import Line
from modelfarm.registry.package import pack
from modelfarm.registry.publishing import Publisher
from modelfarm.registry.transfer import upload
from modelfarm.registry.uploads import Uploads
from modelfarm.settings import ROOT
from tests.images.registry import Registry
from tests.registry.conftest import own_name, quiet
from tests.registry.relay import Asked, Cut, Relay, relay
from tests.registry.test_transfer import CHUNK, blob, held
from tests.toys import Toys

# What a run does, in a process that can be killed.
SCRIPT = """
import sys
from pathlib import Path
from modelfarm.registry.line import Line
from modelfarm.registry.uploads import Uploads
from modelfarm.registry.transfer import upload
from tests.registry.test_transfer import CHUNK, blob
upload(Line(sys.argv[1]), blob(sys.argv[2]), chunk=CHUNK, uploads=Uploads(cache=Path(sys.argv[3])))
"""


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(cache=tmp_path / "cache")


class Trouble:
    """A line that breaks at a part, until it is mended."""

    def __init__(self, at: str) -> None:
        self.at, self.mended = at, False

    def __call__(self, asked: Asked) -> Cut | None:
        broken = not self.mended and asked.headers.get("Content-Range") == self.at
        return Cut() if broken else None


@contextmanager
def broken(registry: Registry, repository: str, seed: str, uploads: Uploads | None) -> Iterator[tuple[Relay, Line]]:
    """Give a line over which a blob went half way before it broke for good; it is mended since."""
    trouble = Trouble("3000-3999")
    with relay(registry, before=trouble) as there:
        line = Line(f"{there.host}/{repository}")
        with pytest.raises(RegistryError):
            upload(line, blob(seed), chunk=CHUNK, uploads=uploads)
        trouble.mended = True
        there.asked.clear()
        yield there, Line(f"{there.host}/{repository}")


def ranges(there: Relay) -> list[str]:
    return [each.headers["Content-Range"] for each in there.asked if each.method == "PATCH"]


def test_the_next_run_goes_on_where_the_last_one_ended(registry: Registry, uploads: Uploads,
                                                       request: pytest.FixtureRequest) -> None:
    seen: list[int] = []
    with broken(registry, own_name(request), "next run", uploads) as (there, line):
        assert upload(line, blob("next run"), seen.append, CHUNK, uploads)
        assert ranges(there) == ["3000-3999", "4000-4999"]
        assert there.count("POST", "uploads") == 0
    assert seen == [3000, 4000, 5000, 5007]
    assert held(registry, blob("next run")) == blob("next run").source
    assert list(uploads.folder.iterdir()) == [], "what has ended is forgotten"


def test_without_a_memory_the_next_run_starts_anew(registry: Registry, request: pytest.FixtureRequest) -> None:
    with broken(registry, own_name(request), "no memory", None) as (there, line):
        assert upload(line, blob("no memory"), chunk=CHUNK)
        assert ranges(there)[0] == "0-999" and there.count("POST", "uploads") == 1


def test_a_run_that_is_killed_is_taken_up(registry: Registry, uploads: Uploads,
                                          request: pytest.FixtureRequest) -> None:
    def slow(asked: Asked) -> None:
        if asked.headers.get("Content-Range") == "2000-2999" and not killed:
            time.sleep(2)

    killed: list[int] = []
    with relay(registry, before=slow) as there:
        place = f"{there.host}/{own_name(request)}"
        words = [sys.executable, "-c", SCRIPT, place, "killed", str(uploads.cache)]
        running = subprocess.Popen(words, cwd=ROOT)
        end = time.monotonic() + 30
        while "2000-2999" not in ranges(there):
            assert time.monotonic() < end and running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        killed.append(running.wait(30))
        there.asked.clear()
        assert upload(Line(place), blob("killed"), chunk=CHUNK, uploads=uploads)
        # The part that was on its way may have arrived after all.
        assert [each for each in ranges(there) if each in ("0-999", "1000-1999")] == []
    assert killed == [-signal.SIGKILL]
    assert held(registry, blob("killed")) == blob("killed").source


def test_an_upload_that_the_registry_has_purged_starts_anew(registry: Registry, uploads: Uploads,
                                                            request: pytest.FixtureRequest) -> None:
    repository = own_name(request)
    with broken(registry, repository, "purged", uploads) as (there, line):
        shutil.rmtree(registry.folder / "storage/docker/registry/v2/repositories" / repository / "_uploads")
        assert upload(line, blob("purged"), chunk=CHUNK, uploads=uploads)
        assert ranges(there)[0] == "0-999"
    assert held(registry, blob("purged")) == blob("purged").source


def test_a_registry_that_has_started_again_is_asked_and_not_believed(registry: Registry, uploads: Uploads,
                                                                     request: pytest.FixtureRequest) -> None:
    """Its addresses are sealed with a secret that is new with each start."""
    with broken(registry, own_name(request), "restarted", uploads) as (_, line):
        registry.stop()
        registry.start()
        assert upload(line, blob("restarted"), chunk=CHUNK, uploads=uploads)
    assert held(registry, blob("restarted")) == blob("restarted").source


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"place": 3}', '{"place": ""}', '{"place": "nonsense"}',
                                  '{"place": "http://127.0.0.1:9/v2/x"}'])
def test_a_damaged_memory_costs_nothing(registry: Registry, uploads: Uploads, text: str,
                                        request: pytest.FixtureRequest) -> None:
    line, made = Line(f"{registry.host}/{own_name(request)}"), blob(f"damaged {text}")
    uploads.keep(line.repository, made.descriptor.digest, "x")
    (file,) = uploads.folder.iterdir()
    file.write_text(text)
    assert upload(line, made, chunk=CHUNK, uploads=uploads)
    assert held(registry, made) == made.source


def test_what_goes_in_one_part_is_not_remembered(registry: Registry, uploads: Uploads,
                                                 request: pytest.FixtureRequest) -> None:
    upload(Line(f"{registry.host}/{own_name(request)}"), blob("small", CHUNK), chunk=CHUNK, uploads=uploads)
    assert not uploads.folder.exists()


def test_an_address_is_for_its_user_and_its_repository_alone(uploads: Uploads) -> None:
    uploads.keep("host/a", "sha256:1", "https://host/upload?token=s3cret")
    (file,) = uploads.folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert uploads.recall("host/a", "sha256:1") == "https://host/upload?token=s3cret"
    assert uploads.recall("host/b", "sha256:1") == uploads.recall("host/a", "sha256:2") == ""
    uploads.keep("host/a", "sha256:1", "https://host/next")
    assert json.loads(file.read_text())["place"] == "https://host/next"
    assert len(list(uploads.folder.iterdir())) == 1


def test_what_is_older_than_registries_keep_it_is_forgotten(uploads: Uploads) -> None:
    uploads.keep("host/a", "sha256:1", "https://host/1")
    (file,) = uploads.folder.iterdir()
    old = time.time() - 8 * 24 * 3600
    os.utime(file, (old, old))
    assert uploads.recall("host/a", "sha256:1") == ""
    uploads.keep("host/a", "sha256:2", "https://host/2")
    uploads.forget("host/a", "sha256:3")
    assert [uploads.recall("host/a", f"sha256:{n}") for n in (1, 2)] == ["", "https://host/2"]
    assert not file.exists()


def test_a_cache_that_cannot_be_written_stops_nothing(registry: Registry, tmp_path: Path,
                                                      request: pytest.FixtureRequest) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    made = blob("no cache")
    assert upload(Line(f"{registry.host}/{own_name(request)}"), made, chunk=CHUNK,
                  uploads=Uploads(cache=tmp_path / "cache"))
    assert held(registry, made) == made.source


def test_publishing_goes_on_in_the_middle_of_a_blob(shop: Toys, artifact: Artifact, registry: Registry,
                                                    monkeypatch: pytest.MonkeyPatch,
                                                    request: pytest.FixtureRequest) -> None:
    """The largest blob goes in two parts here, and the line breaks before the second."""
    *_, second, largest = sorted(each.descriptor.size for each in pack(artifact).blobs)
    part = max(second, largest // 2 + 1)
    assert part < largest
    first, trouble = f"0-{part - 1}", Trouble(f"{part}-{largest - 1}")
    monkeypatch.setattr("modelfarm.registry.publishing.transfer.upload", partial(transfer.upload, chunk=part))
    with relay(registry, before=trouble) as there:
        publisher = Publisher(store=shop.farm.store, registry=f"{there.host}/{own_name(request)}")
        with pytest.raises(RegistryError):
            publisher.publish(artifact, quiet())
        assert ranges(there).count(first) == 1
        trouble.mended = True
        there.asked.clear()
        publisher.publish(artifact, quiet())
        assert first not in ranges(there)
        assert [each for each in there.asked if each.headers.get("Content-Range") == trouble.at]
    memory = Uploads(cache=shop.cache)
    assert list(memory.folder.iterdir()) == []
