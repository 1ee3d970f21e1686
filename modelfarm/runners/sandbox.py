"""The sandbox: what a job's container may use, as options that docker and podman both take."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Iterator, Sequence

from modelfarm.containers import Client
from modelfarm.gpu import Gpu
from modelfarm.target import Target

JOB = "/job"  # where the container sees the job folder

_TMPFS = "rw,noexec,nosuid,nodev,mode=1777"
_SHARED = 64 << 20  # bytes of shared memory, docker's default


def options(client: Client, target: Target, folder: str, user: str,
            gpu: Gpu | None = None) -> Iterator[tuple[str, ...]]:
    """Yield the options, each with its value: no network, nothing to write but out/ and /tmp, no privileges, limits.

    `folder` is the job folder outside, `user` the calling user and group as uid:gid, `gpu` the one that it may use.
    """
    yield "--pull", "never"
    yield "--network", "none"
    yield ("--read-only",)
    if client.name == "podman":  # it would add places to write, of which docker has but this one
        yield ("--read-only-tmpfs=false",)
        yield "--tmpfs", f"/dev/shm:{_TMPFS},size={_SHARED}"
    # Half, so that a full /tmp is told as such: what lies there counts as memory.
    yield "--tmpfs", f"/tmp:{_TMPFS},size={target.memory // 2}"
    yield from _user(client, user)
    yield "--cap-drop", "ALL"
    yield "--security-opt", "no-new-privileges"
    yield "--memory", str(target.memory)
    yield "--memory-swap", str(target.memory)  # the sum of memory and swap: so none is swapped
    yield "--pids-limit", str(target.processes)
    if target.cpus:
        yield "--cpus", f"{target.cpus:g}"
    if gpu:
        yield from gpu.container_options(client.name)
    yield ("--init",)
    yield "--stop-timeout", "1"  # seconds that podman's rm gives a job to end by itself
    yield "--env", "MODELFARM_SANDBOX=1"
    yield "--env", f"MODELFARM_LIMITS={json.dumps({'memory': target.memory, 'processes': target.processes})}"
    yield "--mount", _mount(f"src={folder}", f"dst={JOB}", "readonly")
    yield "--mount", _mount(f"src={folder}/out", f"dst={JOB}/out")


def _user(client: Client, user: str) -> Iterator[tuple[str, str]]:
    """Yield what makes files in out/ the calling user's."""
    if client.rootless and client.name == "docker":
        yield "--user", "0:0"  # there, root inside is the calling user outside
        return
    if client.rootless:
        yield "--userns", "keep-id"
    yield "--user", user


def _mount(*fields: str) -> str:
    """Return a value of --mount, which is a line of CSV: a path may hold a comma."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["type=bind", *fields])
    return line.getvalue()


def script(client: Client, target: Target, image: str, gpu: Gpu | None = None) -> str:
    """Return shell lines that run the job folder "$JOB" in an image as the farm does."""
    words: list[Sequence[str]] = [(client.name, "run", "--rm")]
    words += options(client, target, "$JOB", "$(id -u):$(id -g)", gpu)
    words += [(image, JOB)]
    return " \\\n    ".join(" ".join(map(_quoted, line)) for line in words) + "\n"


def _quoted(word: str) -> str:
    """Quote a word for the shell, which is to fill in what stands after a dollar."""
    return f'"{word}"' if "$" in word else shlex.quote(word)
