"""Programs are streamed, kept in a log, and ended with all that they started."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelfarm.command import Ended, printable, run
from modelfarm.errors import MachineError

# Starts a grandchild that ignores SIGTERM, tells its id, and waits.
STUBBORN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", '''
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
'''])
print(child.pid, flush=True)
time.sleep(60)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def lines() -> list[str]:
    return []


def gone(pid: int) -> bool:
    """Wait a little for a process to end."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def test_output_is_kept_and_streamed_with_standard_error(log: Path, lines: list[str]) -> None:
    ended = run(python("import sys; print('out', flush=True); print('err', file=sys.stderr)"), log=log,
                on_line=lines.append)
    assert (ended.code, ended.timed_out) == (0, False)
    assert lines == ["out", "err"]
    assert log.read_text().splitlines()[1:] == ["out", "err"]


def test_lines_arrive_while_the_program_runs(log: Path) -> None:
    seen: list[float] = []
    start = time.perf_counter()
    run(python("import time; print(1, flush=True); time.sleep(0.4); print(2)"), log=log,
        on_line=lambda line: seen.append(time.perf_counter() - start))
    assert seen[1] - seen[0] > 0.3


def test_the_log_begins_with_the_command_as_one_could_paste_it(log: Path, tmp_path: Path) -> None:
    (tmp_path / "some where").mkdir()
    code = "import os, sys; print(os.environ['GREETING'], sys.argv[1:], os.path.basename(os.getcwd()))"
    run([*python(code), Path("a b"), "it's", "$HOME"], log=log, environment={"GREETING": "good day"},
        cwd=tmp_path / "some where")
    command, said = log.read_text().splitlines()
    assert command.startswith(f"$ cd '{tmp_path}/some where' && GREETING='good day' ")
    again = subprocess.run(["sh", "-c", command.removeprefix("$ ")], capture_output=True, text=True, check=True)
    assert again.stdout.strip() == said == "good day ['a b', \"it's\", '$HOME'] some where"


def test_a_log_grows(log: Path) -> None:
    run(["true"], log=log)
    run(["true"], log=log)
    assert log.read_text() == "$ true\n$ true\n"


def test_commands_are_quoted_for_a_shell() -> None:
    assert shlex.split(printable(["a", Path("b c"), "'"], {"X": "1 2"})) == ["X=1 2", "a", "b c", "'"]


@pytest.mark.parametrize(("code", "expected", "words"), [
    ("raise SystemExit(3)", 3, "ended with code 3"),
    ("import os; os.kill(os.getpid(), 9)", -9, "signal 9 (SIGKILL: killed, perhaps for want of memory)"),
    ("import os; os.kill(os.getpid(), 11)", -11, "signal 11 (SIGSEGV: a crash)"),
    ("import os; os.kill(os.getpid(), 15)", -15, "signal 15 (SIGTERM)"),
    ("import os; os.kill(os.getpid(), 40)", -40, "signal 40 (unknown)"),
])
def test_the_end_is_told_in_words(log: Path, code: str, expected: int, words: str) -> None:
    ended = run(python(code), log=log)
    assert ended.code == expected
    assert ended.why.endswith(words)


def test_the_program_runs_where_it_is_told_and_reads_nothing(log: Path, lines: list[str], tmp_path: Path) -> None:
    run(python("import os, sys; print(os.getcwd()); print(repr(sys.stdin.read()))"), log=log, cwd=tmp_path,
        on_line=lines.append)
    assert lines == [str(tmp_path), "''"]


def test_a_program_that_does_not_exist_is_a_machine_error(log: Path) -> None:
    with pytest.raises(MachineError, match="no-such-program cannot be started: No such file"):
        run(["no-such-program"], log=log)
    assert log.read_text() == "$ no-such-program\n"


def test_a_folder_that_does_not_exist_is_named_and_not_the_program(log: Path, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=f"{tmp_path / 'nowhere'} cannot be started"):
        run(["true"], log=log, cwd=tmp_path / "nowhere")


def test_the_last_words_of_a_program_are_never_lost(log: Path, lines: list[str]) -> None:
    """A program may write its last line and end between two looks at the pipe."""
    for _ in range(20):
        run(["sh", "-c", "sleep 0.05; echo last"], log=log, on_line=lines.append)
    assert lines == ["last"] * 20


def test_much_output_is_whole(log: Path) -> None:
    ended = run(python("import sys; sys.stdout.write('x' * 3_000_000 + 'end')"), log=log)
    assert ended.code == 0
    assert log.read_text().splitlines()[1] == "x" * 3_000_000 + "end"


