"""Manifests come back byte for byte, or it is told what came instead; tags point where they were put."""

from __future__ import annotations

import pytest

from modelfarm.errors import ArtifactError, RegistryError
from modelfarm.registry.line import Line
from modelfarm.registry.oci import EMPTY, INDEX, NOTHING, Manifest, describe, write_index, write_manifest
from modelfarm.registry.shelf import Shelf
from modelfarm.registry.transfer import Blob, upload
from tests.images.registry import Registry
from tests.registry.relay import Answer, Asked, relay

CONFIG = describe(NOTHING, EMPTY)


def made(shelf: Shelf, **annotations: str) -> Manifest:
    upload(shelf.line, Blob(descriptor=CONFIG, source=NOTHING))
    return write_manifest(artifact_type="a/b", config=CONFIG, layers=[CONFIG], annotations=annotations)


def test_a_tag_leads_to_the_manifest_that_it_was_given(shelf: Shelf) -> None:
    first, second = made(shelf, turn="1"), made(shelf, turn="2")
    assert (shelf.manifest("v"), shelf.digest("v")) == (None, "")
    shelf.tag(first, "v")
    assert (shelf.manifest("v"), shelf.digest("v")) == (first, first.digest)
    shelf.tag(second, "v")
    assert shelf.manifest("v") == second and shelf.manifest(first.digest) == first
    assert sorted(shelf.tags()) == ["v"]
    assert shelf.name("v") == f"{shelf.line.repository}:v"
    assert shelf.name(first.digest) == f"{shelf.line.repository}@{first.digest}"


def test_tags_are_listed_to_the_end_of_the_list(registry: Registry, shelf: Shelf) -> None:
    """The registry here gives all at once; others give pages, and say where the next one is."""
    for number in range(5):
        shelf.tag(made(shelf), f"v{number}")
    assert sorted(shelf.tags()) == ["v0", "v1", "v2", "v3", "v4"]

    def paged(asked: Asked) -> Answer | None:
        if "/tags/" not in asked.path:
            return None
        last = "last=" in asked.path
        body = b'{"tags": ["c"]}' if last else b'{"tags": ["a", "b"]}'
        return Answer(body=body, headers={} if last else {"Link": '</v2/x/tags/list?n=2&last=b>; rel="next"'})

    with relay(registry, before=paged) as there:
        assert list(Shelf(Line(f"{there.host}/x")).tags()) == ["a", "b", "c"]


def test_a_manifest_that_changed_on_its_way_is_damaged(registry: Registry, shelf: Shelf) -> None:
    manifest = made(shelf)
    shelf.write(manifest.data, manifest.digest)

    def spaced(asked: Asked, answer: Answer) -> Answer:
        return Answer(body=answer.body + b" ") if asked.method == "GET" and "/manifests/" in asked.path else answer

    with relay(registry, after=spaced) as there, pytest.raises(ArtifactError, match="is damaged: its bytes have"):
        Shelf(Line(f"{there.host}/{shelf.line.path}")).manifest(manifest.digest)


def test_a_tag_that_somebody_else_took_meanwhile_is_told(registry: Registry, shelf: Shelf) -> None:
    mine, theirs = made(shelf, who="me"), made(shelf, who="they")

    def overtaken(asked: Asked, answer: Answer) -> Answer:
        if asked.method == "PUT" and asked.path.endswith("/v"):
            shelf.write(theirs.data, "v")
        return answer

    with relay(registry, after=overtaken) as there, \
            pytest.raises(RegistryError, match=f"put there as {mine.digest}, but the registry holds {theirs.digest}"):
        Shelf(Line(f"{there.host}/{shelf.line.path}")).tag(mine, "v")


def test_something_else_under_a_name_is_told(shelf: Shelf) -> None:
    manifest = made(shelf)
    shelf.write(manifest.data, manifest.digest)
    shelf.write(write_index([manifest.descriptor]), "list", INDEX)
    assert shelf.read("list", INDEX)
    with pytest.raises(RegistryError, match="is no artifact: it is of the type"):
        shelf.manifest("list")
