"""Settings: where things lie and how the farm runs, from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from modelfarm.digest import default_cache_folder
from modelfarm.errors import UsageError, nearest

ROOT = Path(__file__).resolve().parent.parent
LOCAL = "local"  # ENGINE=: threads of this process
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"  # PyTorch's own index of CPU builds


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """From which change on a new artifact is worse than the last good one, as factors.

    They are wide, because a night that fails for noise is soon ignored. A busy machine makes a latency half as long
    again, and a blink of the scheduler costs a fraction of a millisecond: a median has to double, and by more than
    `milliseconds`. Errors are the greatest of thousands of roundings, which another version of a runtime orders
    differently: they have to be ten times as large, and `smallest` at least, below which any of them is rounding; the
    gates have their own limits besides. Sizes have no noise: a tenth more is what somebody should look at.
    """

    latency: float = 2.0
    milliseconds: float = 1.0
    size: float = 1.1
    error: float = 10.0
    smallest: float = 1e-6

    @property
    def moved(self) -> str:
        """Return those that are not the usual ones, as REGRESSION= takes them."""
        usual = Thresholds()
        return " ".join(f"{field.name}={getattr(self, field.name):g}" for field in fields(self)
                        if getattr(self, field.name) != getattr(usual, field.name))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The folders and choices of one invocation; `jobs`, `memory` and `cpus` are None where the machine decides.

    `registry` is what inputs and artifacts go through where workers have stores of their own; empty: they share one.
    `memory` in bytes and `cpus` are what all jobs on this machine may use together; `labels` are what a worker offers
    beside what is found.
    """

    models: Path
    artifacts: Path
    data: tuple[Path, ...]
    cache: Path
    runner: str
    torch_index: str
    jobs: int | None
    engine: str = LOCAL
    registry: str = ""
    memory: int | None = None
    cpus: int | None = None
    labels: tuple[str, ...] = ()
    strict: bool = False
    thresholds: Thresholds = Thresholds()

    @property
    def downloads(self) -> Path:
        """Return the folder of downloaded weights."""
        return self.cache / "downloads"

    @property
    def images(self) -> Path:
        """Return the folder of what images say of themselves, and of the logs of their builds."""
        return self.cache / "images"

    @property
    def environments(self) -> Path:
        """Return the folder of the toolchains' virtual environments."""
        return self.cache / "venvs"


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; raises UsageError for values that are not allowed."""
    return Settings(
        models=_folder(environment.get("MODELS_DIR"), ROOT / "models"),
        artifacts=_folder(environment.get("ARTIFACTS"), ROOT / "artifacts"),
        data=_data(environment.get("MODELFARM_DATA")),
        cache=default_cache_folder(),
        runner=environment.get("RUNNER") or "auto",
        torch_index=environment.get("TORCH_INDEX", TORCH_INDEX),
        jobs=positive(jobs, "JOBS") if (jobs := environment.get("JOBS")) else None,
        engine=_engine(environment.get("ENGINE") or LOCAL),
        registry=environment.get("REGISTRY") or "",
        memory=_memory(environment.get("MEMORY") or ""),
        cpus=positive(cpus, "CPUS") if (cpus := environment.get("CPUS")) else None,
        labels=tuple(word for word in (environment.get("LABELS") or "").split(",") if word),
        strict=_switch(environment.get("STRICT") or "0", "STRICT"),
        thresholds=_thresholds(environment.get("REGRESSION") or ""))


def _engine(text: str) -> str:
    if text != LOCAL and not re.fullmatch(r"(tcp|tls|ws|wss)://\S+:\d+", text):
        raise UsageError(f"ENGINE={text}: expected {LOCAL}, or the address of a Dask scheduler",
                         remedy="ENGINE=tcp://head:8786; docs/cluster.md says how to start one")
    return text


def _memory(text: str) -> int | None:
    """Read MEMORY=16GiB; raises UsageError."""
    if text and not re.fullmatch(r"[1-9]\d{0,5}[MG]iB", text):
        raise UsageError(f"MEMORY={text}: expected a size such as 16GiB")
    return int(text[:-3]) << (30 if "G" in text else 20) if text else None


def _switch(text: str, name: str) -> bool:
    if text not in ("0", "1"):
        raise UsageError(f"{name}={text}: expected 1 or 0")
    return text == "1"


def _thresholds(text: str) -> Thresholds:
    """Read REGRESSION="latency=3 size=1.2"; raises UsageError."""
    known = [field.name for field in fields(Thresholds)]
    given: dict[str, float] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        if name not in known:
            raise UsageError(f"REGRESSION: {name} is not known; {nearest(name, known)}")
        if not re.fullmatch(r"\d+(\.\d+)?(e-?\d+)?", value):
            raise UsageError(f"REGRESSION: {word}: expected {name}=number")
        given[name] = float(value)
    return replace(Thresholds(), **given)


def _folder(value: str | None, default: Path) -> Path:
    return _path(value) if value else default


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{text}: there is no such user") from error


def _data(value: str | None) -> tuple[Path, ...]:
    if value is None:
        default = ROOT.parent / "shared" / "data"
        return (default,) if default.is_dir() else ()
    return tuple(_path(part) for part in value.split(os.pathsep) if part)


def positive(text: str, name: str) -> int:
    """Read a variable's value as a whole number of at least 1; raises UsageError."""
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise UsageError(f"{name}={text}: expected a whole number of at least 1")
    return int(text)
