"""The console: plain lines where nobody looks, bars on a terminal, folding in CI."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from modelfarm.console import Console, Recorder
from modelfarm.settings import ROOT

STEP = re.compile(r"  ([+x]) (.+?) +(\d+\.\d\d) s")


@pytest.fixture(autouse=True)
def _no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def on_terminal(code: str, tmp_path: Path, **environment: str) -> str:
    """Run code with a pseudo-terminal as its output and return all that it wrote there."""
    ours, theirs = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "GITHUB_ACTIONS", "NO_COLOR")}
    settings = {**inherited, "TERM": "xterm-256color", "COLUMNS": "100", "PYTHONPATH": str(ROOT), **environment}
    script = tmp_path / "script.py"
    script.write_text(f"from modelfarm.console import Console\nimport time\n{code}")
    with subprocess.Popen([sys.executable, script], stdout=theirs, stderr=theirs, env=settings) as process:
        os.close(theirs)
        written = bytearray()
        try:
            while data := os.read(ours, 65536):
                written += data
        except OSError:  # Linux reports the end of a pseudo-terminal as an input/output error
            pass
    os.close(ours)
    assert process.returncode == 0, written.decode()
    return written.decode()


STEPS = """
with Console() as console:
    with console.step("convert [fp32] :x:") as step:
        for done in range(4):
            step.progress(done, 4)
            time.sleep(0.08)
        console.note("about [bold]x[/bold] :warning:")
    console.line("the end")
"""


def test_a_terminal_shows_a_bar_and_takes_it_away(tmp_path: Path) -> None:
    written = on_terminal(STEPS, tmp_path)
    assert "\u2501" in written  # the bar
    assert "\x1b[2K" in written  # erases a line
    assert written.count("convert [fp32] :x:") > 2
    last = written.rpartition("\x1b[2K")[2]
    assert "\u2501" not in last, "the bar is still there"
    assert "\x1b[?25h" in written, "the cursor is not shown again"
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written)
    assert re.search(r"  \+ convert \[fp32\] :x: +0\.\d\d s", plain)
    assert "  . about [bold]x[/bold] :warning:" in plain, "words are no markup"
    assert "the end" in plain


def test_a_terminal_of_a_ci_service_gets_plain_lines(tmp_path: Path) -> None:
    written = on_terminal(STEPS, tmp_path, CI="true")
    assert "\x1b" not in written
    assert [line for line in written.splitlines() if STEP.fullmatch(line)]


def test_a_terminal_is_left_in_order_by_a_failure(tmp_path: Path) -> None:
    written = on_terminal("""
try:
    with Console() as console, console.step("break"):
        time.sleep(0.1)
        raise ValueError
except ValueError:
    print("caught")
