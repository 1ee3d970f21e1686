"""A Dask cluster of real processes on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from distributed import Client

from modelfarm.settings import ROOT
from tests.toys import Toys

_LOOPBACK = ["--host", "127.0.0.1"]


@dataclass(kw_only=True)
class Cluster:
    """A scheduler and its workers, each a process whose output is in a file below `folder`."""

    folder: Path
    place: Path = ROOT  # in which the scheduler is started
    scheduler: subprocess.Popen[bytes] | None = None
    address: str = ""
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        """Start the scheduler and wait for its address."""
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        self.scheduler = self._start("scheduler", ["dask_scheduler", *_LOOPBACK, "--port", "0", "--no-dashboard",
                                                   "--scheduler-file", str(file)], {}, self.place)
        self._wait(lambda: file.is_file() and file.stat().st_size > 0, "scheduler")
        time.sleep(0.05)
        self.address = json.loads(file.read_text())["address"]

    def hire(self, name: str, preload: str, *, jobs: int = 1, wait: bool = True, **settings: str) -> None:
        """Start a worker, and wait until it has made its offer and is connected."""
        words = ["dask_worker", self.address, *_LOOPBACK, "--preload", preload, "--name", name, "--nthreads",
                 str(jobs), "--memory-limit", "0", "--no-dashboard", "--no-nanny",
                 "--local-directory", str(self.folder / f"dask-{name}")]
        self.workers[name] = self._start(name, words, settings)
        if wait:
            self.connected(len(self.workers))

    def toyhand(self, toys: Toys, name: str, *, jobs: int = 1, wait: bool = True, **settings: str) -> None:
        """Start a worker with toys."""
        self.hire(name, "tests.engines.toyhand", jobs=jobs, wait=wait, TOYS=str(toys.folder),
                  TOYS_CACHE=str(toys.cache), **{"ARTIFACTS": str(toys.settings.artifacts), **settings})

    def connected(self, count: int) -> None:
        """Wait until so many workers are connected."""
        with Client(self.address, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            end = time.monotonic() + 60
            while len(client.scheduler_info(n_workers=-1)["workers"]) != count:
                assert time.monotonic() < end, {name: self.said(name) for name in self.workers}
                time.sleep(0.05)

    def kill(self, name: str) -> None:
        """End a worker as a power cut would."""
        process = self.workers.pop(name)
        process.kill()
        process.wait()

    def said(self, name: str) -> str:
        """Return what a process has printed."""
        return (self.folder / f"{name}.log").read_text()

    def stop(self) -> None:
        """End all that is left."""
        for process in [*self.workers.values(), *([self.scheduler] if self.scheduler else [])]:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()

    def _start(self, name: str, words: list[str], settings: dict[str, str],
               place: Path = ROOT) -> subprocess.Popen[bytes]:
        log: IO[bytes]
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", f"distributed.cli.{words[0]}", *words[1:]], cwd=place,
                                    stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **settings})

    def _wait(self, ready: object, name: str) -> None:
        assert callable(ready)
        end = time.monotonic() + 60
        while not ready():
            assert time.monotonic() < end, self.said(name)
            time.sleep(0.05)


@contextmanager
def cluster(folder: Path, place: Path = ROOT) -> Iterator[Cluster]:
    """Give a cluster without workers, whose scheduler is started in a place, and end it whatever happens."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Cluster(folder=folder, place=place)
    try:
        made.start()
        yield made
    finally:
        made.stop()
