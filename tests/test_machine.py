"""The machine as the kernel tells of it, in folders that look like its own."""

from __future__ import annotations

import os
from pathlib import Path

from modelfarm import machine


def system(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_cores_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    assert machine.cores() == len(allowed)
    try:
        os.sched_setaffinity(0, [min(allowed)])
        assert machine.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_memory_is_the_machines_or_what_its_cgroup_may_have(tmp_path: Path) -> None:
    whole = system(tmp_path / "a", proc__meminfo="MemFree: 5 kB\nMemTotal:       2048 kB\n")
    assert machine.memory(whole) == 2 << 20
    (whole / "sys/fs/cgroup").mkdir(parents=True)
    for text, expected in (("max\n", 2 << 20), (f"{1 << 20}\n", 1 << 20), (f"{1 << 40}\n", 2 << 20)):
        (whole / "sys/fs/cgroup/memory.max").write_text(text)
        assert machine.memory(whole) == expected


def test_cgroups_of_the_first_kind_write_a_large_number_where_there_is_no_limit(tmp_path: Path) -> None:
    limit = tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes"
    system(tmp_path, proc__meminfo="MemTotal: 2048 kB\n")
    limit.parent.mkdir(parents=True)
    for text, expected in (("9223372036854771712", 2 << 20), ("4096", 4096)):
        limit.write_text(text)
        assert machine.memory(tmp_path) == expected


def test_a_kernel_that_says_nothing_has_no_known_memory(tmp_path: Path) -> None:
    assert machine.memory(tmp_path) == 0


def test_this_machine_has_memory_and_a_processor() -> None:
    assert machine.memory() > 100 << 20
    assert machine.processor()


def test_the_processor_is_named(tmp_path: Path) -> None:
    system(tmp_path, proc__cpuinfo="processor: 0\nmodel name\t: A Processor: 2 GHz\nmodel name\t: Another\n")
    assert machine.processor_of(tmp_path) == "A Processor: 2 GHz"
    assert machine.processor_of(tmp_path / "none") == ""
