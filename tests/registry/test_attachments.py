"""What hangs on an artifact is found by its digest, whether the registry keeps the list or a tag does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from modelfarm.errors import RegistryError
from modelfarm.registry.attachments import attach, attached, tag_of
from modelfarm.registry.line import Line
from modelfarm.registry.oci import (
    EMPTY,
    INDEX,
    NOTHING,
    Descriptor,
    Manifest,
    describe,
    read_index,
    write_index,
    write_manifest,
)
from modelfarm.registry.shelf import Shelf
from modelfarm.registry.transfer import Blob, upload
from tests.images.registry import Registry
from tests.registry.relay import Answer, Asked, relay

CONFIG = describe(NOTHING, EMPTY)


def put(shelf: Shelf, kind: str = "a/model", subject: Manifest | None = None, **annotations: str) -> Manifest:
    """Put a manifest without layers into the registry, or only write it where it has a subject."""
    upload(shelf.line, Blob(descriptor=CONFIG, source=NOTHING))
    manifest = write_manifest(artifact_type=kind, config=CONFIG, layers=[CONFIG], annotations=annotations,
                              subject=subject.reference if subject else None)
    if subject is None:
        shelf.write(manifest.data, manifest.digest)
    return manifest


def found(shelf: Shelf, subject: Manifest, kind: str) -> list[str]:
    return [each.digest for each in attached(shelf, subject.digest, kind)]


def test_a_tag_keeps_the_list_where_the_registry_does_not(shelf: Shelf) -> None:
    subject = put(shelf)
    report, other = put(shelf, "a/report", subject, day="1"), put(shelf, "a/provenance", subject)
    assert found(shelf, subject, "a/report") == []
    for each in (report, other, report):
        attach(shelf, each)
    assert found(shelf, subject, "a/report") == [report.digest]
    assert found(shelf, subject, "a/provenance") == [other.digest]
    data = shelf.read("sha256-" + subject.digest.removeprefix("sha256:"), INDEX)
    assert data is not None
    assert [entry["artifactType"] for entry in json.loads(data)["manifests"]] == ["a/report", "a/provenance"]
    (entry,) = attached(shelf, subject.digest, "a/report")
    assert entry.annotations == {"day": "1"} and entry.size == len(report.data)
    held = shelf.manifest(report.digest)
    assert held and held.subject and held.subject.digest == subject.digest


def listing(pages: list[list[Descriptor]]) -> Callable[[Asked], Answer | None]:
    """Answer as a registry that keeps lists of its own, in pages."""
    def answer(asked: Asked) -> Answer | None:
        if "/referrers/" not in asked.path:
            return None
        number = int(asked.path.partition("page=")[2] or 0)
        more = {"Link": f'<{asked.path.partition("?")[0]}?page={number + 1}>; rel="next"'}
        return Answer(body=write_index(pages[number]), headers=more if number + 1 < len(pages) else {})
    return answer


def test_the_list_of_a_registry_is_read_to_its_end(registry: Registry, shelf: Shelf) -> None:
    subject = put(shelf)
    entries = [put(shelf, kind, subject, number=str(number)).descriptor
               for number, kind in enumerate(("a/report", "a/other", "a/report"))]
    with relay(registry, before=listing([entries[:2], entries[2:]])) as there:
        over = Shelf(Line(f"{there.host}/{shelf.line.path}"))
        assert found(over, subject, "a/report") == [entries[0].digest, entries[2].digest]
        assert there.count("GET", "/referrers/") == 2


def test_a_registry_that_keeps_the_list_needs_no_tag(registry: Registry, shelf: Shelf) -> None:
    subject = put(shelf)

    def keeps(asked: Asked, answer: Answer) -> Answer:
        extra = {"OCI-Subject": subject.digest} if asked.method == "PUT" else {}
        return replace(answer, headers={**answer.headers, **extra})

    with relay(registry, after=keeps) as there:
        over = Shelf(Line(f"{there.host}/{shelf.line.path}"))
        attach(over, put(over, "a/report", subject))
        assert there.count("PUT", "/manifests/sha256-") == 0


def test_two_that_write_the_list_at_once_lose_nothing(registry: Registry, shelf: Shelf) -> None:
    """Between reading the list and writing it another one writes; its entry is missing, and seen to be."""
    subject = put(shelf)
    mine, theirs = put(shelf, "a/report", subject, who="me"), put(shelf, "a/report", subject, who="they")
    tag, turns = tag_of(subject.digest), iter(range(100))

    def meddle(asked: Asked, answer: Answer) -> Answer:
        if asked.method == "PUT" and asked.path.endswith(tag) and next(turns) == 0:
            shelf.write(theirs.data, theirs.digest)
            shelf.write(write_index([theirs.descriptor]), tag, INDEX)
        return answer

    with relay(registry, after=meddle) as there:
        attach(Shelf(Line(f"{there.host}/{shelf.line.path}")), mine)
    assert found(shelf, subject, "a/report") == [theirs.digest, mine.digest]


def test_a_list_that_never_holds_is_told(registry: Registry, shelf: Shelf) -> None:
    subject = put(shelf)
    report, tag = put(shelf, "a/report", subject), tag_of(subject.digest)

    def deaf(asked: Asked) -> Answer | None:
        return Answer(status=201) if asked.method == "PUT" and asked.path.endswith(tag) else None

    with relay(registry, before=deaf) as there, pytest.raises(RegistryError, match="changes whenever it is written"):
        attach(Shelf(Line(f"{there.host}/{shelf.line.path}")), report)


def test_a_list_that_cannot_be_read_is_told(registry: Registry, shelf: Shelf) -> None:
    subject = put(shelf)
    answer = Answer(body=b'{"manifests": 3}')
    with relay(registry, before=lambda asked: answer if "/referrers/" in asked.path else None) as there, \
            pytest.raises(RegistryError, match="the list of what is attached to .* cannot be read"):
        found(Shelf(Line(f"{there.host}/{shelf.line.path}")), subject, "a/report")


def test_the_tags_of_digests_are_those_of_the_specification() -> None:
    assert tag_of("sha256:" + "a" * 64) == "sha256-" + "a" * 64
    assert tag_of("sha256:" + "a" * 64, ".sig") == "sha256-" + "a" * 64 + ".sig"
    assert read_index(write_index([])) == []
