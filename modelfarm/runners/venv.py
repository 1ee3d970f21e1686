"""The venv runner: a toolchain in a virtual environment, made once per lock file."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from modelfarm.command import Ended, run
from modelfarm.console import Console, Step
from modelfarm.digest import Digests, key_of
from modelfarm.errors import MachineError
from modelfarm.gpu import Gpu
from modelfarm.target import Target, modules

_PROBE_TIMEOUT = 3.0  # seconds for PyTorch's index to answer
_PAUSE = 0.1  # seconds between two looks at a lock
_PIN = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)
_COLLECTING = re.compile(r"(Collecting|Requirement already satisfied:|Processing) ")


@dataclass(frozen=True, kw_only=True)
class VenvRunner:
    """Runs jobs on this machine, in environments below one folder."""

    environments: Path
    torch_index: str
    gpu: Gpu | None = None
    name: str = "venv"

    def identity(self, target: Target, digests: Digests) -> dict[str, Any]:
        """Return the lock file, interpreter, machine and converter code, by digest where they are files."""
        return {"runner": self.name, "lock": digests.file(target.requirements), "python": _python_version(target),
                "machine": f"{sys.platform} {os.uname().machine}", "converter": _code(target.code, digests),
                "jobkit": _code([target.folder.parent / "jobkit"], digests)}

    def folder(self, target: Target) -> Path:
        """Return where the environment of a target lies, once it is whole."""
        lock = target.requirements.read_bytes().decode()
        digest = key_of([lock, _python_version(target), sys.platform, os.uname().machine])
        return self.environments / f"{target.name}-{digest[:12]}"

    def ready(self, target: Target) -> bool:
        """Say whether the environment is installed."""
        return self.folder(target).is_dir()

    def packages(self, target: Target) -> Mapping[str, str]:
        """Return the packages that the lock names."""
        return dict(_PIN.findall(target.requirements.read_text(encoding="utf-8")))

    def prepare(self, target: Target, console: Console, on_tick: Callable[[], None] = lambda: None) -> None:
        """Install the environment unless it is there.

        It is built under a temporary name and renamed when it is whole; of several processes one
        installs and the others wait. `on_tick` is called a few times a second, and ends it all by
        raising. Raises MachineError naming the package that failed, and why.
        """
        folder = self.folder(target)
        if folder.is_dir():
            return
        with _lock(folder, console, on_tick):
            if folder.is_dir():
                return  # another process made it meanwhile
            with console.step(f"install the {target.name} toolchain (once)") as step:
                self._install(target, folder, console, step, on_tick)

    def _install(self, target: Target, folder: Path, console: Console, step: Step, on_tick: Callable[[], None]) -> None:
        for left in folder.parent.glob(f"{folder.name}.partial*"):  # by an interrupted install; the lock is ours
            shutil.rmtree(left, ignore_errors=True)
        # A name of its own: the pip of a killed farm lives on for a while, and must not write into this one.
        partial = folder.with_name(f"{folder.name}.partial{os.getpid()}")
        log = folder.with_name(f"{folder.name}.log")
        log.unlink(missing_ok=True)
        _checked(run([interpreter(target), "-m", "venv", "--without-pip", partial], log=log, on_tick=on_tick), log)
        pins = sum(1 for line in target.requirements.read_text().splitlines() if line[:1].isalnum())
        count = _Counter(step, pins)
        pip = [sys.executable, "-m", "pip", "--python", str(partial / "bin" / "python"), "--disable-pip-version-check"]
        # The lock names every package, and some do without what they ask for: docker/base/bin/install-toolchain.
        options = ["--no-input", "--no-deps", "--progress-bar", "off", *self._index(target, console)]
        install: list[str | Path] = [*pip, "install", *options, "-r", target.requirements]
        _checked(run(install, log=log, on_line=count, on_tick=on_tick), log)
        partial.rename(folder)

    def _index(self, target: Target, console: Console) -> list[str]:
        """Return pip's option for PyTorch's own index, where the lock file has a CPU build and it answers."""
        if not self.torch_index or "+cpu" not in target.requirements.read_text():
            return []
        if problem := unreachable(self.torch_index):
            console.note(f"PyTorch's index is out of reach ({problem}); trying pip's own sources")
            return []
        return ["--extra-index-url", self.torch_index]

    def provenance(self, target: Target, digests: Digests) -> dict[str, Any]:
        """Return the runner's name: all else is in the identity."""
        return {"runner": self.name}

    def run(self, target: Target, folder: Path, log: Path, on_tick: Callable[[], None], seconds: float) -> Ended:
        """Run jobkit on a job folder in the target's environment."""
        path = os.pathsep.join(map(str, (target.folder.parent, *target.shares)))
        environment = {"PYTHONPATH": path, "MODELFARM_CONVERTER": str(target.converter),
                       "MODELFARM_PARENT": str(os.getpid()), "PYTHONNOUSERSITE": "1",
                       **({"CUDA_VISIBLE_DEVICES": self.gpu.uuid} if self.gpu else {})}
        return run([self.folder(target) / "bin" / "python", "-m", "jobkit", folder], log=log, cwd=folder,
                   environment=environment, seconds=seconds, on_tick=on_tick)

    def script(self, target: Target) -> str:
        """Return shell lines that run jobkit on the job folder "$JOB" in an environment made from the lock file."""
        place = target.folder.name
        path = ":".join(["docker", *(f"docker/{folder.name}" for folder in target.shares)])
        return (f"# In the farm's own folder, with an environment made once:\n"
                f"#   python{target.python} -m venv build/{place} && "
                f"build/{place}/bin/pip install --no-deps -r docker/{place}/requirements.txt\n"
                f"PYTHONPATH={path} MODELFARM_CONVERTER=docker/{place}/converter.py "
                f'build/{place}/bin/python -m jobkit "$JOB"\n')


