"""A job's events become steps on the console, whenever and however they arrive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modelfarm.console import Bar, Console, Recorder, Step
from modelfarm.runners.runner import Events


class Watched(Recorder):
    """A recorder that also keeps what bars are told."""

    def __init__(self) -> None:
        super().__init__()
        self.moves: list[tuple[str, float, float]] = []

    def begin(self, text: str) -> Step:
        moves = self.moves

        class Moves(Bar):
            def progress(self, done: float, total: float) -> None:
                moves.append((text, done, total))

            def close(self) -> None:
                moves.append((text, -1, -1))

        return Step(self, text, Moves())


def write(file: Path, *events: dict[str, Any]) -> None:
    with file.open("a") as stream:
        stream.writelines(f"{json.dumps(event)}\n" for event in events)


def start(step: str) -> dict[str, Any]:
    return {"at": 0, "event": "start", "step": step}


def end(step: str, seconds: float = 1.5) -> dict[str, Any]:
    return {"at": 1, "event": "end", "step": step, "seconds": seconds}


def words(console: Recorder) -> list[str]:
    return [" ".join(line.split()) for line in console.kept]


def test_steps_notes_and_progress_are_shown_as_they_come(tmp_path: Path) -> None:
    file, console = tmp_path / "events.jsonl", Watched()
    events = Events(file, console)
    events.poll()  # the job has not begun
    write(file, start("export"), {"at": 0, "event": "progress", "step": "export", "done": 3, "of": 10})
    events.poll()
    assert (words(console), console.moves) == ([], [("export", 3, 10)])
    write(file, {"at": 0, "event": "note", "text": "opset 12"}, end("export", 2.25))
    events.poll()
    events.poll()
    assert words(console) == [". opset 12", "+ export 2.25 s"]
    events.close()
    assert len(console.kept) == 2


def test_half_a_line_waits_for_its_rest(tmp_path: Path) -> None:
    file, console = tmp_path / "events.jsonl", Watched()
    events = Events(file, console)
    line = json.dumps({"at": 0, "event": "note", "text": "caf\u00e9"}, ensure_ascii=False).encode() + b"\n"
    for position in range(len(line)):
        assert console.kept == []
        with file.open("ab") as stream:
            stream.write(line[position:position + 1])
        events.poll()
    assert words(console) == [". caf\u00e9"]


def test_steps_that_never_ended_have_failed(tmp_path: Path) -> None:
    file, console = tmp_path / "events.jsonl", Watched()
    events = Events(file, console)
    write(file, start("export"), start("inner"), end("inner"))
    events.close()
    assert [line.split()[:2] for line in console.kept] == [["+", "inner"], ["x", "export"]]
    events.close()
    assert len(console.kept) == 2


def test_the_end_of_a_step_that_never_began_is_nothing(tmp_path: Path) -> None:
    file, console = tmp_path / "events.jsonl", Watched()
    write(file, end("export"), {"at": 0, "event": "progress", "step": "export", "done": 1, "of": 2})
    Events(file, console).close()
    assert (console.kept, console.moves) == ([], [])


def test_a_job_that_says_nothing_shows_nothing(tmp_path: Path) -> None:
    console: Console = Watched()
    Events(tmp_path / "events.jsonl", console).close()
