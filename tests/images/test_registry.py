"""Images go to a registry and come back by digest, verified; each fault has its own message and leaves nothing."""

from __future__ import annotations

import io
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm.console import Console
from modelfarm.containers import Client
from modelfarm.digest import Digests, key_of
from modelfarm.errors import FarmError, MachineError, RegistryError
from modelfarm.images.builds import build
from modelfarm.images.transfers import pull, push
from modelfarm.images.workshop import open_workshop
from tests.images.registry import Published, Registry, altered_line, digest_of, free_port, running_registry
from tests.images.toybox import Toy, a_toy, shell, write_root

pytestmark = pytest.mark.images

Layer = dict[str, tuple[int, bytes]]


@pytest.fixture(scope="module")
def layer() -> Layer:
    return shell()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def toy(tmp_path: Path, client: Client, layer: Layer) -> Iterator[Toy]:
    with a_toy(tmp_path, client, write_root(tmp_path / "root.tar", layer)) as toy:
        yield toy


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def console(stream: io.StringIO) -> Console:
    return Console(stream, live=False)


def lock_of(toy: Toy) -> bytes:
    return (toy.toolchains / "images.lock").read_bytes()


def refused(toy: Toy, kind: type[FarmError] = RegistryError) -> FarmError:
    """Pull, which must fail, and leave the engine and the lock as they were; returns the error."""
    before, lock = toy.images(), lock_of(toy)
    with pytest.raises(kind) as caught:
        pull(toy.workshop(), toy.target, Console(io.StringIO(), live=False))
    assert (toy.images(), lock_of(toy)) == (before, lock)
    assert type(caught.value) is kind
    return caught.value


# There and back

def test_what_was_pushed_comes_back_by_digest(toy: Toy, registry: Registry, console: Console,
                                              stream: io.StringIO) -> None:
    workshop = toy.workshop()
    pin = push(workshop, toy.target, f"{registry.host}/farm", console)
    made = workshop.image(toy.target)
    assert made is not None, "push builds what is not there"
    assert (pin.identity, pin.size, pin.architecture) == (made.identity, made.size, made.architecture)
    assert (pin.sources, pin.content) == (workshop.sources(toy.target), key_of(toy.name))
    assert pin.repository == f"{registry.host}/farm/{toy.name}"
    assert digest_of(registry.blob(pin.digest).read_bytes()) == pin.digest, "the registry holds those very bytes"
    assert workshop.published == {toy.name: pin}
    assert "commit it" in stream.getvalue()
    for name in [row.rpartition("@")[0] for row in toy.images() if "base" not in row]:
        toy.client.ask("image", "rm", name)
    assert workshop.image(toy.target) is None
    pulled = pull(workshop, toy.target, console)
    assert pulled.identity == made.identity
    assert workshop.image(toy.target) == pulled
    assert pin.image in pulled.repositories


def test_an_image_that_this_engine_never_saw_is_pulled_and_named(toy: Toy, registry: Registry, layer: Layer,
                                                                 console: Console, stream: io.StringIO) -> None:
    pin = toy.pin(toy.image_in(registry, layer=layer))
    image = pull(toy.workshop(), toy.target, console)
    assert (image.identity, toy.workshop().image(toy.target)) == (pin.identity, image)
    assert f"+ pull {registry.host}/farm/{toy.name}" in stream.getvalue()
    before = toy.images()
    assert pull(toy.workshop(), toy.target, console) == image
    assert "is there, as pinned" in stream.getvalue()
    assert toy.images() == before


def test_an_image_built_here_is_not_replaced_unless_told(toy: Toy, registry: Registry, layer: Layer,
                                                         console: Console, stream: io.StringIO) -> None:
    built = build(toy.workshop(), toy.target, console)
    pin = toy.pin(toy.image_in(registry, layer=layer))
    assert pull(toy.workshop(), toy.target, console) == built
    assert "built here; FORCE=1 pulls the one that was published" in stream.getvalue()
    assert pull(toy.workshop(FORCE="1"), toy.target, console).identity == pin.identity


