"""What tests of publishing share: a real registry on loopback, an artifact of toys, keys that openssl made."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.digest import Digests, key_of
from modelfarm.registry import line
from modelfarm.registry.line import Line
from modelfarm.registry.shelf import Shelf
from modelfarm.store import Store
from tests.images.registry import Registry, running_registry
from tests.toys import Toys, make_toys


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The files of a private and a public key."""

    private: Path
    public: Path


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let second attempts follow at once, and nobody be logged in anywhere."""
    monkeypatch.setattr(line, "_PAUSE", 0.0)
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "EXTRA_CA", "COSIGN_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "nobody"))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def shelf(registry: Registry, request: pytest.FixtureRequest) -> Shelf:
    """Return an empty repository of the test's own."""
    return Shelf(Line(f"{registry.host}/{own_name(request)}"))


def own_name(request: pytest.FixtureRequest) -> str:
    """Return a name for a repository that no other test has."""
    plain = "".join(letter for letter in request.node.name.lower() if letter.isalnum())
    return f"{plain[:40]}-{key_of(request.node.nodeid)[:8]}"


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, toy_cache: Path) -> Toys:
    """Return a farm whose store has a good artifact, one of random weights and a failure; tests do not change it."""
    toys = make_toys(tmp_path_factory.mktemp("shop"), toy_cache)
    toys.model()
    for job in (*toys.jobs(), *toys.jobs(weights="random")):
        toys.builder().build(job, quiet())
    return toys


@pytest.fixture(scope="session")
def artifact(shop: Toys) -> Artifact:
    found = shop.farm.store.latest("toy", "toy")
    assert found
    return found


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    """Return a store with nothing in it."""
    return Store(tmp_path / "fetched", Digests(tmp_path / "digests"))


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("strangers"))


def make_pair(folder: Path, curve: str = "P-256") -> Pair:
    """Make keys with openssl."""
    private, public = folder / "own.key", folder / "own.pub"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    return Pair(private=private, public=public)


def openssl(*words: str | Path) -> str:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def quiet() -> Console:
    return Console(io.StringIO(), live=False)
