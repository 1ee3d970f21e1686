"""The container runner without an engine: the command that it makes, the script, and what it makes of an end."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm import toolchain
from modelfarm.containers import Client, Image
from modelfarm.digest import Digests
from modelfarm.errors import Interrupted, MachineError
from modelfarm.runners import sandbox
from modelfarm.runners.container import ContainerRunner
from modelfarm.settings import ROOT
from modelfarm.target import Target, read_target
from tests.gpus import RTX_3060

IDENTITY = f"sha256:{'ab' * 32}"
LIMITS = {"memory": 1 << 30, "processes": 77}

# A client that knows one image, writes down what it is asked for, and fails as FAILS says.
CLIENT = """#!/bin/sh
printf '%s\\n' "$*" >> "$(dirname "$0")/asked"
if [ -e "$(dirname "$0")/down" ]; then echo "Cannot connect to the Docker daemon" >&2; exit 1; fi
case "$1 $2" in
  "image inspect") cat "$(dirname "$0")/image" || { echo "Error: No such image" >&2; exit 1; } ;;
  "info "*) cat "$(dirname "$0")/info" ;;
  "run "*) sleep 60 ;;
  "rm "*) [ "$(grep -c '^rm ' "$(dirname "$0")/asked")" -lt 3 ] || echo its-name ;;
esac
"""


@pytest.fixture
def target(tmp_path: Path) -> Target:
    folder = tmp_path / "docker" / "toy"
    folder.mkdir(parents=True)
    (folder / "target.yaml").write_text((ROOT / "docker" / "onnx" / "target.yaml").read_text())
    (folder / "Dockerfile").write_text("FROM scratch\n")
    return replace(read_target(folder / "target.yaml"), **LIMITS)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(CLIENT)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (program.parent / "info").write_text("[name=seccomp]\n")
    give_image(tmp_path)
    return Client("docker", str(program))


def give_image(folder: Path, **labels: str) -> None:
    entry = {"Id": IDENTITY, "Size": 1, "Architecture": "amd64", "Config": {"Labels": labels},
             "RepoDigests": [f"modelfarm/toy@sha256:{'0' * 64}", f"here.example:5000/farm/toy@sha256:{'1' * 64}"]}
    (folder / "bin" / "image").write_text(json.dumps([entry]))


@pytest.fixture
def runner(tmp_path: Path, client: Client) -> ContainerRunner:
    return ContainerRunner(client=client, digests=Digests(tmp_path / "cache"), memory=tmp_path / "cache" / "images")


def options(client: Client, target: Target, folder: str = "/jobs/one", user: str = "12:34") -> list[tuple[str, ...]]:
    return list(sandbox.options(client, target, folder, user))


def rootless(client: Client) -> Client:
    """Return a client of an engine that runs as an ordinary user."""
    Path(client.program).with_name("info").write_text("true\n" if client.name == "podman" else "[name=rootless]\n")
    return Client(client.name, client.program)


def test_the_sandbox_has_no_network_no_rights_and_one_place_to_write(client: Client, target: Target) -> None:
    made = options(client, target)
    for wanted in [("--pull", "never"), ("--network", "none"), ("--read-only",), ("--cap-drop", "ALL"), ("--init",),
                   ("--security-opt", "no-new-privileges"), ("--user", "12:34"), ("--pids-limit", "77"),
                   ("--memory", str(1 << 30)), ("--memory-swap", str(1 << 30)), ("--env", "MODELFARM_SANDBOX=1")]:
        assert wanted in made
    assert [option for option in made if option[0] == "--mount"] == [
        ("--mount", "type=bind,src=/jobs/one,dst=/job,readonly"),
        ("--mount", "type=bind,src=/jobs/one/out,dst=/job/out")]
    (limits,) = (word for _, *words in made for word in words if word.startswith("MODELFARM_LIMITS="))
    assert json.loads(limits.partition("=")[2]) == LIMITS
    assert not {"--privileged", "--cap-add", "--device", "--volume", "--pid", "--ipc"} & {option[0] for option in made}


@pytest.mark.parametrize(("name", "wanted"), [
    ("docker", ("--gpus", f"device={RTX_3060.uuid}")),
    ("podman", ("--device", f"nvidia.com/gpu={RTX_3060.uuid}")),
])
def test_a_gpu_is_handed_to_the_job_that_wants_one_and_to_no_other(client: Client, target: Target, name: str,
                                                                   wanted: tuple[str, str]) -> None:
    engine = replace(client, name=name)
    without = options(engine, target)
    given = list(sandbox.options(engine, target, "/jobs/one", "12:34", RTX_3060))
    assert [option for option in given if option not in without] == [
        wanted, ("--env", "NVIDIA_DRIVER_CAPABILITIES=compute,utility")]
    assert [option for option in without if option not in given] == []
    assert not any("nvidia" in word.lower() or word == "--gpus" for option in without for word in option)


def test_the_container_and_the_script_ask_for_the_runners_gpu(tmp_path: Path, runner: ContainerRunner,
                                                              target: Target) -> None:
    words = ["--gpus", f"device={RTX_3060.uuid}"]
    with_gpu = replace(runner, gpu=RTX_3060)
    folder = tmp_path / "job"
    (folder / "out").mkdir(parents=True)
    ended = with_gpu.run(target, folder, tmp_path / "log", lambda: None, 0.2)
    assert ended.timed_out
    asked = next(line for line in (tmp_path / "bin" / "asked").read_text().splitlines() if line.startswith("run "))
    assert " ".join(words) in asked
    script = shlex.split(with_gpu.script(target).replace("\\\n", " "))
    assert words == script[script.index("--gpus"):][:2]
    assert "--gpus" not in runner.script(target)


def test_processors_are_limited_where_the_target_says_so(client: Client, target: Target) -> None:
    assert not any(option[0] == "--cpus" for option in options(client, target))
    assert ("--cpus", "1.5") in options(client, replace(target, cpus=1.5))


def test_a_path_with_a_comma_is_one_field_of_a_mount(client: Client, target: Target) -> None:
    made = options(client, target, 'a,"b"')
    assert ("--mount", 'type=bind,"src=a,""b""",dst=/job,readonly') in made