""", tmp_path)
    assert re.search(r"  x break +0\.\d\d s", written)
    assert written.rpartition("\x1b[?25h")[1], "the cursor is not shown again"
    assert "caught" in written


def test_plain_output_has_steps_with_times_and_no_escape_codes(stream: io.StringIO) -> None:
    console = Console(stream)
    with console.step("first") as step:
        step.progress(1, 2)
    console.begin("second").end(seconds=12.345, detail="3 files")
    console.note("remark")
    console.close()
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert [match.groups() for line in lines[:2] if (match := STEP.fullmatch(line))] == [
        ("+", "first", "0.00"), ("+", "second: 3 files", "12.35")]
    assert lines[2] == "  . remark"


def test_times_stand_below_each_other(stream: io.StringIO) -> None:
    console = Console(stream)
    for text, seconds in [("a", 0.0), ("a longer step", 123.4), ("x" * 60, 5.0)]:
        console.begin(text).end(seconds=seconds)
    assert len({len(line) for line in stream.getvalue().splitlines()}) == 1


def test_a_failed_step_is_marked_and_the_failure_goes_on(stream: io.StringIO) -> None:
    with pytest.raises(KeyboardInterrupt), Console(stream).step("break"):
        raise KeyboardInterrupt
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("  x break ")


def test_every_line_is_written_at_once(stream: io.StringIO) -> None:
    """So that a CI log, or `tail -f`, shows it when it happens."""
    flushed: list[str] = []
    stream.flush = lambda: flushed.append(stream.getvalue())  # type: ignore[method-assign]
    console = Console(stream)
    console.line("one")
    console.line()
    assert flushed == ["one\n", "one\n\n"]


@pytest.mark.parametrize(("github", "expected"), [
    ("", ["digits", "inside", "after"]), ("true", ["::group::digits", "inside", "::endgroup::", "after"]),
])
def test_sections_fold_on_github(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, github: str,
                                 expected: list[str]) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", github)
    console = Console(stream)
    with console.section("digits"):
        console.line("inside")
    console.line("after")
    assert stream.getvalue().splitlines() == expected


def test_sections_fold_on_gitlab(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITLAB_CI", "true")
    before = int(time.time())
    console = Console(stream)
    with console.section("digits/onnx 0a1b"):
        console.line("inside")
        time.sleep(1.1)
    console.line("after")
    mark = r"\x1b\[0Ksection_{}:(\d+):digits_onnx_0a1b\r\x1b\[0K"
    whole = mark.format("start") + "digits/onnx 0a1b\ninside\n" + mark.format("end") + "\nafter\n"
    match = re.fullmatch(whole, stream.getvalue())
    assert match, stream.getvalue()
    began, ended = map(int, match.groups())
    assert before <= began < ended <= time.time()


def test_a_section_that_fails_is_closed_on_gitlab(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITLAB_CI", "true")
    with pytest.raises(ValueError, match="x"), Console(stream).section("digits"):
        raise ValueError("x")
    assert stream.getvalue().count("section_start:") == stream.getvalue().count("section_end:") == 1


def test_a_section_that_fails_is_closed(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(ValueError, match="x"), Console(stream).section("digits"):
        raise ValueError("x")
    assert stream.getvalue().splitlines() == ["::group::digits", "::endgroup::"]


def test_tables_are_aligned(stream: io.StringIO) -> None:
    Console(stream).table([("variant", "size", ""), ("onnx", "1.2 MB", "here"), ("tflite-uint8", "3 MB", "x")])
    assert stream.getvalue() == ("  variant       size\n"
                                 "  onnx          1.2 MB  here\n"
                                 "  tflite-uint8  3 MB    x\n")


def test_lines_of_parallel_jobs_stay_together(stream: io.StringIO) -> None:
    console = Console(stream)

    def job(name: str) -> None:
        recorder = Recorder()
        with recorder.section(name):
            for _ in range(50):
                recorder.note(name)
            recorder.table([(name, "x"), (name, "y")])
        console.lines(recorder.kept)

    threads = [threading.Thread(target=job, args=(f"job {index}",)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs = re.findall(r"job (\d)", stream.getvalue())
    assert len(jobs) == 8 * 53
    assert all(len(set(jobs[start:start + 53])) == 1 for start in range(0, len(jobs), 53))


def test_no_lines_are_nothing(stream: io.StringIO) -> None:
    Console(stream).lines([])
    assert stream.getvalue() == ""


def test_a_recorder_writes_nothing_itself(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    with recorder.step("x"):
        recorder.line("y")
    assert capsys.readouterr().out == ""
    assert recorder.kept[0] == "y"
    assert STEP.fullmatch(recorder.kept[1])


def test_a_cached_job_imports_nothing_heavy() -> None:
    code = "import modelfarm.console, modelfarm.plan, modelfarm.door, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"rich", "numpy", "cv2", "numba", "urllib.request", "http.client"} & set(loaded.split())


def test_a_meter_is_a_step_that_begins_with_its_first_figures_and_ends_with_its_last() -> None:
    stream = io.StringIO()
    console = Console(stream, live=False)
    show = console.meter("download the weights")
    show(1, 0)
    show(5, 10)
    assert stream.getvalue() == ""
    show(10, 10)
    assert re.fullmatch(r"  \+ download the weights +\d+\.\d\d s\n", stream.getvalue())
