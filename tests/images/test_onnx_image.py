"""The onnx image as it is used: small, closed, for any user, equal each time, and without what it was built with."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelfarm.containers import Client, Image
from modelfarm.digest import Digests
from modelfarm.settings import ROOT
from modelfarm.target import read_target
from modelfarm.toolchain import sources
from tests.images.baking import Baked, Kitchen, a_kitchen

pytestmark = pytest.mark.images

BUDGET = 1.5e9  # bytes, uncompressed
CLOSED = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
CANARY = "canary-2c8f0b6de1a94f5c"  # stands in the certificate and in a proxy's exceptions, and nowhere else


def run(client: Client, image: str, *words: str, options: tuple[str, ...] = ()) -> str:
    return client.ask("run", "--rm", *CLOSED, *options, image, *words, seconds=300)


def shell(client: Client, image: Image, script: str) -> str:
    return run(client, image.identity, "-c", script, options=("--entrypoint", "/bin/sh"))


def described(client: Client, image: str, user: str = "") -> Any:
    return json.loads(run(client, image, "--describe", options=("--user", user) if user else ()))


def locked() -> dict[str, str]:
    """Return the pins of the lock for this machine."""
    lines = (ROOT / "docker" / "onnx" / "requirements.txt").read_text().splitlines()
    return {line.split("==")[0]: line.split("==")[1].split(" ;")[0] for line in lines
            if "==" in line.split(";")[0] and 'sys_platform != "linux"' not in line}


def test_it_keeps_to_its_size(onnx_image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n  onnx image: {onnx_image.size / 1e9:.2f} GB of {BUDGET / 1e9} GB")
    assert onnx_image.size <= BUDGET


def test_it_says_where_it_comes_from(onnx_image: Image, tmp_path: Path) -> None:
    digests, target = Digests(tmp_path), read_target(ROOT / "docker" / "onnx" / "target.yaml")
    labels = onnx_image.labels
    assert labels["modelfarm.target"] == "onnx" and labels["modelfarm.sources"] == sources(target, digests)
    assert labels["modelfarm.lock"] == digests.file(target.requirements)
    assert labels["modelfarm.base"].split()[0] in ("registry", "debootstrap")
    assert "ONNX" in labels["org.opencontainers.image.title"]
    assert labels["org.opencontainers.image.base.name"] in labels["modelfarm.base"]
    assert {"org.opencontainers.image.revision", "org.opencontainers.image.source"} <= labels.keys()


@pytest.mark.parametrize("user", ["", "12345:12345"])
def test_it_passes_its_own_test_as_whoever_runs_it(client: Client, onnx_image: Image, user: str) -> None:
    options = ("--tmpfs", "/tmp", *(("--user", user) if user else ()))
    said = run(client, onnx_image.identity, "--self-test", options=options).splitlines()
    assert [line for line in said if not line.startswith("ok ")] == []
    assert f"ok    user: not root, {user.partition(':')[0] or 65534}" in said
    assert "ok    compiler: none" in said
    assert f"ok    packages: {len(locked())} as in the lock" in said
    assert any(line.startswith("ok    job: model.onnx, error") for line in said)


def test_its_own_test_fails_as_root(client: Client, onnx_image: Image) -> None:
    words = [client.program, "run", "--rm", *CLOSED, "--tmpfs", "/tmp", "--user", "0", onnx_image.identity]
    done = subprocess.run([*words, "--self-test"], capture_output=True, text=True)
    assert done.returncode == 1 and "FAIL  user: this process is root's" in done.stdout


def test_it_describes_itself_alike_to_everybody(client: Client, onnx_image: Image) -> None:
    began = time.perf_counter()
    document = described(client, onnx_image.identity)
    assert time.perf_counter() - began < 60, "it is to be quick, where the files are read for the first time too"
    assert {name: package["version"] for name, package in document["packages"].items()} == locked()
    assert all(re.fullmatch("[0-9a-f]{64}", package["sha256"]) for package in document["packages"].values())
    assert (document["target"], document["python"].rpartition(".")[0]) == ("onnx", "3.11")
    assert document["machine"] and document["base"] == onnx_image.labels["modelfarm.base"]
    assert {"python3", "ca-certificates", "libc6"} <= document["system"].keys()
    assert not {"gcc", "python3-venv", "git"} & document["system"].keys()
    assert re.fullmatch("[0-9a-f]{64}", document["content"])
    for user in ("12345:12345", "0"):
        assert described(client, onnx_image.identity, user) == document


def test_it_holds_nothing_that_only_the_build_needs(client: Client, onnx_image: Image) -> None:
    script = "find /var/log /var/lib/apt/lists /var/cache/apt /tmp /run/secrets /usr/share/python-wheels -type f" \
             " 2>/dev/null; ls /opt/toolchain/bin | grep -x pip; ls /usr/local/bin; ls -A /opt/modelfarm"
    assert shell(client, onnx_image, f"{script}; true").split() == ["jobkit", "onnx"]
    assert shell(client, onnx_image, "ls /opt/modelfarm/onnx/*.yaml /opt/modelfarm/onnx/*.in 2>/dev/null; true") == ""


def test_its_bytecode_is_compiled_and_taken_as_it_is(client: Client, onnx_image: Image) -> None:
    code = "import glob, importlib.util as u\n" \
           "for name in ('/opt/modelfarm/jobkit/job.py', '/opt/modelfarm/onnx/converter.py', *glob.glob(" \
           "'/opt/toolchain/lib/python3*/site-packages/torch/__init__.py')):\n" \
           "    print(name.split('/')[-2], open(u.cache_from_source(name), 'rb').read(8)[4])"
    said = run(client, onnx_image.identity, "-c", code, options=("--entrypoint", "/opt/toolchain/bin/python"))
    # The second word of a .pyc, PEP 552: 1 for a digest that nobody compares.
    assert said.splitlines() == ["jobkit 1", "onnx 1", "torch 1"]


@pytest.fixture(scope="module")
def kitchen(client: Client, onnx_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kitchen]:
    with a_kitchen(tmp_path_factory.mktemp("again"), client) as kitchen:
        # As another person's checkout may have them.
        for file in kitchen.toolchains.rglob("*"):
            file.chmod(file.stat().st_mode | 0o020)
        yield kitchen


@pytest.fixture(scope="module")
def again(kitchen: Kitchen, tmp_path_factory: pytest.TempPathFactory) -> Baked:
    """Return the image built once more, without the cache, and with a secret that can be told from others."""
    return bake_anew(kitchen, tmp_path_factory.mktemp("secret"))


def bake_anew(kitchen: Kitchen, folder: Path) -> Baked:
    known = Path(os.environ.get("EXTRA_CA") or ssl.get_default_verify_paths().cafile or os.devnull)
    (folder / "ca.pem").write_text(f"{known.read_text()}\n# {CANARY}\n")
    baked = kitchen.bake("--no-cache", EXTRA_CA=str(folder / "ca.pem"), NO_PROXY=f"{CANARY}.invalid")
    assert baked.code == 0, baked.said[-4000:]
    return baked


def test_built_twice_it_is_the_same(client: Client, onnx_image: Image, kitchen: Kitchen, again: Baked,
                                    tmp_path: Path) -> None:
    first, second = described(client, onnx_image.identity), described(client, again.name)
    identity = client.image(again.name)
    assert identity is not None and identity.identity != onnx_image.identity, "it was built, not found"
    if first["system"] != second["system"]:
        # Debian has published something since the first was built; the two then follow each other at once.
        bake_anew(kitchen, tmp_path)
        first = described(client, again.name)
    assert first == second


def test_no_secret_is_in_any_layer_or_in_the_history(client: Client, again: Baked) -> None:
    assert CANARY not in client.ask("history", "--no-trunc", again.name)
    assert CANARY not in client.ask("image", "inspect", again.name)
    assert occurs(client, again.name, b"org.opencontainers.image.title"), "the search finds what is there"
    assert not occurs(client, again.name, CANARY.encode())


def occurs(client: Client, image: str, word: bytes) -> bool:
    """Search everything that a copy of the image would hand on."""
    with subprocess.Popen([client.program, "save", image], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        found, end = False, b""
        while block := saving.stdout.read(1 << 22):
            found = found or word in end + block
            end = block[-len(word):]
    assert saving.returncode == 0
    return found
