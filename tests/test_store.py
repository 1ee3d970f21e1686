"""The store: find, publish, fail, point, sweep and collect."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelfarm import locks
from modelfarm.artifact import Artifact
from modelfarm.digest import Digests
from modelfarm.errors import ArtifactError, UsageError
from modelfarm.store import Stage, Store

MODEL, VARIANT = "digits", "onnx"


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def fill(folder: Path, key: str, content: bytes = b"weights") -> None:
    (folder / "model.onnx").write_bytes(content)
    subject = {"name": "model.onnx", "digest": {"sha256": hashlib.sha256(content).hexdigest()}}
    subjects = [{**subject, "annotations": {"size": len(content)}}]
    manifest = {"subject": subjects, "predicate": {"buildDefinition": {"internalParameters": {"key": key}}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def publish(store: Store, number: int, content: bytes = b"weights", variant: str = VARIANT) -> Artifact:
    with store.lock(key(number)), store.stage() as stage:
        fill(stage.folder, key(number), content)
        return store.publish(stage, MODEL, variant, key(number))


def fail(store: Store, number: int, reason: str = "") -> Path:
    with store.lock(key(number)), store.stage() as stage:
        (stage.folder / "smoke.log").write_text(f"log {number}")
        return store.fail(stage, MODEL, VARIANT, key(number), reason)


def spoil(artifact: Artifact) -> None:
    artifact.path("model.onnx").write_bytes(b"Weights")


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def litter(store: Store) -> list[str]:
    folders = (store.root / ".staging", store.root / ".locks")
    return [str(path) for folder in folders if folder.exists() for path in folder.iterdir()]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts", Digests(tmp_path / "cache"))


def test_an_empty_store_is_made_only_by_writing(store: Store) -> None:
    assert store.find(MODEL, VARIANT, key(1)) is None
    assert store.latest(MODEL, VARIANT) is None
    assert store.versions(MODEL, VARIANT) == []
    assert [*store.artifacts(), *store.failures(), *store.damages(), *store.gc(0)] == []
    store.sweep()
    assert not store.root.exists()


def test_what_is_published_is_found_where_the_design_says(store: Store) -> None:
    published = publish(store, 1, b"one")
    folder = store.root / "digits" / "onnx" / key(1)[:16]
    assert published.folder == folder
    assert (folder / "model.onnx").read_bytes() == b"one"
    assert (folder.parent / "latest").readlink() == Path(key(1)[:16])
    found = store.find(MODEL, VARIANT, key(1))
    assert found == store.latest(MODEL, VARIANT) == published
    assert store.find(MODEL, VARIANT, key(2)) is None
    assert store.find(MODEL, "tflite", key(1)) is None
    assert litter(store) == []


def test_a_relative_root_survives_a_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(Path("artifacts"), Digests(tmp_path / "cache"))
    publish(store, 1)
    monkeypatch.chdir("/")
    assert store.find(MODEL, VARIANT, key(1)) is not None


def test_the_last_published_is_latest_and_versions_go_by_publication(store: Store) -> None:
    for number in (3, 1, 2):
        age(publish(store, number).path("manifest.json"), seconds=100 - number)
    assert [a.key for a in store.versions(MODEL, VARIANT)] == [key(3), key(2), key(1)]
    assert store.latest(MODEL, VARIANT) == store.find(MODEL, VARIANT, key(2))


def test_an_artifact_is_as_old_as_its_publication_not_as_its_manifest(store: Store) -> None:
    began = time.time() - 1
    with store.lock(key(1)), store.stage() as stage:
        fill(stage.folder, key(1))
        age(stage.folder / "manifest.json", seconds=3600)
        assert store.publish(stage, MODEL, VARIANT, key(1)).published > began


def test_a_second_look_reads_no_content(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10_000_000_000)
    publish(store, 1)

    def refuse(*_: object) -> None:
        pytest.fail("content was read")

    # What was digested while staged is known after the rename: the inodes are the same.
    monkeypatch.setattr(hashlib, "file_digest", refuse)
    assert store.find(MODEL, VARIANT, key(1)) is not None


def test_every_variant_is_listed_of_which_anything_is_kept(store: Store) -> None:
    good, other = publish(store, 1), publish(store, 2, variant="tnn")
    other.path("manifest.json").unlink()
    kept = fail(store, 3)
    (store.root / "failed" / "another" / "onnx" / key(4)[:16]).mkdir(parents=True)
    assert store.variants() == [("another", "onnx"), (MODEL, VARIANT), (MODEL, "tnn")]
    assert store.folders(MODEL, VARIANT) == [good.folder]
    assert store.folders(MODEL, "tnn") == [other.folder]
    assert store.folders("another", "onnx") == []
    assert [failure.folder for failure in store.failures_of(MODEL, VARIANT)] == [kept]
    assert store.failures_of(MODEL, "tnn") == []


@pytest.mark.parametrize("name", ["report", "nights", "failed"])
def test_what_lies_beside_the_models_is_no_model(store: Store, name: str) -> None:
    artifact = publish(store, 1)
    (store.root / name / "a" / "b").mkdir(parents=True)
    assert list(store.artifacts()) == [artifact]
    assert list(store.damages()) == []
    assert set(store.variants()) == {(MODEL, VARIANT), *([("a", "b")] if name == "failed" else [])}


def test_artifacts_come_by_model_variant_and_age_without_what_is_no_artifact(store: Store) -> None:
    age(publish(store, 1, variant="tflite-fp16").path("manifest.json"), seconds=10)
    publish(store, 2, variant="tflite-fp16")
    publish(store, 3)
    fail(store, 4)
    (store.root / "README").write_text("a file of the user")
    (store.root / MODEL / VARIANT / "notes").mkdir()
    with store.stage():
        found = [(a.variant, a.key) for a in store.artifacts()]
    assert found == [("onnx", key(3)), ("tflite-fp16", key(2)), ("tflite-fp16", key(1))]


def test_damage_is_an_error_until_it_is_discarded_and_then_rebuilt(store: Store) -> None:
    artifact = publish(store, 1)
    spoil(artifact)
    with pytest.raises(ArtifactError, match=r"model.onnx has other content") as caught:
        store.find(MODEL, VARIANT, key(1))
    assert [error.message for error in store.damages()] == [caught.value.message]
    with store.lock(key(1)):
        moved = store.discard_damaged(MODEL, VARIANT, key(1), caught.value.message)
    assert moved == store.root / "failed" / MODEL / VARIANT / artifact.version
    assert "model.onnx has other content" in (moved / "reason.txt").read_text()
    assert (moved / "model.onnx").read_bytes() == b"Weights"
    assert store.find(MODEL, VARIANT, key(1)) is None
    assert store.latest(MODEL, VARIANT) is None
    assert publish(store, 1) == store.latest(MODEL, VARIANT)
    assert list(store.damages()) == []


def test_what_was_rebuilt_meanwhile_is_not_discarded(store: Store) -> None:
    artifact = publish(store, 1)
    with store.lock(key(1)):
        assert store.discard_damaged(MODEL, VARIANT, key(1), "a stale opinion") is None
        assert store.discard_damaged(MODEL, VARIANT, key(2), "nothing there") is None
    assert store.find(MODEL, VARIANT, key(1)) == artifact


def test_a_folder_of_another_key_with_the_same_beginning_is_damage(store: Store) -> None:
    publish(store, 1)
    with pytest.raises(ArtifactError, match="holds the key"):
        store.find(MODEL, VARIANT, key(1)[:16] + "0" * 48)


def test_an_artifact_collected_while_it_is_checked_was_not_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = publish(store, 1)
    real = store.digests.file

    def collecting(path: Path) -> str:
        artifact.folder.rename(store.root / "gone")
        return real(path)

    monkeypatch.setattr(store.digests, "file", collecting)
    assert store.find(MODEL, VARIANT, key(1)) is None


def leave_unchanged(_: Path) -> None:
    """Publish over a whole artifact."""


def leave_a_file(place: Path) -> None:
    """Publish over a file of the same name."""
    place.rename(place.with_name("other"))
    place.write_text("foreign")


def leave_a_broken_link(place: Path) -> None:
    """Publish over a link that leads nowhere."""
    place.rename(place.with_name("other"))
    place.symlink_to("nowhere")


@pytest.mark.parametrize("before", [leave_unchanged, leave_a_file, leave_a_broken_link])
def test_what_stands_in_the_way_is_moved_aside(before: Callable[[Path], None], store: Store) -> None:
    before(publish(store, 1, b"old").folder)
    published = publish(store, 1, b"new")
    assert published.path("model.onnx").read_bytes() == b"new"
    assert os.path.lexists(store.root / "failed" / MODEL / VARIANT / published.version)
    assert litter(store) == []


def test_a_stage_that_is_not_as_its_manifest_says_is_not_published(store: Store) -> None:
    with pytest.raises(ArtifactError, match="16 bytes"), store.lock(key(1)), store.stage() as stage:
        fill(stage.folder, key(1))
        (stage.folder / "model.onnx").write_bytes(b"longer than said")
        store.publish(stage, MODEL, VARIANT, key(1))
    with pytest.raises(ArtifactError, match=r"manifest.json is missing"), store.stage() as stage:
        store.publish(stage, MODEL, VARIANT, key(1))
    with pytest.raises(ArtifactError, match="belongs to version"), store.stage() as stage:
        fill(stage.folder, key(2))
        store.publish(stage, MODEL, VARIANT, key(1))
    assert not (store.root / MODEL).exists()
    assert litter(store) == []


def test_nothing_of_a_stage_stays_that_was_not_published(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.stage() as stage:
        (stage.scratch / "in" / "deep").mkdir(parents=True)
        (stage.folder / "model.onnx").write_bytes(b"half")
        (stage.folder / "link").symlink_to("/etc")
        (stage.scratch / "in").chmod(0o500)
        raise KeyboardInterrupt
    assert litter(store) == []
    assert Path("/etc").exists()


def test_subfolders_are_published_and_scratch_is_not(store: Store) -> None:
    with store.lock(key(1)), store.stage() as stage:
        fill(stage.folder, key(1))
        (stage.folder / "pictures").mkdir()
        (stage.folder / "pictures" / "cat.png").write_bytes(b"png")
        (stage.folder / "shortcut").symlink_to("pictures/cat.png")
        (stage.scratch / "job.json").write_text("{}")
        artifact = store.publish(stage, MODEL, VARIANT, key(1))
    assert artifact.path("pictures/cat.png").read_bytes() == b"png"
    assert artifact.path("shortcut").read_bytes() == b"png"
    assert not list(store.root.rglob("job.json"))


def test_a_failure_is_kept_for_reading_and_never_served(store: Store) -> None:
    folder = fail(store, 1, "gate parity: 3 px")
    assert folder == store.root / "failed" / MODEL / VARIANT / key(1)[:16]
    assert (folder / "smoke.log").read_text() == "log 1"
    (failure,) = store.failures()
    assert (failure.folder, failure.version, failure.reason) == (folder, key(1)[:16], "gate parity: 3 px")
    assert store.find(MODEL, VARIANT, key(1)) is None
    assert list(store.artifacts()) == []


def test_a_later_failure_replaces_the_earlier_of_its_version(store: Store) -> None:
    fail(store, 1, "first")
    fail(store, 2, "other")
    folder = fail(store, 1)
    assert not (folder / "reason.txt").exists()
    assert [f.version for f in store.failures()] == [key(1)[:16], key(2)[:16]]
    assert litter(store) == []


def test_latest_can_go_back_and_is_written_only_to_change_it(store: Store) -> None:
    old, new = publish(store, 1), publish(store, 2)
    store.point_latest(old)
    assert store.latest(MODEL, VARIANT) == old
    link = store.root / MODEL / VARIANT / "latest"
    before = link.lstat()
    store.point_latest(old)
    assert link.lstat() == before
    store.point_latest(new)
    assert store.latest(MODEL, VARIANT) == new


def test_latest_never_points_to_what_is_gone(store: Store) -> None:
    old, new = publish(store, 1), publish(store, 2)
    old.folder.rename(store.root / "gone")
    with pytest.raises(ArtifactError, match="has been removed"):
        store.point_latest(old)
    assert store.latest(MODEL, VARIANT) == new
    new.folder.rename(store.root / "gone too")
    assert store.latest(MODEL, VARIANT) is None


def test_a_folder_named_latest_is_explained(store: Store) -> None:
    old = publish(store, 1)
    (old.folder.parent / "latest").unlink()
    (old.folder.parent / "latest").mkdir()
    assert store.latest(MODEL, VARIANT) is None
    with pytest.raises(ArtifactError, match="latest is a folder, not the link"):
        publish(store, 2)
    assert store.find(MODEL, VARIANT, key(2)) is not None


def abandoned(store: Store) -> Stage:
    """Leave what a killed process leaves: a stage, its lock file, and a job's lock file."""
    stage = Stage(root=store.root / ".staging" / "4711-dead")
    stage.folder.mkdir(parents=True)
    (stage.folder / "model.onnx").write_bytes(b"half")
    stage.root.with_suffix(".lock").write_text("process 4711 on nowhere")
    (store.root / ".locks").mkdir(exist_ok=True)
    (store.root / ".locks" / key(9)[:16]).write_text("process 4711 on nowhere")
    return stage


