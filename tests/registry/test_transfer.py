"""Blobs travel in parts, go on where the line broke, and are never taken for whole when they are not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from modelfarm.errors import ArtifactError, RegistryError
from modelfarm.registry import faults, transfer
from modelfarm.registry.line import ATTEMPTS, Line
from modelfarm.registry.oci import Descriptor, describe
from modelfarm.registry.transfer import Blob, download, upload
from tests.images.registry import Registry
from tests.registry.relay import Answer, Asked, Cut, relay

CHUNK = 1000
KIND = "application/octet-stream"


def blob(seed: str, size: int = 5 * CHUNK + 7) -> Blob:
    """Return bytes that no other test has."""
    data = (hashlib.sha256(seed.encode()).digest() * (size // 32 + 1))[:size]
    return Blob(descriptor=describe(data, KIND), source=data)


def held(registry: Registry, each: Blob) -> bytes | None:
    """Return the bytes that the registry has of a blob."""
    file = registry.blob(each.descriptor.digest)
    return file.read_bytes() if file.is_file() else None


def once(wanted: Callable[[Asked], bool], what: Answer | Cut) -> Callable[[Asked], Answer | Cut | None]:
    """Return what goes wrong the first time that something is asked for."""
    left = [what]
    return lambda asked: left.pop() if left and wanted(asked) else None


def test_a_file_goes_up_in_parts_with_its_progress(registry: Registry, tmp_path: Path) -> None:
    made = blob("parts")
    (tmp_path / "file").write_bytes(made.part(0, 1 << 20))
    seen: list[int] = []
    with relay(registry) as there:
        assert upload(Line(f"{there.host}/parts"), Blob(descriptor=made.descriptor, source=tmp_path / "file"),
                      seen.append, CHUNK)
        assert [each.headers["Content-Range"] for each in there.asked if each.method == "PATCH"] == [
            "0-999", "1000-1999", "2000-2999", "3000-3999", "4000-4999"]
    assert seen == [1000, 2000, 3000, 4000, 5000, 5007]
    assert held(registry, made) == made.source


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_sizes_around_a_part_arrive_whole(registry: Registry, size: int) -> None:
    made = blob(f"size {size}", size)
    upload(Line(f"{registry.host}/sizes"), made, chunk=CHUNK)
    assert held(registry, made) == made.source


def test_what_is_there_is_not_sent_again(registry: Registry) -> None:
    made, seen = blob("again"), [0]
    assert upload(Line(f"{registry.host}/again"), made)
    with relay(registry) as there:
        assert not upload(Line(f"{there.host}/again"), made, seen.append)
        assert there.count("POST", "uploads") == 0
    assert seen[-1] == made.descriptor.size


def test_a_broken_upload_goes_on_from_what_arrived(registry: Registry) -> None:
    made = blob("broken")
    with relay(registry, before=once(lambda asked: asked.headers.get("Content-Range") == "2000-2999", Cut())) as there:
        upload(Line(f"{there.host}/broken"), made, chunk=CHUNK)
        ranges = [each.headers["Content-Range"] for each in there.asked if each.method == "PATCH"]
        assert ranges == ["0-999", "1000-1999", "2000-2999", "2000-2999", "3000-3999", "4000-4999"]
        assert there.count("POST", "uploads") == 1
    assert held(registry, made) == made.source


def test_an_upload_that_broke_in_the_middle_of_a_part_ends_whole(registry: Registry) -> None:
    made = blob("half a part")
    broken = once(lambda asked: asked.headers.get("Content-Range") == "2000-2999", Cut(through=300))
    with relay(registry, before=broken) as there:
        upload(Line(f"{there.host}/half"), made, chunk=CHUNK)
    assert held(registry, made) == made.source


def test_an_upload_that_the_registry_forgot_starts_anew(registry: Registry) -> None:
    made = blob("forgotten")
    lost = once(lambda asked: asked.headers.get("Content-Range") == "2000-2999", Answer(status=404))
    with relay(registry, before=lost) as there:
        upload(Line(f"{there.host}/forgotten"), made, chunk=CHUNK)
        assert there.count("POST", "uploads") == 2
    assert held(registry, made) == made.source


def test_bytes_that_changed_on_the_way_are_sent_anew(registry: Registry) -> None:
    made = blob("changed")

    def garbled(asked: Asked) -> None:
        if asked.method == "PATCH" and not done:
            done.append(True)
            object.__setattr__(asked, "body", b"?" * len(asked.body))

    done: list[bool] = []
    with relay(registry, before=garbled) as there:
        upload(Line(f"{there.host}/changed"), made, chunk=CHUNK)
        assert there.count("POST", "uploads") == 2
    assert held(registry, made) == made.source


def test_a_line_that_always_breaks_is_given_up_with_nothing_in_the_registry(registry: Registry) -> None:
    made = blob("hopeless")
    with relay(registry, before=lambda asked: Cut() if asked.method == "PATCH" else None) as there:
        with pytest.raises(faults.CutError, match="ended too early"):
            upload(Line(f"{there.host}/hopeless"), made, chunk=CHUNK)
        assert there.count("PATCH", "") == ATTEMPTS
    assert held(registry, made) is None


def test_a_line_that_breaks_often_but_gets_further_is_not_given_up(registry: Registry) -> None:
    made, turns = blob("often", 12 * CHUNK), iter(range(1000))
    with relay(registry, before=lambda asked: Cut() if asked.method == "PATCH" and next(turns) % 2 else None) as there:
        upload(Line(f"{there.host}/often"), made, chunk=CHUNK)
    assert held(registry, made) == made.source


def test_the_smallest_part_that_a_registry_takes_is_heeded(registry: Registry) -> None:
    made = blob("least")

    def least(asked: Asked, answer: Answer) -> Answer:
        extra = {"OCI-Chunk-Min-Length": "2500"} if asked.method == "POST" else {}
        return Answer(status=answer.status, body=answer.body, headers={**answer.headers, **extra})

    with relay(registry, after=least) as there:
        upload(Line(f"{there.host}/least"), made, chunk=CHUNK)
        assert [len(each.body) for each in there.asked if each.method == "PATCH"] == [2500, 2500]
    assert held(registry, made) == made.source


def test_a_registry_that_does_not_say_where_to_is_told(registry: Registry) -> None:
    answer = Answer(status=202)
    with relay(registry, before=lambda asked: answer if asked.method == "POST" else None) as there, \
            pytest.raises(RegistryError, match="does not say where"):
        upload(Line(f"{there.host}/where"), blob("where"))


# Down

def test_a_file_comes_down_whole(registry: Registry, tmp_path: Path) -> None:
    made, seen = blob("down"), [0]
    upload(Line(f"{registry.host}/down"), made)
    download(Line(f"{registry.host}/down"), made.descriptor, tmp_path / "file", seen.append)
    assert (tmp_path / "file").read_bytes() == made.source
    assert seen[-1] == made.descriptor.size


def test_a_broken_download_goes_on_from_what_arrived(registry: Registry, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_READ", 100)
    made, cuts = blob("down again"), iter([2000, 1500])
    upload(Line(f"{registry.host}/down-again"), made)

    def cut(asked: Asked, answer: Answer) -> Answer:
        at = next(cuts, None) if "/blobs/" in asked.path else None
        return Answer(status=answer.status, body=answer.body, headers=answer.headers, cut_at=at)

    with relay(registry, after=cut) as there:
        download(Line(f"{there.host}/down-again"), made.descriptor, tmp_path / "file")
        assert [each.headers.get("Range") for each in there.asked if "/blobs/" in each.path] == [
            None, "bytes=2000-", "bytes=3500-"]
    assert (tmp_path / "file").read_bytes() == made.source


def test_a_registry_that_gives_only_the_whole_is_read_from_the_start(registry: Registry, tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_READ", 100)
    made, cuts = blob("whole only"), iter([2000, 1500])
    upload(Line(f"{registry.host}/whole"), made)

    def whole(asked: Asked, answer: Answer) -> Answer:
        if "/blobs/" not in asked.path:
            return answer
        headers = {"Content-Length": str(made.descriptor.size)}
        return Answer(status=200, body=bytes(made.part(0, 1 << 20)), headers=headers, cut_at=next(cuts, None))

    with relay(registry, after=whole) as there:
        download(Line(f"{there.host}/whole"), made.descriptor, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == made.source


def test_a_download_that_always_breaks_is_given_up(registry: Registry, tmp_path: Path) -> None:
    made = blob("no way")
    upload(Line(f"{registry.host}/no-way"), made)
    with relay(registry, before=lambda asked: Cut() if "/blobs/" in asked.path else None) as there:
        with pytest.raises(faults.CutError):
            download(Line(f"{there.host}/no-way"), made.descriptor, tmp_path / "file")
        assert there.count("GET", "/blobs/") == ATTEMPTS


@pytest.mark.parametrize(("change", "said"), [
    (lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], "is damaged: its bytes have the digest"),
    (lambda data: data[:-1], "is damaged: it has 5006 bytes where its manifest says 5007"),
    (lambda data: data + b"!", "is damaged: it has 5008 bytes where its manifest says 5007"),
    (lambda data: b"", "is damaged: it has 0 bytes"),
])
def test_other_bytes_than_the_digest_says_are_damage(registry: Registry, tmp_path: Path,
                                                     change: Callable[[bytes], bytes], said: str) -> None:
    made = blob(f"damage {said}")
    upload(Line(f"{registry.host}/damage"), made)
    file = registry.blob(made.descriptor.digest)
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(ArtifactError, match=said) as caught:
        download(Line(f"{registry.host}/damage"), made.descriptor, tmp_path / "file")
    assert caught.value.code == 7 and "do not use it" in caught.value.remedy
    with pytest.raises(ArtifactError, match=said):
        transfer.read(Line(f"{registry.host}/damage"), made.descriptor, 1 << 20)


def test_a_blob_that_is_lost_is_named(registry: Registry, tmp_path: Path) -> None:
    made = blob("lost")
    with pytest.raises(faults.MissingError, match=f"has no {registry.host}/lost@{made.descriptor.digest}"):
        download(Line(f"{registry.host}/lost"), made.descriptor, tmp_path / "file")


def test_what_is_too_large_to_make_sense_is_not_read() -> None:
    huge = Descriptor(media_type=KIND, digest="sha256:" + "0" * 64, size=1 << 40)
    with pytest.raises(ArtifactError, match="more than the 10 that make sense"):
        transfer.read(Line("nowhere.invalid/x"), huge, 10)
