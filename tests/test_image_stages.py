"""What buildx prints becomes steps: one for each stage that does something, none for the noise."""

from __future__ import annotations

import io
import re

import pytest

from modelfarm.console import Console
from modelfarm.images.stages import Stages

# As buildx 0.13 prints it.
OUTPUT = """\
#0 building with "default" instance using docker driver

#1 [internal] load local bake definitions
#1 reading docker/docker-bake.hcl 143B / 143B done
#1 DONE 0.0s

#3 [onnx internal] load build definition from Dockerfile
#3 transferring dockerfile: 159B done
#3 DONE 0.0s

#5 [base-bookworm runtime 1/2] RUN --mount=type=cache,id=apt,target=/var/cache/apt,sharing=locked apt-install python3
#5 CACHED

#7 [onnx packages 1/1] COPY hi.txt /hi.txt
#7 DONE 0.1s

#8 [onnx packages 2/3] RUN --mount=type=secret,id=extra_ca --network=default install-toolchain   /run/requirements.txt
#8 0.166 building
#9 [stage-1 2/2] RUN echo unnamed
#9 0.001 unnamed

#8 [onnx packages 2/3] RUN --mount=type=secret,id=extra_ca --network=default install-toolchain   /run/requirements.txt
#8 1.169 working
#9 DONE 0.2s
#8 DONE 1.2s

#10 exporting to image
#10 exporting layers
#10 exporting layers 2.0s done
#10 writing image sha256:338489940c02 done
#10 DONE 2.1s
"""


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def stages(stream: io.StringIO) -> Stages:
    return Stages(Console(stream, live=False))


def shown(stream: io.StringIO) -> list[str]:
    return [re.sub(" +", " ", line.strip()) for line in stream.getvalue().splitlines()]


def test_stages_that_work_are_steps_with_their_times(stages: Stages, stream: io.StringIO) -> None:
    for line in OUTPUT.splitlines():
        stages(line)
    stages.close()
    assert shown(stream) == ["+ stage-1: echo unnamed 0.20 s",
                             "+ onnx packages: install-toolchain /run/requirements.txt 1.20 s",
                             "+ write the image 2.10 s"]


def test_a_stage_that_fails_is_marked_and_so_are_those_that_it_stopped(stages: Stages, stream: io.StringIO) -> None:
    for line in ("#4 [2/2] RUN one", "#4 0.1 x", "#5 [a 2/2] RUN two", "#5 0.1 x", "#6 [b 1/1] RUN three", "#6 0.2 x",
                 '#4 ERROR: process "/bin/sh -c one" did not complete successfully: exit code: 1', "#5 CANCELED"):
        stages(line)
    stages.close()
    assert [line.rpartition(" ")[0].rpartition(" ")[0] for line in shown(stream)] == [
        "x image: one", "x a: two", "x b: three"]
    stages.close()
    assert len(shown(stream)) == 3


def test_a_long_command_is_cut(stages: Stages, stream: io.StringIO) -> None:
    stages(f"#4 [2/2] RUN {'word ' * 100}")
    stages("#4 0.1 x")
    stages.close()
    assert re.match(r"  x image: (word )+[a-z ]*\.\.\. ", stream.getvalue())
    assert len(stream.getvalue()) < 80


@pytest.mark.parametrize("line", ["", "no stage", "#", "#x y", "#1", "#1 0.5 output of an unnamed stage", "#7 DONE"])
def test_any_line_is_taken(stages: Stages, stream: io.StringIO, line: str) -> None:
    stages(line)
    stages.close()
    assert stream.getvalue() == ""
