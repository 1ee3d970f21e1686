"""Owners: dead is who is gone for certain, and nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from modelfarm.runners.owner import Owner

HERE = Owner.this()


@pytest.fixture
def other() -> Owner:
    """Return the owner that another process was, which has ended."""
    code = "from modelfarm.runners.owner import Owner; print(Owner.this())"
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    owner = Owner.parse(text)
    assert owner is not None
    return owner


def test_an_owner_is_read_as_it_was_written() -> None:
    assert Owner.parse(str(HERE)) == HERE
    assert HERE.process == os.getpid()
    assert str(HERE).count("/") == 4
    assert all(str(HERE).split("/"))


@pytest.mark.parametrize("text", ["", "a/b/c/1", "a/b/c/x/1", "a/b/c/-1/1", "a/b/c/1/2/3", "<no value>"])
def test_a_label_of_somebody_else_is_none(text: str) -> None:
    assert Owner.parse(text) is None


@pytest.mark.parametrize("running", [True, False])
def test_this_process_lives_and_one_that_ended_is_dead(other: Owner, running: bool) -> None:
    assert not HERE.dead(running=running)
    assert other.dead(running=running)


def test_a_process_that_only_has_the_number_is_another() -> None:
    assert replace(HERE, started="1").dead(running=True)


def test_a_process_of_another_user_lives() -> None:
    assert not replace(HERE, process=1, started="").dead(running=True)


def test_a_process_that_ended_and_was_not_asked_how_is_dead() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert replace(HERE, process=child).dead(running=True)
    finally:
        os.waitpid(child, 0)


def test_of_another_machine_or_namespace_nobody_is_dead(other: Owner) -> None:
    for elsewhere in (replace(other, host="elsewhere"), replace(other, namespace="1")):
        assert not elsewhere.dead(running=True)
        assert not elsewhere.dead(running=False)


def test_of_another_boot_only_what_runs_no_more_is_dead(other: Owner) -> None:
    earlier = replace(HERE, boot="earlier")
    assert earlier.dead(running=False)
    assert not earlier.dead(running=True)  # a machine of the same name