def test_a_sweep_tells_the_living_from_the_dead(store: Store) -> None:
    dead = abandoned(store)
    unlocked = store.root / ".staging" / "4712-unlocked"
    unlocked.mkdir()
    with store.lock(key(1)), store.stage() as stage:
        store.sweep()
        assert stage.folder.exists()
        assert locks.holder(store.root / ".locks" / key(1)[:16]).startswith(f"process {os.getpid()} ")
        assert not dead.root.exists()
        assert not unlocked.exists()
        assert len(litter(store)) == 3
    assert litter(store) == []


def test_a_sweep_with_nothing_to_do_writes_nothing(store: Store) -> None:
    publish(store, 1)
    before = [(path, path.lstat()) for path in sorted(store.root.rglob("*"))]
    store.sweep()
    assert [(path, path.lstat()) for path in sorted(store.root.rglob("*"))] == before


def test_a_sweep_never_stops_anybody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    Store(tmp_path / "file", Digests(tmp_path / "cache")).sweep()


def test_collecting_keeps_the_newest_and_latest_of_each_variant(store: Store) -> None:
    artifacts = [publish(store, number) for number in range(5)]
    other = publish(store, 9, variant="tflite")
    for number, artifact in enumerate(artifacts):
        age(artifact.path("manifest.json"), seconds=100 - number)
    store.point_latest(artifacts[1])
    abandoned(store)
    removed = store.gc(2)
    assert {entry.version for entry in removed} == {artifacts[0].version, artifacts[2].version}
    kept = {a.version for a in store.artifacts()}
    assert kept == {a.version for a in (artifacts[1], artifacts[3], artifacts[4], other)}
    assert store.gc(2) == []
    assert litter(store) == []