def test_pushing_twice_gives_the_same_pin(toy: Toy, registry: Registry, console: Console) -> None:
    first = push(toy.workshop(), toy.target, f"{registry.host}/farm", console)
    lock = lock_of(toy)
    assert push(toy.workshop(), toy.target, f"{registry.host}/farm/", console) == first
    assert lock_of(toy) == lock


# What the lock says

def test_a_lock_without_the_target_says_what_makes_one(toy: Toy) -> None:
    error = refused(toy, MachineError)
    assert error.message == f"images.lock names no published image of {toy.name}"
    assert f"make images TARGET={toy.name}" in error.remedy and "make push REGISTRY=" in error.remedy


def test_a_lock_for_other_sources_is_refused_before_anything_is_fetched(toy: Toy) -> None:
    published = Published(image=f"127.0.0.1:{free_port()}/farm/{toy.name}@sha256:{'1' * 64}",
                          identity=f"sha256:{'2' * 64}", layer="")
    toy.pin(published, sources="a" * 64)
    error = refused(toy, MachineError)
    here = toy.workshop().sources(toy.target)[:16]
    assert "for other files than this checkout has: aaaaaaaaaaaaaaaa of " in error.message and here in error.message
    assert f"make images TARGET={toy.name} builds it here; git checkout" in error.remedy


def test_another_architecture_is_refused_before_anything_is_fetched(toy: Toy) -> None:
    published = Published(image=f"127.0.0.1:{free_port()}/farm/{toy.name}@sha256:{'1' * 64}",
                          identity=f"sha256:{'2' * 64}", layer="")
    toy.pin(published, architecture="s390x")
    error = refused(toy, MachineError)
    assert "is for s390x, this engine runs " in error.message and "make images" in error.remedy


def test_an_image_that_is_not_what_the_lock_says_is_refused(toy: Toy, registry: Registry, layer: Layer) -> None:
    published = toy.image_in(registry, layer=layer)
    toy.pin(published, content="b" * 64)
    assert f"its content is {key_of(toy.name)}, the lock says {'b' * 64}" in refused(toy).message
    toy.pin(published, identity=f"sha256:{'c' * 64}")
    assert f"the lock says sha256:{'c' * 64}" in refused(toy).message
    toy.pin(toy.image_in(registry, layer=layer, architecture="s390x"))
    assert "it is for s390x, the lock says amd64" in refused(toy).message
    other = {"modelfarm.target": toy.name, "modelfarm.sources": "d" * 64}
    toy.pin(toy.image_in(registry, layer=layer, labels=other))
    error = refused(toy)
    assert f"its label modelfarm.sources is {'d' * 64}, not" in error.message
    assert "do not use this one" in error.remedy


# What a registry does

def test_a_registry_that_is_down_is_named(toy: Toy, layer: Layer, tmp_path: Path) -> None:
    with running_registry(tmp_path / "registry") as registry:
        toy.pin(toy.image_in(registry, layer=layer))
    error = refused(toy)
    assert error.message.startswith(f"the registry {registry.host} cannot be reached: ")
    assert "connection refused" in error.message


def test_a_host_that_does_not_exist_is_named(toy: Toy, registry: Registry, layer: Layer) -> None:
    toy.pin(toy.image_in(registry, layer=layer), host="nowhere.invalid:5000")
    error = refused(toy)
    assert error.message.startswith("the registry nowhere.invalid:5000 cannot be reached: ")
    assert "no such host" in error.message


