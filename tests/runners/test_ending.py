"""Endings: want of memory, a crash, a kill and an engine that could not are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm.command import Ended
from modelfarm.errors import MachineError
from modelfarm.runners.ending import judged
from modelfarm.target import Target
from tests.runners.toolchains import make_target


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return replace(make_target(tmp_path, ""), memory=1 << 30)


END = {"Status": "exited", "OOMKilled": False}


@pytest.mark.parametrize(("code", "state", "wanted", "words"), [
    (0, {}, 0, "ended with code 0"),
    (0, {"OOMKilled": True}, 0, "ended with code 0"),  # a child's, which the job got over
    (1, {}, 1, "ended with code 1"),
    (1, {"OOMKilled": True}, 1, "ran out of memory (its limit is 1 GiB, memory in docker/toy/target.yaml)"),
    (137, {"OOMKilled": True}, -9, "ran out of memory"),
    (137, {}, -9, "was killed from outside, or ran out of memory unnoticed"),
    (139, {}, -11, "was ended by signal 11 (SIGSEGV: a crash)"),
    (134, {}, -6, "was ended by signal 6 (SIGABRT: a crash)"),
    (130, {}, 130, "ended with code 130"),
    (127, {}, 127, "ended with code 127"),
    (-15, {"Status": "running"}, -15, "was ended by signal 15"),
])
def test_an_end_is_told_by_name(tmp_path: Path, target: Target, code: int, state: Mapping[str, Any], wanted: int,
                                words: str) -> None:
    ended = judged("docker", target, Ended(code=code, seconds=1.0, timed_out=False),
                   {**END, "ExitCode": code, **state}, tmp_path / "log")
    assert ended.code == wanted
    assert ended.why.startswith(words)


def test_a_container_that_is_gone_was_removed_by_somebody(tmp_path: Path, target: Target) -> None:
    ended = judged("docker", target, Ended(code=137, seconds=1.0, timed_out=False), {}, tmp_path / "log")
    assert ended.why == "was killed from outside: its container was removed"


@pytest.mark.parametrize(("state", "said", "remedy"), [
    ({}, "docker: Error response from daemon: No such image: x", "make images"),
    ({}, "docker: Cannot connect to the Docker daemon", "make doctor"),
    ({**END, "Status": "created", "ExitCode": 127}, "docker: exec: no such file", "make doctor"),
    ({**END, "ExitCode": 137}, "error waiting for container: unexpected EOF", "make doctor"),
    ({}, "Error: statfs /jobs: no such file or directory", "does not see the files"),
    ({}, "Error: container-init binary not found: /usr/libexec/podman/catatonit", "install catatonit"),
])
def test_what_the_client_says_where_it_ran_nothing_is_the_machines_error(
    tmp_path: Path, target: Target, state: Mapping[str, Any], said: str, remedy: str
) -> None:
    log = tmp_path / "log"
    log.write_text(f"$ docker run\n{said}\n\nRun 'docker run --help' for more information\n")
    code = 127 if state.get("ExitCode") == 127 else 125
    with pytest.raises(MachineError) as caught:
        judged("docker", target, Ended(code=code, seconds=1.0, timed_out=False), state, log)
    assert caught.value.message == f"docker could not run the toy toolchain: {said}"
    assert remedy in caught.value.remedy
