"""What tests share: the data folder, the toolchain, a farm of their own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelfarm.console import Console
from modelfarm.runners.venv import VenvRunner
from modelfarm.settings import ROOT, from_environment
from modelfarm.target import read_targets
from tests.images.registry import Registry, running_registry
from tests.toys import Toys, make_toy_wheel, make_toys

if TYPE_CHECKING:
    from tests.engines.cluster import Cluster

# Tests that want containers say so themselves, whatever this machine has.
os.environ.setdefault("RUNNER", "venv")

# A shell starts what runs in its background with Ctrl-C ignored, and children inherit that; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

Toolchain = Callable[..., Any]


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of real weights and pictures, or skip."""
    folder = Path(os.environ.get("MODELFARM_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "golden.json").is_file():
        pytest.skip(f"no data in {folder}; MODELFARM_DATA names the folder")
    return folder


@pytest.fixture(scope="session")
def interpreter_of() -> Callable[[str], Path]:
    """Return a function that gives the interpreter of a toolchain, installed where it is not yet."""
    settings, targets = from_environment(), read_targets()
    runner = VenvRunner(environments=settings.environments, torch_index=settings.torch_index)

    def interpreter(name: str) -> Path:
        runner.prepare(targets[name], Console())
        return runner.folder(targets[name]) / "bin" / "python"

    return interpreter


@pytest.fixture(scope="session")
def onnx_python(interpreter_of: Callable[[str], Path]) -> Path:
    """Return the interpreter of the onnx toolchain, installed where it is not yet."""
    return interpreter_of("onnx")


@pytest.fixture(scope="session")
def toolchain(onnx_python: Path) -> Toolchain:
    """Return a function that runs code in the onnx toolchain and returns the JSON of its last line."""

    def run(code: str, *arguments: str) -> Any:
        done = subprocess.run([onnx_python, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def toy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache in which the toy toolchain is installed, from a wheel made here."""
    folder = tmp_path_factory.mktemp("toys")
    make_toy_wheel(folder / "wheels")
    toys = make_toys(folder, folder / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(folder / "wheels"))
        toys.farm.runners.venv.prepare(toys.target, Console(io.StringIO()))
    return folder / "cache"


@pytest.fixture
def toys(tmp_path: Path, toy_cache: Path) -> Toys:
    """Return a farm of toys with one model, `toy`, and an empty store."""
    toys = make_toys(tmp_path, toy_cache)
    toys.model()
    return toys


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a cluster whose scheduler serves all tests of a file; each hires its own workers."""
    from tests.engines.cluster import cluster  # not above: Dask takes a second to import, and few tests want it

    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def site(scheduler: Cluster) -> Iterator[Cluster]:
    """Return the cluster without workers."""
    yield scheduler
    for name in list(scheduler.workers):
        scheduler.kill(name)
    scheduler.connected(0)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Return a real registry on loopback."""
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry
