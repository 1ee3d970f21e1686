"""The doctor: what is fine, what is worth a note, and what is lacking, each with its remedy."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm import doctor
from modelfarm.console import Console
from modelfarm.digest import Digests
from modelfarm.doctor import (
    Finding,
    examine_engines,
    examine_gpu,
    examine_machine,
    examine_recipes,
    examine_store,
    examine_toolchain,
    examine_toolchains,
    has_files,
)
from modelfarm.errors import MachineError
from modelfarm.lookup import Lookup
from modelfarm.runners import Runners, VenvRunner
from modelfarm.store import Store
from modelfarm.survey import surveys
from modelfarm.toolchain import local_name, sources
from tests.toys import Toys

DIGEST = f"sha256:{'a' * 64}"


def by_subject(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def lookup(toys: Toys, *data: Path) -> Lookup:
    return Lookup(data=data, downloads=toys.folder / "downloads", digests=Digests(toys.folder / "cache"), offline=True)


def build(toys: Toys) -> Path:
    (job,) = toys.jobs()
    return toys.builder().build(job, Console(io.StringIO())).artifact.folder


def test_a_machine_with_room_is_fine(toys: Toys) -> None:
    found = by_subject(examine_machine(toys.settings))
    assert list(found) == ["python", "machine", "store", "cache"]
    assert found["python"].detail.startswith(platform.python_version())
    assert str(os.cpu_count()) in found["machine"].detail
    assert {finding.state for finding in found.values()} <= {"ok", "note"}
    free = os.statvfs(toys.folder)
    assert f"{free.f_bavail * free.f_frsize / 1e9:.0f} GB free" in found["store"].detail
    assert not toys.settings.artifacts.exists(), "looking makes nothing"


def test_a_folder_whose_place_is_a_file_is_lacking(toys: Toys) -> None:
    (toys.folder / "file").touch()
    settings = replace(toys.settings, artifacts=toys.folder / "file" / "artifacts", cache=toys.folder / "file")
    found = by_subject(examine_machine(settings))
    assert [found[subject].state for subject in ("store", "cache")] == ["lacking", "lacking"]
    assert "ARTIFACTS=" in found["store"].remedy
    assert "MODELFARM_CACHE=" in found["cache"].remedy


def test_a_small_disk_is_a_note(toys: Toys, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    try:
        store = by_subject(examine_machine(replace(toys.settings, artifacts=folder / "artifacts")))["store"]
    finally:
        subprocess.run(["umount", folder], check=True)
    assert (store.state, store.detail) == ("note", f"{folder / 'artifacts'}, 0 GB free")
    assert "make room" in store.remedy


def test_a_toolchain_that_is_installed_is_fine(toys: Toys) -> None:
    (finding,) = examine_toolchain(toys.target, toys.farm.runners.venv)
    assert (finding.state, finding.subject) == ("ok", "toolchain toy")
    assert str(toys.farm.runners.venv.folder(toys.target)) in finding.detail


def test_a_toolchain_to_come_is_a_note_and_its_interpreter_is_looked_for(toys: Toys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    runner = VenvRunner(environments=toys.folder / "none", torch_index=f"http://127.0.0.1:{port}")
    notes = list(examine_toolchain(toys.target, runner))
    assert [finding.state for finding in notes] == ["note", "note"]
    assert "the first conversion does it" in notes[0].detail
    assert "Connection refused" in notes[1].detail
    assert "TORCH_INDEX=" in notes[1].remedy
    other = list(examine_toolchain(replace(toys.target, python="3.99"), runner))
    assert [finding.state for finding in other] == ["note", "lacking", "note"]
    assert "Python 3.99" in other[1].detail
    assert other[1].remedy == "install Python 3.99"


class Clinic:
    """A machine with clients that are a few lines of shell, so that they can be as ill as one likes."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        for name in ("DOCKER", "PODMAN", "DOCKER_HOST"):
            patch.delenv(name, raising=False)
        tools = folder / "tools"
        tools.mkdir(parents=True)
        for tool in ("sh", "cat", "grep", "sed"):
            (tools / tool).symlink_to(str(shutil.which(tool)))
        patch.setenv("PATH", f"{folder}:{folder}/second:{tools}")

    def client(self, script: str = "", *, name: str = "docker", place: str = "", **more: Any) -> Path:
        """Install a client that notes how it is called, runs the script, and tells of an engine that is well."""
        file = self.folder / place / name
        file.parent.mkdir(exist_ok=True)
        told = {"ServerVersion": "25.0.1", "DockerRootDir": str(self.folder), "Name": os.uname().nodename,
                "ClientInfo": {"Version": "26.1.5", "Plugins": [{"Name": "buildx", "Version": "0.13.1"}]}, **more}
        file.with_suffix(".json").write_text(json.dumps(told))
        file.write_text(f"""#!/bin/sh
echo "$*" >> {self.folder}/calls
{script}
case "$1 $2" in
"info --format") cat {file}.json ;;
"image ls") cat {self.folder}/images ;;
"image inspect") identity=$(grep "^$3 " {self.folder}/images | sed 's/.* //') && [ "$identity" ] ||
  {{ echo "Error: No such image: $3" >&2; exit 1; }}
  echo '[{{"Id": "'$identity'", "Config": {{}}, "Size": 1, "Architecture": "amd64"}}]' ;;
*) exit 1 ;;
esac
""")
        file.chmod(0o755)
        return file

    def holds(self, images: Mapping[str, str]) -> None:
        (self.folder / "images").write_text("".join(f"{name} {identity}\n" for name, identity in images.items()))

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    clinic = Clinic(tmp_path / "clinic", monkeypatch)
    clinic.holds({})
    return clinic


