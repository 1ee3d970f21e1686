"""model_check, upstream's comparison of a device's layers with the plain device's, on numbers of its own."""

from __future__ import annotations

from pathlib import Path
from typing import List

from jobkit.program import Ended, run
from testprogram import DEVICES

NAME = "model_check"

PASSED, FAILED = "model check pass!", "model check failed!"


def command(home: Path, proto: Path, device: str) -> List[str]:
    """Give the command that checks every layer of the model on `device`."""
    return [str(home / NAME), "-p", str(proto), "-m", str(proto.with_suffix(".tnnmodel")), "-d", DEVICES[device]]


def verdict(ended: Ended) -> str:
    """Say what came of it: ``passed``, ``failed``, or why it cannot be said."""
    said = "\n".join(ended.lines)
    if FAILED in said:
        return "failed"
    if PASSED in said and not ended.code:
        return "passed"
    return f"no verdict: it {ended.how}"


def check(home: Path, proto: Path, device: str) -> str:
    """Run the check; its verdict is recorded and never decides, which the gates on real samples do."""
    return verdict(run(command(home, proto, device), proto.parent))
