"""Publish, wipe the store, fetch: the real commands, a real artifact, a real registry; every refusal with its code."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.settings import ROOT
from tests.end.conftest import INVOKE, Ran, Shop
from tests.images.registry import Registry, free_port, running_registry
from tests.registry.conftest import Pair, make_pair
from tests.registry.relay import Answer, Asked, relay


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def published(stocked: Shop, registry: Registry, pair: Pair) -> Ran:
    """Publish the digits, signed."""
    ran = stocked.run("publish", "--model", "digits", "--registry", f"{registry.host}/farm", "--sign-key",
                      str(pair.private))
    assert ran.code == 0, ran.out + ran.err
    return ran


@pytest.fixture
def wiped(stocked: Shop, tmp_path: Path) -> Shop:
    """Return the shop with an empty store."""
    return replace(stocked, artifacts=tmp_path / "artifacts")


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()
            if file.name != "convert.log"}


def fetch(shop: Shop, registry: str, *words: str, **settings: str) -> Ran:
    return shop.run("fetch", "--model", "digits", "--registry", f"{registry}/farm", *words, **settings)


def is_empty(shop: Shop) -> bool:
    return not any(path.is_file() for path in shop.artifacts.rglob("*"))


def test_what_was_published_comes_back_with_equal_digests(stocked: Shop, wiped: Shop, registry: Registry,
                                                          published: Ran, pair: Pair) -> None:
    ran = fetch(wiped, registry.host, "--verify-key", str(pair.public))
    assert ran.code == 0, ran.out + ran.err
    assert digests(wiped.latest("digits")) == digests(stocked.latest("digits"))
    assert "the signature is good" in ran.out
    status = wiped.run("status")
    assert "digits" in status.out and "7 passed" in status.out
    shown = wiped.run("show", "--model", "digits")
    assert shown.out == stocked.run("show", "--model", "digits").out


def test_a_conversion_finds_what_was_fetched(wiped: Shop, registry: Registry, published: Ran) -> None:
    assert fetch(wiped, registry.host).code == 0
    ran = wiped.run("convert", "--model", "digits")
    assert ran.code == 0 and "cached" in ran.out


def test_what_was_printed_fetches_that_very_artifact(wiped: Shop, registry: Registry, published: Ran) -> None:
    digest = published.out.strip().rpartition("@")[2]
    ran = fetch(wiped, registry.host, "--variant", "onnx", "--digest", digest)
    assert ran.code == 0, ran.err
    gone = fetch(wiped, registry.host, "--variant", "onnx", "--digest", "sha256:" + "1" * 64)
    assert gone.code == 8 and "the tag moved" in gone.err


def test_a_flipped_byte_ends_with_seven_and_leaves_nothing(wiped: Shop, stocked: Shop, registry: Registry,
                                                           published: Ran) -> None:
    content = (stocked.latest("digits") / "model.onnx").read_bytes()
    blob = registry.blob(f"sha256:{hashlib.sha256(content).hexdigest()}")
    try:
        blob.write_bytes(content[:1000] + bytes([content[1000] ^ 8]) + content[1001:])
        ran = fetch(wiped, registry.host)
        assert ran.code == 7 and "is damaged: its bytes have the digest" in ran.err and "exit code 7" in ran.err
        assert is_empty(wiped)
    finally:
        blob.write_bytes(content)


def test_a_missing_signature_and_a_wrong_key_end_with_eight(stocked: Shop, wiped: Shop, registry: Registry,
                                                            published: Ran, pair: Pair, tmp_path: Path) -> None:
    ran = stocked.run("publish", "--model", "digits", "--registry", f"{registry.host}/unsigned/farm")
    assert ran.code == 0 and "not signed" in ran.out
    unsigned = fetch(wiped, f"{registry.host}/unsigned", "--verify-key", str(pair.public))
    assert unsigned.code == 8 and "is not signed: there is no" in unsigned.err
    wrong = fetch(wiped, registry.host, "--verify-key", str(make_pair(tmp_path).public))
    assert wrong.code == 8 and "is not signed with this key" in wrong.err
    assert is_empty(wiped)


def test_registries_that_are_down_or_closed_end_with_eight(stocked: Shop, wiped: Shop, tmp_path: Path) -> None:
    down = f"127.0.0.1:{free_port()}"
    for ran in (fetch(wiped, down), stocked.run("publish", "--model", "digits", "--registry", f"{down}/farm")):
        assert ran.code == 8 and f"the registry {down} cannot be reached" in ran.err
    with running_registry(tmp_path / "closed", password=True) as closed:
        nobody = {"DOCKER_CONFIG": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
        ran = fetch(wiped, closed.host, **nobody)
        assert ran.code == 8 and f"docker login {closed.host}" in ran.err
    assert is_empty(wiped)


def test_a_registry_that_stops_half_way_ends_with_eight(wiped: Shop, registry: Registry, published: Ran) -> None:
    stopped: list[bool] = []

    def stopping(asked: Asked) -> Answer | None:
        if "/blobs/" in asked.path:
            stopped.append(True)
        return Answer(status=502) if stopped else None

    with relay(registry, before=stopping) as there:
        ran = fetch(wiped, there.host)
    assert ran.code == 8 and "is in trouble" in ran.err
    assert is_empty(wiped)


def test_random_weights_are_not_published(stocked: Shop, shop: Shop, registry: Registry) -> None:
    assert shop.run("convert", "--model", "digits", "--weights", "random").code == 0
    words = ("publish", "--model", "digits", "--registry", f"{registry.host}/random")
    named = shop.run(*words, "--variant", "onnx-random")
    assert named.code == 6 and "its weights are random" in named.err
    swept = shop.run(*words)
    assert swept.code == 7 and "has no artifact to publish" in swept.err
    missing = shop.run(*words, "--variant", "onnx")
    assert missing.code == 7 and "digits has no onnx artifact" in missing.err


def test_words_that_are_off_end_with_two(stocked: Shop, registry: Registry, tmp_path: Path) -> None:
    for words, said in ((("publish",), "needs a registry"),
                        (("fetch", "--registry", registry.host), "which model?"),
                        (("publish", "--registry", registry.host, "--sign-key", "none"), "SIGN_KEY="),
                        (("fetch", "--registry", registry.host, "--version", "1"), "VARIANT=")):
        ran = stocked.run(*words, *(() if "which" in said else ("--model", "digits")))
        assert ran.code == 2 and said in ran.err, ran.err


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_fetch_that_is_stopped_leaves_nothing_half_and_the_next_one_ends_it(
        stocked: Shop, wiped: Shop, registry: Registry, published: Ran, how: signal.Signals) -> None:
    """The registry holds the line while the model is on its way; then the fetch is ended from outside."""
    model = hashlib.sha256((stocked.latest("digits") / "model.onnx").read_bytes()).hexdigest()

    def slow(asked: Asked) -> None:
        if asked.path.endswith(model):
            time.sleep(3)

    with relay(registry, before=slow) as there:
        words = [*INVOKE, "fetch", "--model", "digits", "--registry", f"{there.host}/farm"]
        running = subprocess.Popen(words, cwd=ROOT, env=wiped.environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not any(asked.path.endswith(model) for asked in there.asked):
            assert time.monotonic() < end and running.poll() is None
            time.sleep(0.02)
        running.send_signal(how)
        assert running.wait(30) in (130, -signal.SIGKILL)
        assert not (wiped.artifacts / "digits").exists()
    assert fetch(wiped, registry.host).code == 0
    assert digests(wiped.latest("digits")) == digests(stocked.latest("digits"))
    assert not list((wiped.artifacts / ".staging").iterdir()), "what was left is swept"


def test_make_hands_on_what_it_is_told(stocked: Shop, registry: Registry, pair: Pair, tmp_path: Path) -> None:
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}

    def make(*words: str, store: Path) -> Ran:
        done = subprocess.run(["make", "--no-print-directory", *words, f"ARTIFACTS={store}"], cwd=ROOT, env=outer,
                              capture_output=True, text=True, timeout=120)
        return Ran(code=done.returncode, out=done.stdout, err=done.stderr)

    store = tmp_path / "copy"
    shutil.copytree(stocked.artifacts, store, symlinks=True)
    place = f"REGISTRY={registry.host}/made"
    ran = make("publish", "MODEL=all", "TARGET=onnx", place, f"SIGN_KEY={pair.private}", store=store)
    assert ran.code == 0 and "  . signed" in ran.out, ran.err
    back = tmp_path / "back"
    version = stocked.latest("digits").name
    ran = make("fetch", "MODEL=digits", "VARIANT=onnx", f"VERSION={version}", place, f"VERIFY_KEY={pair.public}",
               store=back)
    assert ran.code == 0 and "the signature is good" in ran.out, ran.err
    ran = make("publish", "MODEL=digits", "VARIANT=onnx", "TARGET=onnx", place, store=store)
    assert ran.code == 2 and "Error 2" in ran.err