def test_a_machine_without_containers_lacks_nothing_but_what_runner_names(clinic: Clinic) -> None:
    (finding,) = examine_engines()
    assert (finding.state, finding.subject) == ("note", "docker")
    assert "not on the PATH" in finding.detail
    assert "ci/engine start" in finding.remedy
    for name in ("docker", "podman"):
        found = by_subject(examine_engines(runner=name))
        assert found[name].state == "lacking"
        assert f"{name.upper()}=" in found[name].remedy


def test_an_engine_that_is_well_is_told_with_its_versions_and_its_room(clinic: Clinic) -> None:
    program = clinic.client()
    found = by_subject(examine_engines())
    assert {finding.state for finding in found.values()} == {"ok"}
    assert found["docker"].detail == f"{program} 26.1.5, engine 25.0.1"
    assert found["buildx"].detail == "0.13.1"
    assert re.fullmatch(rf"{clinic.folder}, \d+ GB free", found["docker folder"].detail)


def test_an_engine_with_little_room_is_worth_a_note(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    clinic.client()
    monkeypatch.setattr(doctor.disk, "free", lambda folder: 3 << 30)
    finding = by_subject(examine_engines())["docker folder"]
    assert (finding.state, finding.detail) == ("note", f"{clinic.folder}, 3 GB free")
    assert "docker system df" in finding.remedy


@pytest.mark.parametrize(("said", "remedy"), [
    ("Cannot connect to the Docker daemon at unix:///run/docker.sock", "start the engine"),
    ("permission denied while trying to connect to the Docker daemon socket", "group docker"),
])
def test_an_engine_that_does_not_answer_has_a_remedy_and_is_lacking_only_where_it_was_named(
    clinic: Clinic, said: str, remedy: str
) -> None:
    clinic.client(f"echo '{said}' >&2", ServerVersion="", DockerRootDir="")
    finding = by_subject(examine_engines())["docker"]
    assert finding.state == "note"
    assert said in finding.detail
    assert remedy in finding.remedy
    assert by_subject(examine_engines(runner="docker"))["docker"].state == "lacking"
    assert by_subject(examine_engines())["buildx"].state == "ok", "the plugin is the client's, not the engine's"


def test_an_engine_at_another_place_is_named_by_it(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://far:2375")
    clinic.client("echo 'no route to host' >&2", ServerVersion="")
    assert "DOCKER_HOST=tcp://far:2375" in by_subject(examine_engines())["docker"].remedy


def test_an_engine_that_hangs_is_asked_once(toys: Toys, clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelfarm.survey._PATIENCE", 0.3)
    monkeypatch.setattr("modelfarm.runners._PATIENCE", 5.0)
    (toys.target.folder / "Dockerfile").touch()
    clinic.client("exec /bin/sleep 30")
    engines = surveys()
    found = by_subject(examine_engines(engines))
    assert "did not answer within 0.3 s" in found["docker"].detail
    assert "hangs" in found["docker"].remedy
    found = by_subject(examine_toolchains([toys.target], runners(toys), engines, toys.folder / "images.lock"))
    assert found["runner toy"].detail == "venv (RUNNER=auto)"
    assert clinic.calls() == ["info --format {{json .}}"]


def test_another_client_that_has_buildx_is_the_remedy_of_one_that_has_none(clinic: Clinic) -> None:
    clinic.client(ClientInfo={})
    finding = by_subject(examine_engines())["buildx"]
    assert (finding.state, "docker-buildx" in finding.remedy) == ("note", True)
    other = clinic.client("[ $1 != buildx ] || exit 0", place="second")
    finding = by_subject(examine_engines())["buildx"]
    assert (finding.state, finding.remedy) == ("note", f"DOCKER={other} has it")


def test_cards_are_told_with_whether_containers_can_have_them(tmp_path: Path, clinic: Clinic) -> None:
    (none,) = examine_gpu([], tmp_path)
    assert (none.state, none.subject) == ("ok", "GPU")
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl"):
        (tmp_path / "dev" / name).touch()
    (closed,) = examine_gpu([], tmp_path)
    assert (closed.state, closed.detail) == ("note", "nvidia0, nvidia1, but containers cannot have them")
    assert "nvidia-container-toolkit" in closed.remedy
    clinic.client(Runtimes={"nvidia": {}})
    (open_,) = examine_gpu(surveys(), tmp_path)
    assert (open_.state, open_.detail) == ("ok", "nvidia0, nvidia1, and containers can have them")
    (tmp_path / "etc" / "cdi").mkdir(parents=True)
    (tmp_path / "etc" / "cdi" / "nvidia.yaml").touch()
    assert next(examine_gpu([], tmp_path)).state == "ok"


def runners(toys: Toys, runner: str = "auto") -> Runners:
    return Runners(settings=replace(toys.settings, runner=runner), digests=toys.farm.digests)


def toolchains(toys: Toys, runner: str = "auto") -> list[Finding]:
    lock = toys.folder / "images.lock"
    return list(examine_toolchains([toys.target], runners(toys, runner), surveys(), lock))


@pytest.fixture
def contained(toys: Toys) -> str:
    """Give the toy toolchain an image, in name, and return that name."""
    (toys.target.folder / "Dockerfile").write_text("FROM scratch\n")
    return local_name(toys.target, toys.farm.digests)


def pin(toys: Toys, identity: str, digest: str = "") -> None:
    entry = {"image": f"127.0.0.1:5000/toy@sha256:{'1' * 64}", "identity": identity, "content": "2" * 64, "size": 1,
             "sources": digest or sources(toys.target, toys.farm.digests), "architecture": "amd64", "date": "2026-07"}
    (toys.folder / "images.lock").write_text(json.dumps({"bases": {}, "images": {"toy": entry}}))


def test_a_target_without_a_dockerfile_has_no_image_to_look_for(toys: Toys, clinic: Clinic) -> None:
    clinic.client()
    found = toolchains(toys)
    assert [(finding.state, finding.subject) for finding in found] == [("ok", "runner toy"), ("ok", "toolchain toy")]
    assert found[0].detail == "venv (RUNNER=auto)"


def test_an_image_that_is_not_there_is_a_note_and_the_environment_does_it(
    toys: Toys, clinic: Clinic, contained: str
) -> None:
    clinic.client()
    image, runner, environment = toolchains(toys)
    assert (image.state, image.detail) == ("note", f"none of this checkout, {contained}")
    assert image.remedy == "make images TARGET=toy"
    assert runner.detail == "venv (RUNNER=auto)"
    assert environment.subject == "toolchain toy"
    pin(toys, DIGEST)
    assert toolchains(toys)[0].remedy == "make pull, or make images TARGET=toy"
    pin(toys, DIGEST, "3" * 64)
    assert toolchains(toys)[0].remedy == "make images TARGET=toy", "what is locked is that of another checkout"


def test_an_image_that_is_not_there_is_lacking_where_jobs_must_have_it(
    toys: Toys, clinic: Clinic, contained: str
) -> None:
    clinic.client()
    image, runner = toolchains(toys, "docker")
    assert (image.state, image.subject) == ("lacking", "image toy")
    assert runner.detail == "docker (RUNNER=docker)"


def test_an_image_that_is_there_is_compared_with_the_lock_and_chosen(
    toys: Toys, clinic: Clinic, contained: str
) -> None:
    clinic.client()
    clinic.holds({contained: DIGEST})
    image, runner = toolchains(toys)
    assert (image.state, image.detail) == ("ok", f"{contained}, not in images.lock")
    assert (runner.state, runner.detail) == ("ok", "docker (RUNNER=auto)")
    pin(toys, DIGEST)
    assert toolchains(toys)[0].detail == f"{contained}, as images.lock has it"
    pin(toys, f"sha256:{'b' * 64}")
    assert toolchains(toys)[0].detail == f"{contained}, built here; images.lock has another build"
    assert toolchains(toys, "venv")[1].detail == "venv (RUNNER=venv)"
    clinic.holds({f"localhost/{contained}": DIGEST})
    assert toolchains(toys)[0].state == "ok", "podman calls it so"


def test_images_of_other_sources_are_listed(toys: Toys, clinic: Clinic, contained: str) -> None:
    clinic.client()
    clinic.holds({contained: DIGEST, "modelfarm/toy:old": DIGEST, "modelfarm/toy2:x": DIGEST, "<none>:<none>": DIGEST})
    _, others, _ = toolchains(toys)
    assert (others.state, others.detail) == ("note", "1 of other sources: modelfarm/toy:old")


def test_a_damaged_lock_is_a_note(toys: Toys, clinic: Clinic) -> None:
    clinic.client()
    (toys.folder / "images.lock").write_text("images: [1]\n")
    found = toolchains(toys)
    assert (found[0].state, found[0].subject) == ("note", "images.lock")
    assert "images.lock" in found[0].detail
    assert found[-1].subject == "toolchain toy", "the rest is looked at all the same"


def test_a_toolchain_that_exists_as_an_image_only_is_a_note_where_there_is_no_engine(
    toys: Toys, clinic: Clinic, contained: str
) -> None:
    target = replace(toys.target, environment="image")
    (finding,) = examine_toolchains([target], runners(toys), surveys(), toys.folder / "images.lock")
    assert (finding.state, finding.subject) == ("note", "runner toy")
    assert finding.remedy


def test_the_clients_are_asked_few_times(toys: Toys, clinic: Clinic, contained: str) -> None:
    clinic.client()
    toolchains(toys)
    assert clinic.calls() == ["info --format {{json .}}",
                              next(call for call in clinic.calls() if call.startswith("image ls --no-trunc")),
                              f"image inspect {contained}"]


def test_a_store_is_read_to_the_last_byte(toys: Toys) -> None:
    store = Store(toys.settings.artifacts, toys.farm.digests)
    assert [finding.detail for finding in examine_store(store)] == ["0, all whole"]
    folder = build(toys)
    toys.model(gain=3)
    other = build(toys)
    assert [(finding.state, finding.detail) for finding in examine_store(store)] == [("ok", "2, all whole")]
    (folder / "model.toy").write_text('{"gain": 4}')
    (other / "manifest.json").write_text("nothing")
    damaged = list(examine_store(toys.farm.store))
    assert [finding.state for finding in damaged] == ["lacking", "lacking"]
    said = " ".join(finding.detail for finding in damaged)
    assert "model.toy has other content" in said
    assert "manifest.json is no manifest" in said
    assert all("run the job again" in finding.remedy for finding in damaged)


def test_models_without_their_files_are_counted_and_named(toys: Toys) -> None:
    for name in ("a", "b"):
        toys.model(name)
    recipes = [toys.farm.recipe(name) for name in toys.farm.models()]
    (fine,) = examine_recipes(recipes, lookup(toys))
    assert (fine.state, fine.detail) == ("ok", "3 of 3 have their weights and samples here")
    (toys.settings.models / "b" / "toy.pt").unlink()
    (missing,) = examine_recipes(recipes, lookup(toys))
    assert (missing.state, missing.detail) == ("note", "2 of 3 have their weights and samples here; not b")
    assert "MODELFARM_DATA=" in missing.remedy


def test_files_in_a_data_folder_count_and_missing_samples_do_not(toys: Toys) -> None:
    folder = toys.model(more='samples: {arrays: ["*.npz"]}')
    recipe = toys.farm.recipe("toy")
    assert not has_files(recipe, lookup(toys))
    (folder / "x.npz").touch()
    assert has_files(recipe, lookup(toys))
    (toys.folder / "data" / "weights").mkdir(parents=True)
    (folder / "toy.pt").rename(toys.folder / "data" / "weights" / "toy.pt")
    assert not has_files(recipe, lookup(toys))
    assert has_files(recipe, lookup(toys, toys.folder / "data"))


def test_a_whole_examination_ends_well_or_says_that_something_is_lacking(toys: Toys) -> None:
    stream = io.StringIO()
    toys.farm.examine(Console(stream, live=False))
    assert "ok       toolchain toy" in stream.getvalue()
    (build(toys) / "model.toy").unlink()
    with pytest.raises(MachineError, match="this machine lacks something"):
        toys.farm.examine(Console(stream, live=False))
    assert "model.toy is missing" in stream.getvalue()


def test_a_broken_recipe_does_not_end_the_examination(toys: Toys) -> None:
    """The one who asks a doctor has a problem; this may be it."""
    toys.model("a", more="nonsense: 1")
    stream = io.StringIO()
    with pytest.raises(MachineError, match="this machine lacks something"):
        toys.farm.examine(Console(stream, live=False))
    assert "nonsense" in stream.getvalue()
    assert "1 of 1 have their weights" in stream.getvalue()
