"""ci/engine: it brings an engine where none answers, and takes away what it brought, whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelfarm.containers import Client
from modelfarm.settings import ROOT

SCRIPT = ROOT / "ci" / "engine"
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The script with a state folder of its own, beside the engine that the tests run on."""

    state: Path

    @property
    def environment(self) -> Mapping[str, str]:
        # Any program passes for a registry here: only one test wants the real one, and its download.
        return {**os.environ, "MODELFARM_ENGINE": "own", "MODELFARM_ENGINE_STATE": str(self.state),
                "MODELFARM_REGISTRY": "true"}

    @property
    def socket(self) -> str:
        return f"unix://{self.state}/docker.sock"

    @property
    def bridge(self) -> str:
        summed = subprocess.run(["cksum"], input=f"{self.state}\n", capture_output=True, text=True, check=True)
        return f"mf{summed.stdout.split()[0]}"

    def call(self, *words: str | Path, **settings: str) -> Done:
        return subprocess.run([SCRIPT, *words], env={**self.environment, **settings}, capture_output=True, text=True,
                              timeout=200)

    def docker(self, *words: str) -> str:
        done = subprocess.run(["docker", "--host", self.socket, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def traces(self) -> list[str]:
        """Return the engine's processes, mounts, bridge and rules."""
        found = [f"process {pid}: {line}" for pid, line in processes().items() if str(self.state) in line]
        found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(self.state) in line]
        found += [f"bridge {bridge.name}" for bridge in Path("/sys/class/net").glob(self.bridge)]
        rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
        return found + [line for line in rules.splitlines() if self.bridge in line]


def processes() -> dict[int, str]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # it has ended
    return found


@pytest.fixture
def engine() -> Iterator[Engine]:
    if os.getuid() != 0:
        pytest.skip("only root can start an engine")
    with tempfile.TemporaryDirectory(prefix="engine", ignore_cleanup_errors=True) as folder:  # pytest's are too long
        engine = Engine(state=Path(folder))
        yield engine
        stopped = engine.call("stop")
        assert stopped.returncode == 0, stopped.stderr
        assert engine.traces() == []


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Return a folder with all programs of this machine but docker and apt-get."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for place in ("/usr/sbin", "/usr/bin"):
        for program in Path(place).iterdir():
            if program.name not in ("docker", "apt-get") and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    return folder


def fake_docker(folder: Path, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    docker = folder / "docker"
    docker.write_text(f"#!/bin/sh\n{script}\n")
    docker.chmod(0o755)
    return docker


def load_nothing(engine: Engine, folder: Path) -> None:
    """Load an image of one program, which sleeps."""
    needs = subprocess.run(["ldd", "/bin/sleep"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(folder / "image.tar", "w") as archive:
        for file in ("/bin/sleep", *(word for word in needs if word.startswith("/"))):
            archive.add(Path(file).resolve(), file.lstrip("/"))
    engine.docker("import", str(folder / "image.tar"), "nothing:1")


def test_an_engine_that_answers_is_used_and_left_alone(client: Client, tmp_path: Path) -> None:
    settings = {"MODELFARM_ENGINE": "", "MODELFARM_ENGINE_STATE": str(tmp_path), "MODELFARM_REGISTRY": "true"}
    started = subprocess.run([SCRIPT, "start"], env={**os.environ, **settings}, capture_output=True, text=True)
    assert started.returncode == 0, started.stderr
    assert "docker.sock" not in started.stdout.replace(os.environ.get("DOCKER_HOST", "none"), "")
    ran = subprocess.run([SCRIPT, "run", "sh", "-c", "$DOCKER version --format '{{.Server.Version}}'"],
                         env={**os.environ, **settings}, capture_output=True, text=True)
    assert ran.stdout.strip() == client.ask("version", "--format", "{{.Server.Version}}")
    assert subprocess.run([SCRIPT, "stop"], env={**os.environ, **settings}).returncode == 0
    assert client.problem() == ""
    assert not any(tmp_path.iterdir())


def test_an_engine_of_its_own_starts_empty_and_its_end_leaves_nothing(
    engine: Engine, client: Client, tmp_path: Path
) -> None:
    theirs = client.ask("image", "ls", "--quiet")
    start = engine.call("start")
    assert start.returncode == 0, start.stderr
    told = f'{start.stdout}\necho "$DOCKER_HOST"; "$DOCKER" buildx version; "$DOCKER" image ls --quiet'
    assert subprocess.run(["sh", "-ec", told], capture_output=True, text=True).stdout.splitlines()[0] == engine.socket
    assert engine.docker("image", "ls", "--quiet") == ""
    load_nothing(engine, tmp_path)
    engine.docker("run", "--detach", "nothing:1", "/bin/sleep", "1000")
    begun = time.monotonic()
    stopped = engine.call("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert time.monotonic() - begun < 30
    assert engine.traces() == []
    assert not (engine.state / "data").exists()
    assert client.ask("image", "ls", "--quiet") == theirs


def test_it_builds_images_and_lets_their_traffic_out(engine: Engine, tmp_path: Path) -> None:
    assert engine.call("start").returncode == 0
    load_nothing(engine, tmp_path)
    bridge = engine.docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}")
    rules = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=True).stdout
    assert f"-s {bridge} " in rules
    (tmp_path / "Dockerfile").write_text("FROM nothing:1\nCOPY Dockerfile /\nRUN [\"/bin/sleep\", \"0\"]\n")
    engine.docker("buildx", "build", "--load", "--tag", "something:1", str(tmp_path))
    assert "something:1" in engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")


def test_a_second_start_tells_of_the_same_engine(engine: Engine) -> None:
    first, second = engine.call("start"), engine.call("start")
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == second.stdout
    ran = engine.call("run", "true")
    assert ran.returncode == 0
    assert engine.docker("version", "--format", "{{.Server.Version}}"), "run leaves an engine that was there before it"


def test_images_are_kept_where_that_is_asked(engine: Engine, tmp_path: Path) -> None:
    engine.call("start")
    load_nothing(engine, tmp_path)
    assert engine.call("stop", "--keep").returncode == 0
    assert engine.traces() == []
    engine.call("start")
    assert engine.docker("image", "ls", "--format", "{{.Repository}}") == "nothing"
    engine.call("stop")
    engine.call("start")
    assert engine.docker("image", "ls", "--format", "{{.Repository}}") == ""


@pytest.mark.parametrize(("words", "code"), [
    (("true",), 0), (("sh", "-c", "exit $#", *"123456789"), 8), (("no-such-program",), 127)])
def test_run_ends_with_the_code_of_its_command_and_stops(engine: Engine, words: tuple[str, ...], code: int) -> None:
    assert engine.call("run", *words).returncode == code
    assert engine.traces() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_command_and_stops_the_engine(
    engine: Engine, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    mark = tmp_path / "mark"
    command = ["sh", "-c", f"touch {mark}; exec sleep 1000"]
    with subprocess.Popen([SCRIPT, "run", *command], env=engine.environment, start_new_session=True,
                          stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not mark.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # A terminal's Ctrl-C goes to the whole group, a service manager's signal to the process.
        os.killpg(process.pid, number) if number == signal.SIGINT else os.kill(process.pid, number)
        assert process.wait(60) == code
    assert engine.traces() == []


def test_an_engine_that_hangs_is_stopped_all_the_same(engine: Engine) -> None:
    engine.call("start")
    (dockerd,) = (pid for pid, line in processes().items() if line.startswith("dockerd ") and engine.socket in line)
    os.kill(dockerd, signal.SIGSTOP)
    begun = time.monotonic()
    assert engine.call("stop").returncode == 0
    assert time.monotonic() - begun < 60
    assert engine.traces() == []
    assert list(engine.state.iterdir()) == [engine.state / "dockerd.log"]


def test_an_engine_that_was_killed_is_cleared_away_and_started_anew(engine: Engine, tmp_path: Path) -> None:
    engine.call("start")
    load_nothing(engine, tmp_path)
    os.kill(int((engine.state / "pid").read_text()), signal.SIGKILL)
    again = engine.call("start")
    assert again.returncode == 0, again.stderr
    assert engine.docker("image", "ls", "--quiet") == "", "an image may lack its layers"


def test_images_that_were_kept_are_kept_once(engine: Engine, tmp_path: Path) -> None:
    engine.call("start")
    load_nothing(engine, tmp_path)
    assert engine.call("stop", "--keep").returncode == 0
    engine.call("start")
    os.kill(int((engine.state / "pid").read_text()), signal.SIGKILL)
    engine.call("start")
    assert engine.docker("image", "ls", "--quiet") == ""


def test_an_engine_that_cannot_start_shows_its_last_words(engine: Engine) -> None:
    (engine.state / "data").mkdir(parents=True)
    (engine.state / "data" / "image").write_text("a file where dockerd wants a folder")
    (engine.state / "kept").touch()
    failed = engine.call("start")
    assert failed.returncode == 4
    assert "engine: dockerd does not start" in failed.stderr
    assert "not a directory" in failed.stderr
    assert engine.traces() == []


def test_a_client_without_buildx_is_passed_over(engine: Engine, tmp_path: Path) -> None:
    old = fake_docker(tmp_path / "old", '[ "$1" != buildx ] || { echo "unknown command: docker buildx" >&2; exit 1; }')
    started = engine.call("start", PATH=f"{old.parent}:{os.environ['PATH']}", DOCKER="docker")
    assert started.returncode == 0, started.stderr
    assert str(old) not in started.stdout


def test_an_engine_without_buildx_is_named_with_its_remedy(bare: Path, tmp_path: Path) -> None:
    fake_docker(bare, '[ "$1" = version ] && echo 20.10.24')
    refused = Engine(state=tmp_path / "state").call("start", PATH=str(bare), DOCKER="", MODELFARM_ENGINE="")
    assert refused.returncode == 4
    assert "no docker on the PATH has buildx" in refused.stderr
    assert "install its plugin buildx" in refused.stderr


def test_a_machine_without_apt_is_told_what_to_install(engine: Engine, bare: Path) -> None:
    refused = engine.call("start", PATH=str(bare), DOCKER="")
    assert refused.returncode == 4
    assert "there is no apt-get here to fetch docker.io" in refused.stderr
    assert "install docker with buildx" in refused.stderr
    assert "(exit code 4: this machine lacks something that the job needs)" in refused.stderr


def test_only_root_can_start_one() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory() as folder:  # pytest's are for the eyes of one user only
        Path(folder).chmod(0o777)
        for file in SCRIPT.parent.iterdir():
            if file.name in ("engine", "packages.sh"):
                shutil.copy(file, folder)
        refused = subprocess.run([f"{folder}/engine", "start"], user=65534, group=65534, extra_groups=[], text=True,
                                 env={**os.environ, "DOCKER_HOST": "unix:///nowhere", "MODELFARM_ENGINE_STATE": folder},
                                 capture_output=True)
    assert refused.returncode == 4
    assert "only root can start one" in refused.stderr
    assert "group docker" in refused.stderr


def test_a_state_folder_with_too_long_a_name_is_refused(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start an engine")
    refused = Engine(state=tmp_path / ("a" * 60)).call("start")
    assert refused.returncode == 4
    assert "60 letters" in refused.stderr


def test_a_registry_program_is_unpacked_where_there_is_none(tmp_path: Path, bare: Path) -> None:
    for program in ("docker", "apt-get"):
        (bare / program).symlink_to(f"/usr/bin/{program}")
    (bare / "docker-registry").unlink(missing_ok=True)
    engine = Engine(state=tmp_path / "state")
    started = engine.call("start", PATH=str(bare), MODELFARM_ENGINE="", MODELFARM_REGISTRY="")
    assert started.returncode == 0, started.stderr
    told = f'{started.stdout}\n"$MODELFARM_REGISTRY" --version'
    assert "docker/distribution" in subprocess.run(["sh", "-ec", told], capture_output=True, text=True).stdout
    assert not Path("/etc/systemd/system/multi-user.target.wants/docker-registry.service").exists()


@pytest.mark.parametrize("words", [(), ("begin",), ("run",), ("stop", "--keep", "it"), ("start", "now")])
def test_other_words_get_the_usage(words: tuple[str, ...], tmp_path: Path) -> None:
    done = Engine(state=tmp_path).call(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ci/engine run COMMAND..." in done.stderr
