"""The images of TensorRT 8.2: every stage is built, on Debian and with stand-ins for what only NVIDIA has.

A stand-in is a release of TensorRT, the sources of onnx-tensorrt and a wheel of pycuda, each with the layout of the
real one. So the stages, their programs, what the image holds and its test of itself are real; no engine is.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelfarm.console import Console
from modelfarm.containers import Client
from modelfarm.digest import Digests
from modelfarm.images import make_base, open_workshop
from modelfarm.images.base import local_name
from modelfarm.settings import ROOT
from tests.images.baking import GIVEN
from tests.images.standins import make_pycuda, make_release, make_sources

pytestmark = pytest.mark.images

BASE = local_name("bullseye")


@dataclass(frozen=True, kw_only=True)
class Baker:
    """Builds stages of the trt images under names that are gone afterwards."""

    client: Client
    folder: Path
    word: str

    def bake(self, target: str, stage: str = "image", **given: str) -> tuple[int, str, str]:
        """Return the exit code, what was said, and the name of what was built."""
        name = f"modelfarm-test/{target}:{self.word}-{stage}"
        parts = {"trt", "trt-compiler", "trt-pycuda"} if target != "trt" else {"trt"}
        tags = [f"--set={part}.tags=modelfarm-test/{part}:{self.word}" for part in sorted(parts - {target})]
        words = [self.client.program, "buildx", "bake", "-f", "docker/docker-bake.hcl", "--progress", "plain", "--load",
                 "--provenance=false", *tags, f"--set={target}.tags={name}", f"--set={target}.target={stage}", target]
        if target == "trt-onnx2trt":
            words.remove(f"--set=trt-pycuda.tags=modelfarm-test/trt-pycuda:{self.word}")
        passed = {key: value for key, value in os.environ.items() if key in GIVEN and key != "WHEELHOUSE"}
        clean = {key: value for key, value in os.environ.items() if key not in GIVEN}
        done = subprocess.run(words, cwd=ROOT, env={**clean, **passed, **given}, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        return done.returncode, done.stdout, name

    def run(self, image: str, *words: str, entry: str = "") -> subprocess.CompletedProcess[str]:
        options = ["--entrypoint", entry] if entry else []
        return subprocess.run([self.client.program, "run", "--rm", "--network", "none", "--read-only", "--tmpfs",
                               "/tmp:exec", *options, image, *words], capture_output=True, text=True)

    def discard(self) -> None:
        rows = self.client.ask("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
        for row in rows:
            if self.word in row:
                subprocess.run([self.client.program, "image", "rm", row], capture_output=True, check=False)


@pytest.fixture(scope="module")
def baker(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Baker]:
    if client.image(BASE) is None:  # an engine that starts empty
        make_base(open_workshop(tmp_path_factory.mktemp("memory"), Digests(tmp_path_factory.mktemp("digests"))),
                  "bullseye", Console(live=False))
    baker = Baker(client=client, folder=tmp_path_factory.mktemp("trt"), word=secrets.token_hex(6))
    yield baker
    baker.discard()


@pytest.fixture(scope="module")
def given(baker: Baker) -> dict[str, str]:
    """Return the variables that a user sets: a base, a release of TensorRT and a checkout of onnx-tensorrt."""
    make_pycuda(baker.folder / "wheels")
    return {"TRT_BASE": BASE, "TENSORRT_ROOT": str(make_release(baker.folder / "TensorRT-8.2.4.2")),
            "SOURCE_ONNX_TENSORRT": str(make_sources(baker.folder / "onnx-tensorrt")),
            "WHEELHOUSE": str(baker.folder / "wheels")}


@pytest.fixture(scope="module")
def compiled(baker: Baker, given: dict[str, str]) -> str:
    """Return the image of the stage that compiles onnx-tensorrt."""
    code, said, name = baker.bake("trt", "onnx-tensorrt", **given)
    assert code == 0, said[-8000:]
    return name


Asking = Callable[..., str]


@pytest.fixture
def inside(baker: Baker, compiled: str) -> Asking:
    """Return a function that runs a command in that image and returns what it prints."""

    def ask(*words: str) -> str:
        done = baker.run(compiled, *words[1:], entry=words[0])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return ask


def test_onnx2trt_is_built_from_the_folders_that_were_given_and_runs(inside: Asking) -> None:
    assert inside("/opt/onnx-tensorrt/bin/onnx2trt") == "TensorRT 8200, parsed 2"


def test_it_is_linked_to_that_tensorrt_and_to_libraries_beside_it(inside: Asking) -> None:
    linked = dict(line.split(" => ") for line in inside("ldd", "/opt/onnx-tensorrt/bin/onnx2trt").splitlines()
                  if " => " in line)
    found = {name.strip().partition(".so")[0]: place.split()[0] for name, place in linked.items()}
    assert found["libnvinfer"] == "/opt/tensorrt/lib/libnvinfer.so.8"
    assert found["libnvonnxparser"].startswith("/opt/onnx-tensorrt/")
    assert found["libprotobuf"].startswith("/opt/onnx-tensorrt/"), "the image itself has no protobuf"


def test_the_parser_has_the_name_that_pythons_bindings_look_for(inside: Asking) -> None:
    files = inside("ls", "/opt/onnx-tensorrt/lib").split()
    assert "libnvonnxparser.so.8" in files
    assert not [name for name in files if name.endswith(".a")], "what only compilers want is left out"


def test_only_what_runs_is_taken_of_the_release(inside: Asking) -> None:
    assert sorted(inside("ls", "/opt/tensorrt").split()) == ["include", "lib", "python", "version"]
    assert inside("cat", "/opt/tensorrt/version") == "8.2.4"
    code = "import tensorrt, sys; print(tensorrt.__version__, sys.version_info[:2])"
    assert inside("env", "PYTHONPATH=/opt/tensorrt/python", "python3", "-c", code) == "8.2.4.2 (3, 9)"


def test_a_folder_without_git_is_said_to_be_one(inside: Asking) -> None:
    assert inside("cat", "/opt/onnx-tensorrt/commit") == "a folder without git"


@pytest.mark.parametrize(("harm", "said"), [
    ("version", "TensorRT 8.6.1 is not 8.2"),
    ("header", "it has no include/NvInferVersion.h"),
    ("wheel", "TENSORRT_ROOT has no Python bindings for cp39 in python/"),
])
def test_a_release_that_does_not_fit_ends_the_build_with_the_reason(baker: Baker, given: dict[str, str], tmp_path: Path,
                                                                    harm: str, said: str) -> None:
    release = make_release(tmp_path / "release", version="8.6.1" if harm == "version" else "8.2.4",
                           tags=("cp38",) if harm == "wheel" else ("cp39",))
    if harm == "header":
        (release / "include" / "NvInferVersion.h").unlink()
    code, printed, _ = baker.bake("trt", "placed", **{**given, "TENSORRT_ROOT": str(release)})
    assert code != 0 and said in printed


def test_a_base_without_tensorrt_and_no_release_is_told_both_ways(baker: Baker, given: dict[str, str]) -> None:
    code, printed, _ = baker.bake("trt", "placed", **{**given, "TENSORRT_ROOT": ""})
    assert code != 0
    assert "the base has no TensorRT: name another with TRT_BASE, or a release with TENSORRT_ROOT" in printed


def test_a_base_that_has_tensorrt_needs_no_release(baker: Baker, given: dict[str, str], tmp_path: Path) -> None:
    """As NVIDIA's container has it: headers and libraries where Debian's packages put them, bindings importable."""
    release = make_release(tmp_path / "release")
    (tmp_path / "Dockerfile").write_text(
        f"FROM {BASE}\nCOPY release/include/ /usr/include/x86_64-linux-gnu/\n"
        "COPY release/targets/x86_64-linux-gnu/lib/ /usr/lib/x86_64-linux-gnu/\n"
        "COPY release/python/ /opt/tensorrt/python/\n")
    assert release.is_dir()
    base = f"modelfarm-test/nvidia:{baker.word}"
    subprocess.run([baker.client.program, "build", "-q", "-t", base, tmp_path], check=True, capture_output=True)
    code, printed, name = baker.bake("trt", "onnx-tensorrt", **{**given, "TENSORRT_ROOT": "", "TRT_BASE": base})
    assert code == 0, printed[-4000:]
    done = baker.run(name, entry="/opt/onnx-tensorrt/bin/onnx2trt")
    assert done.stdout.strip() == "TensorRT 8200, parsed 2", done.stderr
    assert baker.run(name, "-L", "/opt/tensorrt/lib/libnvinfer.so.8", entry="test").returncode == 0, "a link, no copy"


@pytest.mark.parametrize(("missing", "said"), [
    ("CMakeLists.txt", "SOURCE_ONNX_TENSORRT has no CMakeLists.txt"),
    ("third_party/onnx/CMakeLists.txt", "git submodule update --init --recursive"),
])
def test_sources_that_are_not_whole_end_the_build_with_the_remedy(baker: Baker, given: dict[str, str], tmp_path: Path,
                                                                  missing: str, said: str) -> None:
    sources = make_sources(tmp_path / "sources")
    (sources / missing).unlink()
    code, printed, _ = baker.bake("trt", "onnx-tensorrt", **{**given, "SOURCE_ONNX_TENSORRT": str(sources)})
    assert code != 0 and said in printed


def test_sources_without_the_program_are_of_another_branch(baker: Baker, given: dict[str, str],
                                                           tmp_path: Path) -> None:
    sources = make_sources(tmp_path / "sources")
    text = (sources / "CMakeLists.txt").read_text()
    (sources / "CMakeLists.txt").write_text(text.replace("NOT DEFINED BUILD_LIBRARY_ONLY", "BUILD_THE_PROGRAM"))
    code, printed, _ = baker.bake("trt", "onnx-tensorrt", **{**given, "SOURCE_ONNX_TENSORRT": str(sources)})
    assert code != 0 and "without its program onnx2trt: take the branch for 8.2" in printed


@pytest.fixture(scope="module")
def image(baker: Baker, given: dict[str, str]) -> str:
    """Return the whole image."""
    code, said, name = baker.bake("trt", **given)
    assert code == 0, said[-8000:]
    return name


def test_the_whole_image_tests_itself_and_says_that_its_job_needs_a_gpu(baker: Baker, image: str) -> None:
    done = baker.run(image, "--self-test")
    assert done.returncode == 0, done.stdout
    assert "ok    compiler: none" in done.stdout
    assert "ok    packages: 16 as in the lock" in done.stdout
    assert ("ok    job: the toolchain is whole, and its job is left out: CUDA has no GPU here: cuInit failed: no "
            "CUDA-capable device is detected") in done.stdout


def test_it_describes_itself_with_tensorrts_version(baker: Baker, image: str) -> None:
    described = json.loads(baker.run(image, "--describe").stdout)
    assert described["packages"]["tensorrt"]["version"] == "8.2.4.2"
    assert described["packages"]["pycuda"]["version"] == "2024.1.2"


def test_the_way_by_onnx2trt_is_the_same_image_with_another_converter(baker: Baker, image: str,
                                                                      given: dict[str, str]) -> None:
    code, said, name = baker.bake("trt-onnx2trt", **given)
    assert code == 0, said[-8000:]
    done = baker.run(name, "--self-test")
    assert done.returncode == 0, done.stdout
    assert "job: the toolchain is whole, and its job is left out" in done.stdout
    assert baker.run(name, "/opt/modelfarm/trt-onnx2trt", entry="ls").stdout.split().count("onnx2trt.py") == 1
