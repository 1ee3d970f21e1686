"""Runners: where a job's process lives.

`venv` runs the toolchain in a cached virtual environment; container engines take their place here.
"""

from __future__ import annotations

from modelfarm.errors import UsageError, nearest
from modelfarm.runners.runner import Runner
from modelfarm.runners.venv import VenvRunner
from modelfarm.settings import Settings

__all__ = ["Runner", "VenvRunner", "choose"]

_KNOWN = ("auto", "venv")


def choose(settings: Settings) -> VenvRunner:
    """Return the runner that RUNNER= names; raises UsageError for an unknown one."""
    if settings.runner not in _KNOWN:
        raise UsageError(f"RUNNER={settings.runner} is not known; {nearest(settings.runner, _KNOWN)}")
    return VenvRunner(environments=settings.environments, torch_index=settings.torch_index)
