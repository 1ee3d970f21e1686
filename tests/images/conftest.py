"""What tests with real containers share: the engine, the image, and that no container is left behind.

They run where IMAGES=1 asks for them. Then an engine that does not answer is a failure: a skipped test proves nothing.
"""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfarm.containers import Client, Image, find_client
from modelfarm.digest import Digests
from modelfarm.runners.owner import Owner
from modelfarm.settings import ROOT
from modelfarm.target import read_targets
from modelfarm.toolchain import local_name

HOW = "IMAGES=1 runs the tests with real containers; ci/engine run ... brings an engine"
LABEL = "modelfarm.job"  # on the container of every job
_RUN = ("MODELFARM_TEST_RUN", uuid.uuid4().hex)  # in the environment of all that this test run starts
_GOING = 10.0  # seconds that a container which is being removed may take
_BUILD = 1800.0  # seconds for an image from nothing, over a slow network


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "images: needs a container engine; every test below tests/images has it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not item.path.is_relative_to(Path(__file__).parent):
            continue
        item.add_marker(pytest.mark.images)
        if os.environ.get("IMAGES") != "1":
            item.add_marker(pytest.mark.skip(reason=HOW))
        elif item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_BUILD + 300))  # the first test that asks for the image waits for it


@pytest.fixture(scope="session")
def client() -> Client:
    """Return docker's client; a failure where its engine does not answer."""
    found = find_client("docker")
    if found is None:
        pytest.fail("IMAGES=1, but there is no docker on the PATH; ci/engine run ... brings an engine")
    if problem := found.problem():
        pytest.fail(f"IMAGES=1, but docker does not answer: {problem}; ci/engine run ... brings an engine")
    return found


@pytest.fixture(scope="session")
def podman() -> Client:
    """Return podman's client, or skip: docker is the engine that a machine for these tests must have."""
    found = find_client("podman")
    if found is None:
        pytest.skip("there is no podman on the PATH")
    if problem := found.problem():
        pytest.skip(f"podman does not answer: {problem}")
    return found


@pytest.fixture(scope="session")
def onnx_image(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the image of the onnx target, made as a user makes it: by `make images TARGET=onnx`."""
    make_image("onnx")
    digests = Digests(tmp_path_factory.mktemp("digests"))
    image = client.image(local_name(read_targets()["onnx"], digests))
    assert image is not None, "make images ended well, but the engine does not hold the image of this checkout"
    return image


def make_image(target: str) -> None:
    """Run `make images` as a user would: EXTRA_CA=, WHEELHOUSE= and the like come from the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", "--no-print-directory", "images", f"TARGET={target}"], cwd=ROOT, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_BUILD)
    assert done.returncode == 0, f"make images TARGET={target} ended with {done.returncode}:\n{done.stdout[-8000:]}"


@pytest.fixture(autouse=True)
def no_container_is_left(client: Client) -> Iterator[None]:
    """Fail a test that leaves the container of a job, running or not."""
    before = containers_of_jobs(client)
    os.environ.update([_RUN])
    yield
    deadline = time.monotonic() + _GOING
    while left := containers_of_jobs(client) - before:
        if time.monotonic() > deadline:
            pytest.fail("containers of jobs are left:\n" + "\n".join(sorted(left)))
        time.sleep(0.2)


def containers_of_jobs(client: Client) -> set[str]:
    """Return the names and owners of jobs' containers, without those of a farm that somebody else has started."""
    listed = client.ask("ps", "--all", "--filter", f"label={LABEL}", "--format",
                        '{{.Names}} {{.Label "modelfarm.owner"}}').splitlines()
    return {line for line in listed if not _foreign(Owner.parse(line.partition(" ")[2]))}


def _foreign(owner: Owner | None) -> bool:
    """Say whether a container's owner lives and is none of this test run; of a dead one nobody can tell."""
    try:
        return owner is not None and "=".join(_RUN).encode() not in Path(f"/proc/{owner.process}/environ").read_bytes()
    except OSError:
        return False
