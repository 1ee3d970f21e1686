"""The board: what it says on the way, on a terminal and off it."""

from __future__ import annotations

import io
import os
import pty
import re
import time
from contextlib import suppress
from dataclasses import replace
from typing import cast

import pytest

from modelfarm.board import Blocks, Board
from modelfarm.build import Built
from modelfarm.console import Console
from modelfarm.engines.engine import Outcome
from modelfarm.errors import ConversionError
from modelfarm.job import Job
from modelfarm.phrase import duration
from tests.toys import Toys


@pytest.fixture
def jobs(toys: Toys) -> list[Job]:
    for name in ("a", "b"):
        toys.model(name)
    return toys.jobs("toy", "a", "b")


def good(job: Job, seconds: float = 4.0, **more: object) -> Outcome:
    built = cast(Built, object())
    return Outcome(name=job.name, job=job, built=built, seconds=seconds, lines=("much", "output"), **more)  # type: ignore[arg-type]


def bad(job: Job) -> Outcome:
    return replace(good(job), built=None, error=ConversionError("no"))


def test_blocks_are_what_a_job_said_in_one_piece(jobs: list[Job]) -> None:
    stream = io.StringIO()
    blocks = Blocks(Console(stream, live=False))
    blocks.begin(0, jobs)
    blocks.started(jobs[0])
    blocks.ended(good(jobs[0]))
    blocks.ended(bad(jobs[1]))
    blocks.close()
    assert stream.getvalue() == "much\noutput\nmuch\noutput\n"


def test_the_board_counts(jobs: list[Job]) -> None:
    board = Board(Console(io.StringIO(), live=False), {})
    board.begin(5, jobs)
    assert board.text() == "0 running, 3 waiting, 0 done, 5 cached, 0 failed"
    board.started(jobs[0])
    board.started(jobs[1])
    assert board.text() == "2 running, 1 waiting, 0 done, 5 cached, 0 failed"
    board.ended(good(jobs[0]))
    board.ended(bad(jobs[1]))
    assert board.text().startswith("0 running, 1 waiting, 1 done, 5 cached, 1 failed; about ")
    board.ended(Outcome(name=jobs[2].name, job=jobs[2], waited_for="another"))
    assert board.text().startswith("0 running, 0 waiting, 1 done, 5 cached, 2 failed")


def test_each_job_that_ends_has_a_line_and_only_failures_tell_all(jobs: list[Job]) -> None:
    stream = io.StringIO()
    board = Board(Console(stream, live=False), {})
    board.begin(0, jobs)
    board.ended(good(jobs[0], worker="tcp://b:1"))
    board.ended(bad(jobs[1]))
    board.ended(Outcome(name="c/toy", job=jobs[2], waited_for="another"))
    lines = [re.sub(" +", " ", line) for line in stream.getvalue().splitlines()]
    assert lines == [" + toy/toy done 4.00 s on tcp://b:1", "much", "output", " x a/toy failed (5) 4.00 s",
                     " x c/toy not started 0.00 s"]


def test_the_time_left_follows_what_jobs_took_before(jobs: list[Job]) -> None:
    nothing = Board(Console(io.StringIO(), live=False), {})
    nothing.begin(0, jobs)
    assert nothing.left() is None
    board = Board(Console(io.StringIO(), live=False), {"toy/toy": 10.0, "a/toy": 20.0, "x/y": 60.0})
    board.begin(0, jobs)
    assert board.left() == pytest.approx(10 + 20 + 30), "of b nothing is known: the mean"


def test_jobs_beside_each_other_halve_the_time_left(jobs: list[Job]) -> None:
    board = Board(Console(io.StringIO(), live=False), {job.name: 100.0 for job in jobs})
    board.begin(0, jobs)
    board._began = time.monotonic() - 100.0
    board.started(jobs[0])
    board.started(jobs[1])
    board.ended(good(jobs[0], seconds=100.0))
    board.ended(good(jobs[1], seconds=100.0))
    assert board.left() == pytest.approx(50.0, rel=0.01)


def test_a_board_with_nothing_to_do_draws_nothing() -> None:
    stream = io.StringIO()
    board = Board(Console(stream, live=False), {})
    board.begin(7, [])
    board.close()
    assert stream.getvalue() == ""


def read_until(leader: int, *words: str) -> str:
    """Return what a terminal shows, once it shows these words; it gets what is written piece by piece."""
    text, deadline = "", time.monotonic() + 20
    while not all(word in text for word in words):
        assert time.monotonic() < deadline, text
        with suppress(BlockingIOError):
            text += os.read(leader, 1 << 16).decode(errors="replace")
        time.sleep(0.01)
    return text


def test_on_a_terminal_it_is_drawn_and_gone_in_the_end(jobs: list[Job]) -> None:
    leader, follower = pty.openpty()
    os.set_blocking(leader, False)
    with os.fdopen(follower, "w", buffering=1) as stream, Console(stream, live=True) as console:
        board = Board(console, {})
        board.begin(2, jobs)
        board.started(jobs[0])
        read_until(leader, "1 running, 2 waiting, 0 done, 2 cached, 0 failed", "toy/toy")
        board.ended(good(jobs[0]))
        board.close()
        console.close()
        read_until(leader, "+ toy/toy")
    os.close(leader)


@pytest.mark.parametrize(("seconds", "words"), [
    (0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3540, "59 min"), (3599, "1 h 0 min"), (7199, "2 h 0 min"),
    (5400, "1 h 30 min")])
def test_durations_read_well(seconds: float, words: str) -> None:
    assert duration(seconds) == words