def test_a_registry_that_wants_a_login_says_how(toy: Toy, registry: Registry, layer: Layer, tmp_path: Path,
                                                console: Console) -> None:
    published = toy.image_in(registry, layer=layer)
    with running_registry(tmp_path / "closed", password=True) as closed:
        toy.pin(published, host=closed.host)
        error = refused(toy)
        assert "wants a login" in error.message
        assert error.remedy == f"docker login {closed.host}"
        lock = lock_of(toy)
        with pytest.raises(RegistryError, match=f"the registry {closed.host} wants a login") as caught:
            push(toy.workshop(), toy.target, f"{closed.host}/farm", console)
        assert caught.value.remedy == f"docker login {closed.host}"
        assert lock_of(toy) == lock
        assert [row for row in toy.images() if closed.host in row] == [], "no name of what was never pushed"


def test_a_digest_that_does_not_match_is_refused(toy: Toy, registry: Registry, layer: Layer) -> None:
    """A manifest is altered on its way, then a layer in the registry's own storage."""
    published = toy.image_in(registry, layer=layer)

    def respaced(path: str, body: bytes) -> bytes:
        return body.replace(b"{", b"{ ", 1) if "/manifests/" in path else body

    with altered_line(registry, respaced) as host:
        toy.pin(published, host=host)
        error = refused(toy)
    assert f"the registry {host} gave other bytes for" in error.message and "do not use it" in error.remedy
    toy.pin(published)
    blob = registry.blob(published.layer)
    whole = blob.read_bytes()
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    blob.write_bytes(damaged)
    error = refused(toy)
    assert "gave other bytes for" in error.message and "layer verification failed" in error.message
    blob.write_bytes(whole)
    pull(toy.workshop(), toy.target, Console(io.StringIO(), live=False))


def test_half_a_blob_is_told_and_leaves_nothing(toy: Toy, registry: Registry, layer: Layer, console: Console) -> None:
    published = toy.image_in(registry, layer=layer)
    with altered_line(registry, lambda path, body: body, half=f"/blobs/{published.layer}") as host:
        toy.pin(published, host=host)
        error = refused(toy)
    assert f"the registry {host} gave only a part of" in error.message
    assert "run again" in error.remedy
    toy.pin(published)
    assert pull(toy.workshop(), toy.target, console).identity == published.identity, "the next pull is whole"


def test_a_registry_that_lost_a_blob_is_told(toy: Toy, registry: Registry, layer: Layer) -> None:
    published = toy.image_in(registry, layer=layer)
    toy.pin(published)
    registry.blob(published.layer).unlink()
    assert "gave only a part of" in refused(toy).message


def test_a_registry_in_trouble_is_told(toy: Toy, registry: Registry, layer: Layer) -> None:
    published = toy.image_in(registry, layer=layer)
    with altered_line(registry, lambda path, body: 503 if "/manifests/" in path else body) as host:
        toy.pin(published, host=host)
        error = refused(toy)
    assert f"the registry {host} is in trouble" in error.message and "try again later" in error.remedy


def test_a_repository_that_does_not_exist_is_told(toy: Toy, registry: Registry) -> None:
    image = f"{registry.host}/farm/{toy.name}@sha256:{'1' * 64}"
    toy.pin(Published(image=image, identity=f"sha256:{'2' * 64}", layer=""))
    error = refused(toy)
    assert f"the registry {registry.host} has no {image}" in error.message
    assert "docker/images.lock" in error.remedy


def test_a_tag_that_moved_is_told_with_both_digests(toy: Toy, registry: Registry, layer: Layer) -> None:
    published = toy.image_in(registry, layer=layer)
    toy.pin(published)
    registry.remove(f"farm/{toy.name}", published.digest)
    later = toy.image_in(registry, layer={**layer, "later": (0o644, b"later")})
    error = refused(toy)
    assert error.message.startswith("the tag moved: images.lock has ")
    assert published.digest in error.message and later.digest in error.message
    assert "commit the new lock" in error.remedy