@pytest.mark.parametrize(("name", "wanted"), [
    ("docker", [("--user", "0:0")]),
    ("podman", [("--userns", "keep-id"), ("--user", "12:34")]),
])
def test_an_engine_without_root_maps_the_calling_user(client: Client, target: Target, name: str, wanted: Any) -> None:
    made = options(rootless(replace(client, name=name)), target)
    assert [option for option in made if option[0] in ("--user", "--userns")] == wanted


def test_podman_gets_no_places_to_write_of_its_own(client: Client, target: Target) -> None:
    assert ("--read-only-tmpfs=false",) in options(replace(client, name="podman"), target)
    assert ("--read-only-tmpfs=false",) not in options(client, target)


def test_the_script_asks_for_the_same_and_names_nothing_of_this_machine(tmp_path: Path, runner: ContainerRunner,
                                                                       target: Target) -> None:
    text = runner.script(target)
    assert str(tmp_path) not in text
    shown = subprocess.run(["sh", "-euc", f"docker() {{ printf '%s\\n' \"$@\"; }}\nJOB='/a b/c'\n{text}"],
                           capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = options(runner.client, target, "/a b/c", f"{os.getuid()}:{os.getgid()}")
    assert shown == ["run", "--rm", *(word for option in wanted for word in option),
                     f"here.example:5000/farm/toy@sha256:{'1' * 64}", "/job"]


def test_the_script_takes_the_image_by_its_identity_where_no_registry_has_it(runner: ContainerRunner,
                                                                            target: Target) -> None:
    names = tuple(f"{place}/modelfarm/toy@sha256:{'0' * 64}" for place in ("docker.io", "localhost"))
    local = Image(identity=IDENTITY, labels={}, size=1, architecture="amd64", repositories=names)
    runner._images[target.name] = local
    assert shlex.split(runner.script(target))[-2:] == [IDENTITY, "/job"]


def test_the_provenance_names_the_image_its_registries_and_what_it_was_made_from(
    tmp_path: Path, runner: ContainerRunner, target: Target
) -> None:
    give_image(tmp_path, **{"modelfarm.base": "debootstrap bookworm", "modelfarm.lock": "1", "modelfarm.sources": "2"})
    assert runner.provenance(target, runner.digests) == {
        "runner": "docker", "image": IDENTITY, "repositories": [f"here.example:5000/farm/toy@sha256:{'1' * 64}"],
        "base": "debootstrap bookworm", "lock": "1", "sources": "2"}


def test_the_engine_is_asked_once_for_an_image(tmp_path: Path, runner: ContainerRunner, target: Target) -> None:
    for _ in range(3):
        runner.image(target)
    assert (tmp_path / "bin" / "asked").read_text().count("image inspect") == 1


def test_an_image_that_is_missing_is_to_be_built(tmp_path: Path, runner: ContainerRunner, target: Target) -> None:
    (tmp_path / "bin" / "image").unlink()
    with pytest.raises(MachineError, match="docker has no image modelfarm/toy:[0-9a-f]{16}") as caught:
        runner.image(target)
    assert caught.value.code == 4
    assert "make images TARGET=toy" in caught.value.remedy
    assert "make pull" not in caught.value.remedy


@pytest.mark.parametrize("same", [True, False])
def test_a_published_image_of_these_sources_can_be_pulled(tmp_path: Path, runner: ContainerRunner, target: Target,
                                                          same: bool) -> None:
    (tmp_path / "bin" / "image").unlink()
    sources = toolchain.sources(target, runner.digests) if same else "0" * 64
    (tmp_path / "docker" / "images.lock").write_text(
        f"bases: {{}}\nimages:\n  toy: {{image: 'x/toy@{IDENTITY}', identity: '{IDENTITY}', sources: '{sources}', "
        f"content: '{sources}', size: 1, architecture: amd64, date: '2026-07-31'}}\n")
    with pytest.raises(MachineError) as caught:
        runner.image(target)
    assert ("make pull" in caught.value.remedy) is same


def test_an_engine_that_is_down_says_so_in_its_own_words(tmp_path: Path, runner: ContainerRunner,
                                                         target: Target) -> None:
    (tmp_path / "bin" / "down").touch()
    with pytest.raises(MachineError, match="docker does not answer: Cannot connect to the Docker daemon"):
        runner.image(target)
    assert runner.sweep() == []


def test_a_toolchain_without_a_dockerfile_runs_in_no_container(runner: ContainerRunner, target: Target) -> None:
    (target.folder / "Dockerfile").unlink()
    with pytest.raises(MachineError, match="no Dockerfile"):
        runner.image(target)


def test_a_container_that_the_engine_makes_late_is_removed_too(tmp_path: Path, runner: ContainerRunner,
                                                               target: Target) -> None:
    def stop() -> None:
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        runner.run(target, tmp_path, tmp_path / "log", stop, 60)
    asked = (tmp_path / "bin" / "asked").read_text().splitlines()
    removals = [line for line in asked if line.startswith("rm ")]
    assert len(removals) == 3
    assert set(removals) == {f"rm --force --volumes modelfarm-toy-{os.getpid()}-{removals[0].rpartition('-')[2]}"}
