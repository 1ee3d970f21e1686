"""Settings: where things lie and how the farm runs, from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelfarm.digest import default_cache_folder
from modelfarm.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"  # PyTorch's own index of CPU builds


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The folders and choices of one invocation."""

    models: Path
    artifacts: Path
    data: tuple[Path, ...]
    cache: Path
    runner: str
    torch_index: str
    jobs: int

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
        jobs=positive(environment.get("JOBS") or "1", "JOBS"))


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