class _Counter:
    """Moves a step's bar as pip collects one package after the other."""

    def __init__(self, step: Step, total: int) -> None:
        self._step, self._total, self._done = step, total, 0

    def __call__(self, line: str) -> None:
        if _COLLECTING.match(line.strip()):
            self._done = min(self._done + 1, self._total)
            self._step.progress(self._done, self._total)


def _code(folders: Iterable[Path], digests: Digests) -> str:
    """Return one digest over all modules of some folders, those of packages in them too."""
    return key_of({file.relative_to(folder.parent).as_posix(): digests.file(file)
                   for folder in folders for file in modules(folder)})


def _python_version(target: Target) -> str:
    if target.python == "{}.{}".format(*sys.version_info[:2]):
        return "{}.{}.{}".format(*sys.version_info[:3])
    return target.python


def interpreter(target: Target) -> str:
    """Return the interpreter that a target wants; raises MachineError where this machine has none."""
    if target.python == "{}.{}".format(*sys.version_info[:2]):
        return str(Path(sys.base_prefix) / "bin" / f"python{target.python}")
    if found := shutil.which(f"python{target.python}"):
        return found
    raise MachineError(f"the {target.name} toolchain needs Python {target.python}, which is not on the PATH",
                       remedy=f"install Python {target.python}")


@contextmanager
def _lock(folder: Path, console: Console, on_tick: Callable[[], None]) -> Iterator[None]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f"{folder.name}.lock").open("w")
    except OSError as error:
        raise MachineError(f"{folder.parent} cannot be written: {error.strerror}",
                           remedy="MODELFARM_CACHE= names another folder for environments and downloads") from error
    with lock:
        if not _obtained(lock):
            console.note("waiting for another process, which installs the same toolchain")
            # Polling, because a blocked flock cannot be ended in a thread.
            while not _obtained(lock):
                on_tick()
                time.sleep(_PAUSE)
        yield


def _obtained(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _checked(ended: Ended, log: Path) -> None:
    if ended.code == 0:
        return
    lines = log.read_text(errors="replace").splitlines()
    said = [line.strip() for line in lines if "ERROR" in line or "error:" in line] or lines[-1:]
    reason = "".join(f"\n    {line}" for line in dict.fromkeys(said[-6:]))
    remedy = f"the whole output is in {log}"
    if "+cpu" in reason:
        remedy = f"TORCH_INDEX= names an index with CPU builds of PyTorch, PIP_FIND_LINKS= a folder of wheels; {remedy}"
    raise MachineError(f"the toolchain cannot be installed: pip {ended.why}{reason}", remedy=remedy)


def unreachable(index: str) -> str:
    """Say why an index does not answer; empty where it does."""
    import http.client
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(urllib.request.Request(f"{index}/torch/", method="HEAD"), timeout=_PROBE_TIMEOUT):
            return ""
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        return str(getattr(error, "reason", None) or error)
