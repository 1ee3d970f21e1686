"""Documents are written as the specification has them, and read with suspicion."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from modelfarm.registry.oci import (
    EMPTY,
    INDEX,
    MANIFEST,
    NOTHING,
    Descriptor,
    describe,
    digest_of,
    read_index,
    read_manifest,
    write_index,
    write_manifest,
)

CONFIG = describe(NOTHING, EMPTY)
LAYER = describe(b"weights", "application/x", {"title": "w"})


def document(**changes: Any) -> bytes:
    base = json.loads(write_manifest(artifact_type="a/b", config=CONFIG, layers=[LAYER]).data)
    return json.dumps({name: value for name, value in {**base, **changes}.items() if value is not None}).encode()


def test_a_manifest_is_what_the_specification_shows() -> None:
    subject = Descriptor(media_type=MANIFEST, digest="sha256:" + "1" * 64, size=7)
    manifest = write_manifest(artifact_type="application/vnd.example", config=CONFIG, layers=[LAYER], subject=subject,
                              annotations={"k": "v"})
    assert json.loads(manifest.data) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
                   "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
        "layers": [{"mediaType": "application/x", "size": 7, "annotations": {"title": "w"},
                    "digest": "sha256:" + hashlib.sha256(b"weights").hexdigest()}],
        "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + "1" * 64,
                    "size": 7},
        "annotations": {"k": "v"}}
    assert manifest.digest == "sha256:" + hashlib.sha256(manifest.data).hexdigest()


def test_equal_manifests_have_equal_bytes_whatever_the_order_of_annotations() -> None:
    one = write_manifest(artifact_type="a/b", config=CONFIG, layers=[LAYER], annotations={"a": "1", "b": "2"})
    other = write_manifest(artifact_type="a/b", config=CONFIG, layers=[LAYER], annotations={"b": "2", "a": "1"})
    assert one.data == other.data


def test_what_was_written_is_read() -> None:
    subject = Descriptor(media_type=MANIFEST, digest="sha256:" + "1" * 64, size=7)
    manifest = write_manifest(artifact_type="a/b", config=CONFIG, layers=[LAYER, LAYER], subject=subject,
                              annotations={"k": "v"})
    assert read_manifest(manifest.data) == manifest


def test_the_type_of_a_manifest_that_does_not_say_is_that_of_its_configuration() -> None:
    assert read_manifest(document(artifactType=None)).artifact_type == EMPTY
    assert write_manifest(artifact_type="", config=CONFIG, layers=[]).artifact_type == EMPTY
    assert "artifactType" not in json.loads(write_manifest(artifact_type="", config=CONFIG, layers=[]).data)


def test_a_manifest_without_a_media_type_is_one_as_older_programs_wrote_it() -> None:
    assert read_manifest(document(mediaType=None)).layers == (LAYER,)


@pytest.mark.parametrize(("changes", "said"), [
    ({"mediaType": INDEX}, "not an image manifest"),
    ({"schemaVersion": 1}, "not an image manifest"),
    ({"config": None}, "a descriptor was expected"),
    ({"layers": {}}, "a list was expected"),
    ({"layers": ["x"]}, "a descriptor was expected"),
    ({"layers": [{"mediaType": "a", "digest": "sha512:00", "size": 1}]}, "no SHA-256 digest"),
    ({"layers": [{"mediaType": "a", "digest": "sha256:" + "G" * 64, "size": 1}]}, "no SHA-256 digest"),
    ({"layers": [{"mediaType": "a", "digest": "sha256:" + "a" * 64, "size": -1}]}, "no size"),
    ({"layers": [{"mediaType": "a", "digest": "sha256:" + "a" * 64, "size": True}]}, "no size"),
    ({"layers": [{"digest": "sha256:" + "a" * 64, "size": 1}]}, "a text was expected"),
    ({"annotations": ["x"]}, "annotations are no object"),
    ({"annotations": {"x": 1}}, "a text was expected"),
])
def test_odd_manifests_are_refused_with_what_is_odd(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_manifest(document(**changes))


@pytest.mark.parametrize("data", [b"", b"not json", b"[]", b"3", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="JSON"):
        read_manifest(data)
    with pytest.raises(ValueError, match="JSON"):
        read_index(data)


def test_an_index_keeps_what_it_says_of_each() -> None:
    manifest = write_manifest(artifact_type="a/b", config=CONFIG, layers=[LAYER], annotations={"k": "v"})
    data = write_index([manifest.descriptor])
    assert json.loads(data)["mediaType"] == "application/vnd.oci.image.index.v1+json"
    (entry,) = read_index(data)
    assert (entry.digest, entry.artifact_type, entry.annotations) == (manifest.digest, "a/b", {"k": "v"})
    assert entry.size == len(manifest.data)
    with pytest.raises(ValueError, match="a list was expected"):
        read_index(b"{}")


def test_digests_are_those_of_sha256sum() -> None:
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
