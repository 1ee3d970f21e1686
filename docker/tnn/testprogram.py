"""TNNTest, upstream's test program: a model run on one device of TNN."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Dict, List, Optional, Sequence

from jobkit import GraphError, OptionError
from jobkit.program import Ended, run
from jobkit.runtime import Arrays
from textfile import read_outputs, write_numbers

NAME = "TNNTest"

# As recipes spell them, and as the program does; its own default is ARM.
DEVICES: Dict[str, str] = {"x86": "X86", "naive": "NAIVE"}

TIME = re.compile(
    r"time cost: min =\s*(?P<min>[\d.]+)\s*ms\s*\|\s*max =\s*(?P<max>[\d.]+)\s*ms\s*\|\s*avg =\s*(?P<avg>[\d.]+)\s*ms"
)

# The program says so and goes on to its end, with exit code 0.
TROUBLE = re.compile(r"(init tnn|create instance|ConvertFromMat|Forward|ConvertToMat) failed: *(.*)")


@dataclass(frozen=True)
class Cost:
    """Milliseconds of one run, as the program measured them."""

    least: float
    most: float
    mean: float


def read_cost(lines: Sequence[str]) -> Optional[Cost]:
    """Find the line with the time that the runs took; None where there is none."""
    found = [match for match in map(TIME.search, lines) if match]
    if not found:
        return None
    return Cost(float(found[-1]["min"]), float(found[-1]["max"]), float(found[-1]["avg"]))


def command(home: Path, proto: Path, device: str, folder: Path, threads: int, runs: int, warmup: int) -> List[str]:
    """Give the command that runs the model on the numbers of ``in.txt`` in `folder`."""
    return [
        str(home / NAME),
        *("-mt", "TNN", "-mp", str(proto), "-dt", DEVICES[device], "-nt", "NAIVE"),
        *("-ip", str(folder / "in.txt"), "-op", str(folder / "out.txt")),
        *("-ic", str(runs), "-wc", str(warmup), "-th", str(threads)),
    ]


class OnDevice:
    """A model on a device; calling it runs the program once, and `measured` then tells the inference's part of it."""

    def __init__(self, home: Path, proto: Path, device: str, threads: int) -> None:
        """Remember what to run; the weights lie beside `proto` under the same name."""
        self.home, self.proto, self.device, self.threads = home, proto, device, threads
        # The plain device is slow, and its first run is no slower than the next.
        self.warmup = 0 if device == "naive" else 1
        self.seconds: Optional[float] = None

    def measured(self) -> float:
        """Give the seconds of the last run's inference, without the program's start and the text around it."""
        assert self.seconds is not None
        return self.seconds

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run the model once.

        Raises GraphError where the program does not do it, with what it said.
        """
        if len(inputs) != 1:
            raise OptionError(
                f"TNN's test program feeds one input, and the model has {len(inputs)}: {', '.join(inputs)}",
                "leave out tnn for this model",
            )
        with TemporaryDirectory(prefix="tnn-") as temporary:
            folder = Path(temporary)
            write_numbers(folder / "in.txt", next(iter(inputs.values())))
            ended = run(
                command(self.home, self.proto, self.device, folder, self.threads, 1, self.warmup), folder
            )
            cost = read_cost(ended.lines)
            problem = _problem(ended, cost, folder / "out.txt")
            if problem or not cost:
                raise GraphError(f"TNN's {DEVICES[self.device]} device {problem}", _remedy(self.device))
            self.seconds = cost.mean / 1000
            return read_outputs(folder / "out.txt")


def _problem(ended: Ended, cost: Optional[Cost], out: Path) -> str:
    if ended.signal:
        return f"{ended.how}: {ended.tail()}"
    trouble = next((match for match in map(TROUBLE.search, ended.lines) if match), None)
    if trouble:
        return f"cannot do it: {trouble[1]} failed: {trouble[2]}".rstrip(": ")
    if cost is None or not out.is_file() or ended.code:
        missing = "no time" if cost is None else "no outputs" if not out.is_file() else "outputs that are not trusted"
        return f"{ended.how} and left {missing}: {ended.tail()}"
    return ""


def _remedy(device: str) -> str:
    if device == "naive":
        return "make lint TARGET=tnn says what TNN does not take; see convert.log"
    return "make lint TARGET=tnn says what TNN does not take; device: naive in the recipe runs on the plain CPU device"