def test_collecting_keeps_the_newest_failures(store: Store) -> None:
    for number in range(4):
        age(fail(store, number), seconds=100 - number)
    removed = store.gc(1)
    assert {entry.version for entry in removed} == {key(n)[:16] for n in range(3)}
    assert [f.version for f in store.failures()] == [key(3)[:16]]
    assert [entry.version for entry in store.gc(0)] == [key(3)[:16]]


def test_collecting_spares_what_a_job_has_locked(store: Store) -> None:
    for number in (1, 2):
        age(publish(store, number).path("manifest.json"), seconds=100 - number)
    with store.lock(key(1)):
        assert store.gc(1) == []
    assert [entry.version for entry in store.gc(1)] == [key(1)[:16]]


def test_two_collectors_remove_each_version_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = publish(store, 1)
    publish(store, 2)
    real = store.artifacts

    def raced() -> list[Artifact]:
        found = list(real())
        gone.folder.rename(store.root / "gone")
        return found

    monkeypatch.setattr(store, "artifacts", raced)
    assert store.gc(0) == []


def test_fewer_than_none_cannot_be_kept(store: Store) -> None:
    with pytest.raises(UsageError, match="KEEP=-1"):
        store.gc(-1)


@pytest.mark.parametrize("name", ["../escape", "failed", ".locks", "a/b", ""])
def test_no_name_leads_out_of_the_root(name: str, store: Store) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.find(name, VARIANT, key(1)),
        lambda: store.find(MODEL, name, key(1)),
        lambda: store.latest(name, VARIANT),
        lambda: store.versions(MODEL, name),
        lambda: store.discard_damaged(name, VARIANT, key(1), ""),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="cannot name"):
            call()
    with pytest.raises(UsageError, match="cannot name"), store.stage() as stage:
        fill(stage.folder, key(1))
        store.publish(stage, name, VARIANT, key(1))
    with pytest.raises(UsageError, match="cannot name"), store.stage() as stage:
        store.fail(stage, MODEL, name, key(1))


def test_threads_that_want_one_key_do_its_work_once(store: Store) -> None:
    work, told = list[int](), list[str]()

    def build() -> None:
        with store.lock(key(1), waiting=told.append):
            if store.find(MODEL, VARIANT, key(1)) is None:
                work.append(1)
                with store.stage() as stage:
                    fill(stage.folder, key(1))
                    time.sleep(0.1)
                    store.publish(stage, MODEL, VARIANT, key(1))

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert work == [1]
    assert told
    assert set(told) == {f"process {os.getpid()} on {os.uname().nodename}"}
