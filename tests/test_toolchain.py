"""Images are named after all that they are made from: what changes one of these files changes the name."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from modelfarm.digest import Digests
from modelfarm.target import TOOLCHAINS, read_targets
from modelfarm.toolchain import local_name, sources

TARGETS = read_targets()
BLOCK = re.compile(r'^target "([\w-]+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def toolchains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of docker/; a test that changes a file of it writes the file back."""
    folder = tmp_path_factory.mktemp("farm") / "docker"
    shutil.copytree(TOOLCHAINS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def names(toolchains: Path, digests: Path) -> dict[str, str]:
    """Return the name of every image that this folder makes."""
    return {name: local_name(target, Digests(digests)) for name, target in read_targets(toolchains).items()}


def changed(toolchains: Path, digests: Path, file: str) -> set[str]:
    """Return the targets whose image has another name once a file of the folder has another line."""
    before = names(toolchains, digests)
    path = toolchains / file
    text = path.read_text()
    path.write_text(f"{text}# another line\n")
    try:
        after = names(toolchains, digests)
    finally:
        path.write_text(text)
    assert names(toolchains, digests) == before
    return {name for name in before if before[name] != after[name]}


ON_TRT = {"trt", "trt-onnx2trt", "trt-torch2trt"}


@pytest.mark.parametrize(("file", "renamed"), [
    ("trt/Dockerfile", ON_TRT),
    ("trt/requirements.txt", ON_TRT),
    ("trt/bin/build-onnx-tensorrt", ON_TRT),
    ("trt/parsing.py", {*ON_TRT, "trt-rtx", "trt10"}),
    ("trt-torch2trt/bin/place-torch2trt", {"trt-torch2trt"}),
    ("trt-onnx2trt/Dockerfile", {"trt-onnx2trt"}),
    ("trt-rtx/Dockerfile", {"trt-rtx"}),
    ("onnx/Dockerfile", {"onnx"}),
    ("base/Dockerfile", set(TARGETS)),
    ("jobkit/__init__.py", set(TARGETS)),
    ("trt/requirements.in", set()),
])
def test_a_file_renames_the_images_that_it_goes_into_and_no_others(toolchains: Path, tmp_path: Path, file: str,
                                                                   renamed: set[str]) -> None:
    assert changed(toolchains, tmp_path, file) == renamed


def test_a_file_that_is_new_renames_what_stands_on_its_folder(toolchains: Path, tmp_path: Path) -> None:
    before = names(toolchains, tmp_path)
    file = toolchains / "trt" / "bin" / "another"
    file.touch()
    try:
        after = names(toolchains, tmp_path)
    finally:
        file.unlink()
    assert {name for name in before if before[name] != after[name]} == ON_TRT


def test_a_name_holds_the_digest_of_the_sources(tmp_path: Path) -> None:
    digests = Digests(tmp_path)
    whole = sources(TARGETS["trt-rtx"], digests)
    assert re.fullmatch("[0-9a-f]{64}", whole)
    assert local_name(TARGETS["trt-rtx"], digests) == f"modelfarm/trt-rtx:{whole[:16]}"


# What the bake file says each image is made from, by name: its own folder, other targets, and folders as contexts.
BAKED = dict(BLOCK.findall((TOOLCHAINS / "docker-bake.hcl").read_text()))


def folders(block: str) -> set[str]:
    """Return the folders of docker/ that a target of the bake file mounts or copies from."""
    return {path.split("/")[0] for path in re.findall(r'"docker/([\w./-]+)"', block)}


def below(name: str) -> set[str]:
    """Return the targets of the bake file that one is made from, however many steps away."""
    others = set(re.findall(r'"target:([\w-]+)"', BAKED[name]))
    others |= {other for inherited in re.findall(r"inherits *= *\[(.*?)\]", BAKED[name])
               for other in re.findall(r'"([\w-]+)"', inherited)}
    return others.union(*(below(other) for other in others))


def test_the_bake_file_is_read_whole() -> None:
    assert set(TARGETS) < set(BAKED)
    assert below("trt-onnx2trt") == {"trt", "trt-compiler", "_network"}
    assert below("trt-rtx") >= {"_bookworm", "base-bookworm", "build-bookworm", "_toolchain"}
    assert folders(BAKED["trt-torch2trt"]) == {"trt-torch2trt", "jobkit", "trt", "onnx"}


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_says_which_images_its_own_is_made_from(name: str) -> None:
    made_from = set[str]().union(*(folders(BAKED[other]) for other in below(name))) - {"base", "jobkit", name}
    assert {folder.name for folder in TARGETS[name].stands_on} == made_from


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_says_which_folders_its_image_has_modules_of(name: str) -> None:
    mounted = folders(BAKED[name]) - {"base", "jobkit", name}
    assert {folder.name for folder in TARGETS[name].shares} == mounted
