"""Surveys: what a container client says of itself and of its engine, asked in one question."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelfarm.command import output
from modelfarm.containers import NAMES, Client, find_client
from modelfarm.errors import MachineError

_PATIENCE = 10.0  # seconds; an engine that hangs is worth a finding, not a long wait


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A client, and what it told: versions, why the engine does not answer, where that keeps its images.

    What is not known is empty; `root` is None where the engine runs on another machine.
    """

    client: Client
    version: str = ""
    engine: str = ""
    problem: str = ""
    buildx: str = ""
    root: Path | None = None
    nvidia: bool = False


def survey(client: Client) -> Survey:
    """Ask a client for all it knows."""
    try:
        answer = output([client.program, "info", "--format", "{{json .}}"], seconds=_PATIENCE)
    except MachineError as error:
        return Survey(client=client, problem=error.message)
    said = (answer.err.strip() or answer.out.strip()).partition("\n")[0]
    try:
        # A docker that cannot reach its engine still tells of itself; some versions end with 0 then, some with 1.
        document = json.loads(answer.out)
        return _podman(client, document) if "host" in document else _docker(client, document, said)
    except (ValueError, LookupError, TypeError, AttributeError):
        return Survey(client=client, problem=said or f"it says nothing and ends with {answer.code}")


def _docker(client: Client, document: Mapping[str, Any], said: str) -> Survey:
    about = document.get("ClientInfo") or {}
    engine = document.get("ServerVersion") or ""
    problem = "; ".join(document.get("ServerErrors") or []) or said or "its engine says nothing"
    plugins = {entry["Name"]: entry for entry in about.get("Plugins") or []}
    root = Path(document.get("DockerRootDir") or "")
    return Survey(client=client, version=about.get("Version") or "", engine=engine, problem="" if engine else problem,
                  buildx=plugins.get("buildx", {}).get("Version") or "",
                  root=root if _here(root, document.get("Name")) else None,
                  nvidia="nvidia" in (document.get("Runtimes") or {}))


def _podman(client: Client, document: Mapping[str, Any]) -> Survey:
    version, root = document["version"]["Version"], Path(document["store"]["graphRoot"])
    return Survey(client=client, version=version, engine=version,
                  root=root if _here(root, document["host"].get("hostname")) else None)


def _here(root: Path, host: str | None) -> bool:
    return host == os.uname().nodename and root.is_absolute() and root.is_dir()


def surveys() -> list[Survey]:
    """Ask every client of this machine."""
    return [survey(client) for name in NAMES if (client := find_client(name))]


def others_with_buildx(client: Client) -> Iterator[str]:
    """Yield the other programs of a client's name on the PATH that have buildx: plugins are each client's own."""
    seen = {Path(client.program).resolve()}
    for folder in os.get_exec_path():
        found = shutil.which(client.name, path=folder)
        if found and Path(found).resolve() not in seen:
            seen.add(Path(found).resolve())
            if _has_buildx(found):
                yield found


def _has_buildx(program: str) -> bool:
    try:
        return output([program, "buildx", "version"], seconds=_PATIENCE).code == 0
    except MachineError:
        return False
