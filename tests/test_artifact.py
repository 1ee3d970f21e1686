"""Artifacts: what a manifest must say, and what is found wrong with a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelfarm.artifact import Artifact, Failure, check_names, version_of
from modelfarm.digest import Digests
from modelfarm.errors import ArtifactError, UsageError

KEY = "0123456789abcdef" * 4
FILES = {"model.onnx": b"weights", "labels/en.txt": b"cat\ndog\n"}


def write(folder: Path, files: dict[str, bytes] = FILES) -> dict[str, Any]:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    subjects = [
        {"name": name, "digest": {"sha256": hashlib.sha256(c).hexdigest()}, "annotations": {"size": len(c)}}
        for name, c in files.items()
    ]
    manifest = {"subject": subjects, "predicate": {"buildDefinition": {"internalParameters": {"key": KEY}}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def read(folder: Path) -> Artifact:
    return Artifact.read(folder, model="digits", variant="onnx", version=KEY[:16])


def test_an_artifact_is_what_its_manifest_says(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    artifact = read(tmp_path)
    assert (artifact.model, artifact.variant, artifact.key) == ("digits", "onnx", KEY)
    assert artifact.version == "0123456789abcdef"
    assert artifact.subjects == {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    assert artifact.size == 7 + 8
    assert artifact.manifest == manifest
    assert artifact.path("labels/en.txt").read_bytes() == b"cat\ndog\n"
    assert artifact.published == (tmp_path / "manifest.json").stat().st_mtime
    assert artifact.check(Digests(tmp_path / "cache")) is artifact


def damage(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def changed(manifest: dict[str, Any]) -> dict[str, Any]:
        change(manifest)
        return manifest

    return changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: [], "indices"),
        (lambda m: 5, "no manifest"),
        (damage(lambda m: m.pop("predicate")), "'predicate' is missing"),
        (damage(lambda m: m["predicate"]["buildDefinition"].clear()), "'internalParameters' is missing"),
        (damage(lambda m: m["predicate"]["buildDefinition"]["internalParameters"].update(key="12")), "64 hex"),
        (
            damage(lambda m: m["predicate"]["buildDefinition"]["internalParameters"].update(key="f" * 64)),
            "belongs to version ffffffffffffffff, not 0123456789abcdef",
        ),
        (damage(lambda m: m.update(subject=[])), "names no subject"),
        (damage(lambda m: m.update(subject="x")), "names no subject"),
        (damage(lambda m: m["subject"][0].update(name="../escape")), "'../escape' is no file of this folder"),
        (damage(lambda m: m["subject"][0].update(name="/etc/passwd")), "no file of this folder"),
        (damage(lambda m: m["subject"][0].update(name="")), "no file of this folder"),
        (damage(lambda m: m["subject"][0].update(name="a\0b")), "no file of this folder"),
        (damage(lambda m: m["subject"][0].update(name=3)), "no file of this folder"),
        (damage(lambda m: m["subject"][0].update(digest={"sha256": "A" * 64})), "SHA-256 of model.onnx"),
        (damage(lambda m: m["subject"][0].update(annotations={"size": -1})), "size of model.onnx is -1"),
        (damage(lambda m: m["subject"][0].update(annotations={"size": True})), "size of model.onnx is True"),
        (damage(lambda m: m["subject"][0].pop("annotations")), "'annotations' is missing"),
    ],
)
def test_a_manifest_that_says_too_little_is_damage(
    change: Callable[[dict[str, Any]], object], words: str, tmp_path: Path
) -> None:
    manifest = write(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(change(manifest)))
    with pytest.raises(ArtifactError, match=r"manifest.json") as caught:
        read(tmp_path)
    assert words in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_no_json_is_damage(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match="is no manifest"):
        read(tmp_path)


def test_a_folder_without_a_manifest_is_damage(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest.json is missing"):
        read(tmp_path)


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, "model.onnx is missing"),
        (replace_by_link, "model.onnx is not a regular file"),
        (lambda path: path.write_bytes(b"weight"), "model.onnx has 6 bytes where the manifest says 7"),
        (lambda path: path.write_bytes(b"Weights"), "model.onnx has other content"),
    ],
)
def test_each_damage_to_a_file_is_named(spoil: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    write(tmp_path)
    spoil(tmp_path / "model.onnx")
    with pytest.raises(ArtifactError, match="damaged") as caught:
        read(tmp_path).check(Digests(tmp_path / "cache"))
    assert words in caught.value.message
    assert "labels" not in caught.value.message


def test_all_damages_are_named_at_once(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "model.onnx").unlink()
    (tmp_path / "labels" / "en.txt").unlink()
    (tmp_path / "labels").rmdir()
    (tmp_path / "labels").write_text("a file now")
    assert list(read(tmp_path).problems(Digests(tmp_path / "cache"))) == [
        "model.onnx is missing",
        "labels/en.txt is missing",
    ]


def test_smoke_figures_are_read_when_asked_for(tmp_path: Path) -> None:
    write(tmp_path)
    artifact = read(tmp_path)
    assert artifact.smoke == {}
    (tmp_path / "smoke.json").write_text('{"latency": 1.5}')
    assert artifact.smoke == {}
    assert read(tmp_path).smoke == {"latency": 1.5}


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_damaged_smoke_figures_are_an_error(text: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "smoke.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"smoke.json"):
        _ = read(tmp_path).smoke


def test_a_failure_tells_its_reason_where_there_is_one(tmp_path: Path) -> None:
    failure = Failure(folder=tmp_path, model="digits", variant="onnx", version=KEY[:16], failed=0.0)
    assert failure.reason == ""
    (tmp_path / "reason.txt").write_text("gate parity\n")
    assert failure.reason == "gate parity"


@pytest.mark.parametrize("name", ["digits", "yolov5n-0.5-face", "tflite-uint8", "größe", "x" * 200])
def test_plain_names_are_welcome(name: str) -> None:
    check_names(model=name, variant=name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/b", "/a", "a\\b", "failed", "Failed", "latest", "report", "nights", "a\nb", "a\0",
     "x" * 201, "\ud800"],
)
def test_names_that_could_leave_their_place_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a model"):
        check_names(model=name, variant="onnx")
    with pytest.raises(UsageError, match="cannot name a variant"):
        check_names(model="digits", variant=name)


def test_only_a_key_has_a_version() -> None:
    assert version_of(KEY) == KEY[:16]
    with pytest.raises(ValueError, match="64 lower-case hex digits"):
        version_of(KEY[:16])