def test_old_images_stay_where_the_registry_stops_half_way(toy: Toy, registry: Registry, layer: Layer) -> None:
    """The registry is gone between the manifest and the layer."""
    build(toy.workshop(), toy.target, Console(io.StringIO(), live=False))
    toy.write(self_test="echo another checkout")
    published = toy.image_in(registry, layer=layer)
    stopped = threading.Event()

    def stop(path: str, body: bytes) -> Any:
        if "/blobs/" in path:
            stopped.set()
        return 500 if stopped.is_set() else body

    with altered_line(registry, stop) as host:
        toy.pin(published, host=host)
        refused(toy)
    assert stopped.is_set()
    assert len([row for row in toy.images() if f"modelfarm/{toy.name}:" in row]) == 1


# What a push checks

def test_the_lock_changes_only_where_the_registry_holds_what_was_pushed(toy: Toy, registry: Registry,
                                                                        console: Console) -> None:
    """Pushing succeeds, but the registry is closed when it is asked what it holds."""
    build(toy.workshop(), toy.target, console)
    lock = lock_of(toy)

    class Deaf(Client):
        def ask(self, *words: str | Path, seconds: float = 60.0) -> str:
            if "imagetools" in words:
                registry.stop()
            return super().ask(*words, seconds=seconds)

    workshop = toy.workshop()
    deaf = Deaf(workshop.client.name, workshop.client.program)
    try:
        with pytest.raises(RegistryError, match="cannot be reached"):
            push(replace(workshop, client=deaf), toy.target, f"{registry.host}/farm", console)
    finally:
        registry.start()
    assert lock_of(toy) == lock
    assert [row for row in toy.images() if registry.host in row] == []


def test_a_push_to_a_registry_that_is_down_changes_nothing(toy: Toy, console: Console) -> None:
    build(toy.workshop(), toy.target, console)
    before, lock = toy.images(), lock_of(toy)
    with pytest.raises(RegistryError, match="cannot be reached"):
        push(toy.workshop(), toy.target, f"127.0.0.1:{free_port()}/farm", console)
    assert (toy.images(), lock_of(toy)) == (before, lock)


def test_a_stranger_under_the_name_of_the_image_is_not_pushed(toy: Toy, registry: Registry, console: Console) -> None:
    toy.client.ask("tag", f"modelfarm/debian:{toy.release}", toy.workshop().name(toy.target))
    with pytest.raises(MachineError, match="not what its name says: its label modelfarm.target is missing") as caught:
        push(toy.workshop(), toy.target, f"{registry.host}/farm", console)
    assert "FORCE=1" in caught.value.remedy


def test_an_engine_that_does_not_answer_is_named(toy: Toy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(MachineError, match="docker does not answer: .*no.sock"):
        toy.workshop()
    monkeypatch.setenv("DOCKER", "no-such-docker")
    with pytest.raises(MachineError, match="images need docker, which is not on the PATH"):
        open_workshop(tmp_path, Digests(tmp_path), toolchains=toy.toolchains, environment={})


def test_podman_pulls_too(toy: Toy, podman: Client, registry: Registry, layer: Layer, console: Console, tmp_path: Path,
                          monkeypatch: pytest.MonkeyPatch) -> None:
    insecure = tmp_path / "registries.conf"
    insecure.write_text(f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(insecure))
    pin = toy.pin(toy.image_in(registry, layer=layer))
    workshop = replace(toy.workshop(), client=podman)
    try:
        image = pull(workshop, toy.target, console)
        assert (image.identity, image) == (pin.identity, workshop.image(toy.target))
    except MachineError as error:
        if "setrlimit" in error.message:
            pytest.skip("podman may not set the limits that it sets for every container")
        raise
    finally:
        subprocess.run([podman.program, "image", "rm", "--force", workshop.name(toy.target)], check=False)
    assert podman.image(workshop.name(toy.target)) is None
    toy.pin(Published(image=f"127.0.0.1:{free_port()}/farm@{pin.digest}", identity=pin.identity, layer=""))
    with pytest.raises(RegistryError, match="cannot be reached"):
        pull(workshop, toy.target, console)
