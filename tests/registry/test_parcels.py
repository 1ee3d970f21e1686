"""Parcels: files go out and come back as they are, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfarm.digest import Digests
from modelfarm.errors import ArtifactError, Interrupted, RegistryError
from modelfarm.registry import parcels
from modelfarm.registry.line import Line
from modelfarm.registry.oci import EMPTY, NOTHING, TITLE, describe, write_manifest
from modelfarm.registry.shelf import Shelf
from modelfarm.registry.transfer import Blob, upload
from tests.images.registry import Registry
from tests.registry.conftest import own_name
from tests.registry.relay import relay


@pytest.fixture
def digests(tmp_path: Path) -> Digests:
    return Digests(tmp_path / "digests")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Return files of several kinds by the names that they are to have."""
    folder = tmp_path / "files"
    folder.mkdir()
    contents = {"model.onnx": b"\x00" * 5000, "empty": b"", "same": b"\x00" * 5000, "run.sh": b"#!/bin/sh\n"}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    (folder / "run.sh").chmod(0o755)
    return {"model.onnx": folder / "model.onnx", "below/empty": folder / "empty", "same one": folder / "same",
            "run.sh": folder / "run.sh"}


def test_files_come_back_as_they_went(shelf: Shelf, files: dict[str, Path], digests: Digests, tmp_path: Path) -> None:
    parcels.send(shelf, "one", files, digests)
    parcel = parcels.find(shelf, "one")
    assert parcel and parcel.name == shelf.name("one") and parcel.files.keys() == files.keys()
    parcels.unpack(shelf, parcel, tmp_path / "back")
    for name, file in files.items():
        assert (tmp_path / "back" / name).read_bytes() == file.read_bytes()
    assert (tmp_path / "back" / "run.sh").stat().st_mode & 0o100
    assert not (tmp_path / "back" / "model.onnx").stat().st_mode & 0o100
    assert len(list((tmp_path / "back").rglob("*"))) == 5


def test_equal_files_are_one_manifest_and_travel_once(registry: Registry, files: dict[str, Path], digests: Digests,
                                                      request: pytest.FixtureRequest) -> None:
    with relay(registry) as there:
        shelf = Shelf(Line(f"{there.host}/{own_name(request)}"))
        parcels.send(shelf, "one", files, digests)
        uploads = there.count("POST", "uploads")
        parcels.send(shelf, "two", files, digests)
        assert there.count("POST", "uploads") == uploads
    assert shelf.digest("one") == shelf.digest("two")


def test_a_tag_that_is_not_there_holds_nothing(shelf: Shelf) -> None:
    assert parcels.find(shelf, "none") is None


def test_a_file_that_changes_on_the_way_is_refused(shelf: Shelf, files: dict[str, Path], digests: Digests) -> None:
    def change() -> None:
        files["model.onnx"].write_bytes(b"\x01" * 5000)

    with pytest.raises(RegistryError, match="other bytes"):
        parcels.send(shelf, "changed", files, digests, change)
    assert parcels.find(shelf, "changed") is None


@pytest.mark.parametrize("names", [("../x",), ("/etc/x",), ("a/../../x",), ("",), ("a\nb",), ("a", "a")])
def test_names_that_could_do_harm_are_no_parcel(shelf: Shelf, names: tuple[str, ...]) -> None:
    upload(shelf.line, Blob(descriptor=describe(NOTHING, EMPTY), source=NOTHING))
    layers = [describe(NOTHING, "application/octet-stream", {TITLE: name} if name else None) for name in names]
    shelf.tag(write_manifest(artifact_type=parcels.PARCEL, config=describe(NOTHING, EMPTY), layers=layers), "odd")
    with pytest.raises(ArtifactError, match="is no parcel of a farm"):
        parcels.find(shelf, "odd")


def test_other_artifacts_are_no_parcels(shelf: Shelf) -> None:
    upload(shelf.line, Blob(descriptor=describe(NOTHING, EMPTY), source=NOTHING))
    shelf.tag(write_manifest(artifact_type="text/x", config=describe(NOTHING, EMPTY), layers=[]), "other")
    with pytest.raises(ArtifactError, match="is no parcel"):
        parcels.find(shelf, "other")


def test_a_damaged_blob_is_seen(registry: Registry, shelf: Shelf, digests: Digests, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes that no other test has")
    parcels.send(shelf, "damaged", {"file": tmp_path / "file"}, digests)
    parcel = parcels.find(shelf, "damaged")
    assert parcel
    registry.blob(parcel.files["file"].digest).write_bytes(b"bytes that no other test hat")
    with pytest.raises(ArtifactError, match="is damaged"):
        parcels.unpack(shelf, parcel, tmp_path / "back")


def test_ticks_end_a_transfer(shelf: Shelf, files: dict[str, Path], digests: Digests, tmp_path: Path) -> None:
    def stop() -> None:
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        parcels.send(shelf, "ticks", files, digests, stop)
    assert parcels.find(shelf, "ticks") is None
    parcels.send(shelf, "ticks", files, digests)
    parcel = parcels.find(shelf, "ticks")
    assert parcel
    with pytest.raises(Interrupted):
        parcels.unpack(shelf, parcel, tmp_path / "back", stop)