@pytest.mark.parametrize(("written", "expected"), [
    (b"no newline at the end", ["no newline at the end"]), (b"10%\r20%\r100%\n", ["10%", "20%", "100%"]),
    (b"a\r\nb\r\n", ["a", "b"]), (b"\n\n  \nx  \n", ["x"]), (b"caf\xc3\xa9 \xff!\n", ["caf\u00e9 \ufffd!"]), (b"", []),
    (b"y" * 200_000 + b"\nz", ["y" * 200_000, "z"]),
])
def test_any_bytes_become_lines(log: Path, lines: list[str], tmp_path: Path, written: bytes,
                                expected: list[str]) -> None:
    (tmp_path / "bytes").write_bytes(written)
    run(["cat", tmp_path / "bytes"], log=log, on_line=lines.append)
    assert lines == expected
    assert log.read_bytes().endswith(written)


def test_a_character_that_comes_in_two_parts_is_one(log: Path, lines: list[str]) -> None:
    code = "import os, time; os.write(1, b'\\xc3'); time.sleep(0.15); os.write(1, b'\\xa9\\n')"
    run(python(code), log=log, on_line=lines.append)
    assert lines == ["\u00e9"]


def test_a_program_that_closes_its_output_is_waited_for(log: Path) -> None:
    ended = run(["sh", "-c", "exec >&- 2>&-; sleep 0.2; exit 4"], log=log)
    assert ended.code == 4
    assert 0.2 <= ended.seconds < 2


def test_ticks_come_several_times_a_second(log: Path) -> None:
    ticks: list[None] = []
    run(["sleep", "0.5"], log=log, on_tick=lambda: ticks.append(None))
    assert 4 <= len(ticks) <= 30


@pytest.mark.parametrize("child", ["sleep 30", "while :; do echo busy; done"])
def test_a_child_that_is_left_behind_is_ended_and_not_waited_for(log: Path, lines: list[str], child: str) -> None:
    start = time.perf_counter()
    ended = run(["sh", "-c", f"({child}) & echo $!"], log=log, on_line=lines.append)
    assert ended.code == 0
    assert time.perf_counter() - start < 3
    assert gone(int(lines[0]))


def test_the_time_limit_ends_the_whole_group(log: Path, lines: list[str]) -> None:
    ended = run(python(STUBBORN), log=log, seconds=1, on_line=lines.append)
    assert ended.timed_out
    assert ended.why == "was stopped after 1 s, its limit" or ended.seconds > 1.005
    assert ended.code == -signal.SIGTERM
    assert lines[1:] == ["ready"]
    assert gone(int(lines[0]))


def test_what_was_said_before_the_time_limit_is_kept(log: Path, lines: list[str]) -> None:
    ended = run(["sh", "-c", "printf half; exec sleep 30"], log=log, seconds=0.3, on_line=lines.append)
    assert ended.timed_out
    assert lines == ["half"]


def test_words_about_the_limit_give_the_limit_and_not_the_time_to_die() -> None:
    assert Ended(code=-9, seconds=1800.04, timed_out=True).why == "was stopped after 1800 s, its limit"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_exception_ends_the_whole_group(log: Path, lines: list[str], kind: type[BaseException]) -> None:
    def tick() -> None:
        if len(lines) == 2:  # the grandchild is ready
            raise kind

    with pytest.raises(kind):
        run(python(STUBBORN), log=log, on_line=lines.append, on_tick=tick)
    assert gone(int(lines[0]))


def test_an_impatient_second_interrupt_ends_the_group_too(log: Path, lines: list[str]) -> None:
    """Ctrl-C again while a program that ignores SIGTERM is given its time to end."""
    def again(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def tick() -> None:
        if lines:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            raise KeyboardInterrupt

    code = "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(60)"
    before = signal.signal(signal.SIGALRM, again)
    start = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(python(code), log=log, on_line=lines.append, on_tick=tick)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.perf_counter() - start < 2
    assert gone(int(lines[0]))


def test_a_listener_that_fails_ends_the_program(log: Path) -> None:
    def fail(line: str) -> None:
        raise ValueError(line)

    start = time.perf_counter()
    with pytest.raises(ValueError, match="hello"):
        run(["sh", "-c", "echo hello; exec sleep 30"], log=log, on_line=fail)
    assert time.perf_counter() - start < 2


def test_the_program_has_a_group_of_its_own(log: Path, lines: list[str]) -> None:
    """So that Ctrl-C on the terminal reaches the farm alone, which then ends the program in order."""
    report: Callable[[str], None] = lines.append
    run(python("import os; print(os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid())"), log=log, on_line=report)
    assert lines == ["True True"]
