"""Fetching: what comes back equals what went, and whatever is wrong with it never enters the store."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.errors import ArtifactError, FarmError, GateError, RegistryError, UsageError
from modelfarm.registry import package, publishing, signatures
from modelfarm.registry.attachments import attach, attached, tag_of
from modelfarm.registry.faults import CutError, MissingError, UnreachableError
from modelfarm.registry.fetching import Fetcher, Wanted
from modelfarm.registry.keys import read_private, read_public
from modelfarm.registry.line import Line
from modelfarm.registry.oci import EMPTY, INDEX, NOTHING, TITLE, describe, read_index, write_index, write_manifest
from modelfarm.registry.publishing import Publisher
from modelfarm.registry.shelf import Shelf
from modelfarm.registry.transfer import Blob, upload
from modelfarm.store import Store
from tests.images.registry import Registry, free_port
from tests.registry.conftest import Pair, own_name, quiet
from tests.registry.relay import Answer, Asked, Cut, relay
from tests.toys import Toys

WANTED = Wanted(model="toy", variant="toy")


@pytest.fixture
def home(registry: Registry, request: pytest.FixtureRequest) -> str:
    return f"{registry.host}/{own_name(request)}"


@pytest.fixture
def published(shop: Toys, artifact: Artifact, home: str, pair: Pair) -> str:
    """Publish the toy, signed; return its digest."""
    key = read_private(str(pair.private))
    return Publisher(store=shop.farm.store, registry=home, key=key).publish(artifact, quiet()).partition("@")[2]


@pytest.fixture
def fetcher(empty: Store, home: str, pair: Pair) -> Fetcher:
    return Fetcher(store=empty, registry=home, key=read_public(str(pair.public)))


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()
            if file.name != "convert.log"}


def refused(fetcher: Fetcher, kind: type[FarmError], said: str, wanted: Wanted = WANTED) -> FarmError:
    """Fetch, which must fail, and see that nothing is in the store, nor half of it; returns the error."""
    with pytest.raises(kind, match=said) as caught:
        fetcher.fetch(wanted, quiet())
    left = [path for path in fetcher.store.root.rglob("*") if path.is_file()]
    assert left == [], "nothing half is in the store"
    assert fetcher.store.latest("toy", "toy") is None
    return caught.value


def elsewhere(fetcher: Fetcher, host: str) -> Fetcher:
    return replace(fetcher, registry=f"{host}/{fetcher.registry.partition('/')[2]}")


# There and back

def test_what_was_published_comes_back_byte_for_byte(fetcher: Fetcher, published: str, artifact: Artifact) -> None:
    fetched = fetcher.fetch(WANTED, quiet())
    assert digests(fetched.folder) == digests(artifact.folder)
    assert fetched.check(fetcher.store.digests).key == artifact.key
    assert fetcher.store.latest("toy", "toy") == fetched
    assert fetched.path("reproduce.sh").stat().st_mode & 0o111
    assert fetched.smoke == artifact.smoke


def test_what_is_here_is_not_fetched_again_and_latest_points_to_it(registry: Registry, fetcher: Fetcher,
                                                                   published: str) -> None:
    first = fetcher.fetch(WANTED, quiet())
    (first.folder.parent / "latest").unlink()
    stream = io.StringIO()
    with relay(registry) as there:
        again = elsewhere(fetcher, there.host).fetch(WANTED, Console(stream, live=False))
        assert not any(each.path.endswith(first.files[0].sha256) for each in there.asked)
    assert again == first and fetcher.store.latest("toy", "toy") == first
    assert "is here already" in stream.getvalue()


def test_a_damaged_artifact_here_is_replaced(fetcher: Fetcher, published: str) -> None:
    first = fetcher.fetch(WANTED, quiet())
    first.path("model.toy").write_text("damaged")
    stream = io.StringIO()
    again = fetcher.fetch(WANTED, Console(stream, live=False))
    assert again.check(fetcher.store.digests) and "is damaged" in stream.getvalue()
    assert [failure.version for failure in fetcher.store.failures()] == [first.version]


def test_a_version_and_a_digest_can_be_named(fetcher: Fetcher, published: str, artifact: Artifact) -> None:
    assert fetcher.fetch(replace(WANTED, version=artifact.version), quiet()).version == artifact.version
    assert fetcher.fetch(replace(WANTED, digest=published), quiet()).version == artifact.version


def test_variants_are_those_of_the_tags(fetcher: Fetcher, published: str) -> None:
    assert list(fetcher.variants("toy")) == ["toy"]
    assert list(fetcher.variants("toy", "toy")) == ["toy"]
    with pytest.raises(MissingError, match="/toy has no artifact of onnx"):
        list(fetcher.variants("toy", "onnx"))
    with pytest.raises(MissingError, match="/none has no artifact"):
        list(fetcher.variants("none"))


def test_a_broken_line_is_taken_up_again(registry: Registry, fetcher: Fetcher, published: str,
                                         artifact: Artifact) -> None:
    cuts = iter(["cut"])

    def cut(asked: Asked, answer: Answer) -> Answer:
        whole = "/blobs/" not in asked.path or not next(cuts, None)
        return answer if whole else replace(answer, cut_at=len(answer.body) // 2)

    with relay(registry, after=cut) as there:
        fetched = elsewhere(fetcher, there.host).fetch(WANTED, quiet())
    assert digests(fetched.folder) == digests(artifact.folder)


# What is wrong with bytes

@pytest.mark.parametrize("which", ["the model", "the provenance", "the smoke report"])
def test_a_flipped_byte_is_damage(registry: Registry, fetcher: Fetcher, published: str, artifact: Artifact,
                                  which: str) -> None:
    file = {"the model": "model.toy", "the provenance": "manifest.json", "the smoke report": "smoke.log"}[which]
    content = artifact.path(file).read_bytes()
    place = registry.blob(f"sha256:{hashlib.sha256(content).hexdigest()}")
    try:
        place.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        error = refused(fetcher, ArtifactError, "is damaged: its bytes have the digest")
        assert error.code == 7 and "do not use it" in error.remedy
    finally:
        place.write_bytes(content)
    assert fetcher.fetch(WANTED, quiet())


def test_a_manifest_that_changes_on_its_way_has_no_signature(registry: Registry, fetcher: Fetcher,
                                                             published: str) -> None:
    def spaced(asked: Asked, answer: Answer) -> Answer:
        wanted = asked.path.endswith("/manifests/toy")
        return Answer(body=answer.body + b"\n", headers={"Content-Type": "x"}) if wanted else answer

    with relay(registry, after=spaced) as there:
        refused(elsewhere(fetcher, there.host), RegistryError, "is not signed")


def test_a_blob_that_the_registry_lost_is_named(registry: Registry, fetcher: Fetcher, published: str,
                                                artifact: Artifact) -> None:
    lost = artifact.files[0].sha256
    with relay(registry, before=lambda asked: Answer(status=404) if asked.path.endswith(lost) else None) as there:
        assert refused(elsewhere(fetcher, there.host), MissingError, "has no .*toy@sha256:" + lost).code == 8


@pytest.mark.parametrize("part", ["/manifests/toy", ".sig", "/blobs/"])
def test_a_registry_that_stops_half_way_leaves_nothing(registry: Registry, fetcher: Fetcher, published: str,
                                                       part: str) -> None:
    with relay(registry, before=lambda asked: Cut() if part in asked.path else None) as there:
        refused(elsewhere(fetcher, there.host), CutError, "ended too early")


def test_a_registry_that_is_down_is_named(fetcher: Fetcher) -> None:
    host = f"127.0.0.1:{free_port()}"
    refused(elsewhere(fetcher, host), UnreachableError, f"the registry {host} cannot be reached")


# Signatures

def test_a_missing_signature_is_refused(shop: Toys, artifact: Artifact, home: str, fetcher: Fetcher) -> None:
    Publisher(store=shop.farm.store, registry=home).publish(artifact, quiet())
    assert refused(fetcher, RegistryError, "is not signed: there is no").code == 8
    assert replace(fetcher, key=None).fetch(WANTED, quiet()).version == artifact.version


def test_a_wrong_key_is_refused(fetcher: Fetcher, published: str, stranger: Pair) -> None:
    refused(replace(fetcher, key=read_public(str(stranger.public))), RegistryError, "is not signed with this key")


def test_a_smoke_report_that_a_stranger_attached_is_not_taken(fetcher: Fetcher, published: str, home: str,
                                                              artifact: Artifact) -> None:
    """The newest report that is signed wins; where none is, none is taken."""
    forge(home, published, {"smoke.json": b'{"made_at": "2099", "worst": {}}'})
    assert fetcher.fetch(WANTED, quiet()).smoke == artifact.smoke


def forge(home: str, subject: str, files: dict[str, bytes], created: str = "2099-01-01T00:00:00Z") -> str:
    """Attach a smoke report to what is published; returns its digest."""
    shelf = Shelf(Line(f"{home}/toy"))
    model = shelf.manifest(subject)
    assert model
    layers = [describe(data, "text/plain", {TITLE: name}) for name, data in files.items()]
    for data in (*files.values(), NOTHING):
        upload(shelf.line, Blob(descriptor=describe(data, "text/plain"), source=data))
    report = write_manifest(artifact_type=package.SMOKE_REPORT, config=describe(NOTHING, EMPTY), layers=layers,
                            subject=model.reference, annotations={package.CREATED: created})
    attach(shelf, report)
    return report.digest


def test_without_a_signed_report_nothing_is_fetched(shop: Toys, artifact: Artifact, home: str, fetcher: Fetcher,
                                                    pair: Pair) -> None:
    digest = Publisher(store=shop.farm.store, registry=home).publish(artifact, quiet()).partition("@")[2]
    signatures.sign(Shelf(Line(f"{home}/toy")), digest, read_private(str(pair.private)))
    refused(fetcher, RegistryError, "the smoke report of .* is not signed")


def test_the_newest_report_is_taken_where_no_key_is_asked_for(fetcher: Fetcher, published: str, home: str) -> None:
    forge(home, published, {"smoke.json": b'{"made_at": "old"}'}, created="2001-01-01T00:00:00Z")
    forge(home, published, {"smoke.json": b'{"made_at": "new"}'})
    assert replace(fetcher, key=None).fetch(WANTED, quiet()).smoke == {"made_at": "new"}


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", ".hidden", "manifest.json", "model.toy", "a/b", "", ".."])
def test_a_report_cannot_write_where_it_likes(fetcher: Fetcher, published: str, home: str, name: str) -> None:
    forge(home, published, {name: b"evil"})
    refused(replace(fetcher, key=None), RegistryError, f"a smoke report wants to write {name!r}")


def test_a_report_cannot_fill_the_disk(fetcher: Fetcher, published: str, home: str,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    forge(home, published, {"smoke.json": b" " * 20_000})
    monkeypatch.setattr("modelfarm.registry.fetching._LARGEST", 19_000)
    refused(replace(fetcher, key=None), RegistryError, "larger than makes sense")


# Tags that moved, things that were changed

def test_a_tag_that_leads_to_another_variant_moved(fetcher: Fetcher, published: str, home: str,
                                                   artifact: Artifact) -> None:
    shelf = Shelf(Line(f"{home}/toy"))
    manifest = shelf.manifest(published)
    assert manifest
    shelf.tag(manifest, "other")
    said = f"the tag moved: .*toy:other now leads to toy/toy {artifact.version}"
    assert refused(fetcher, RegistryError, said, replace(WANTED, variant="other")).code == 8
    shelf.tag(manifest, f"toy-{'0' * 16}")
    refused(fetcher, RegistryError, "the tag moved", replace(WANTED, version="0" * 16))


def test_a_digest_that_is_gone_is_told_with_what_the_tag_points_to(fetcher: Fetcher, published: str) -> None:
    gone = "sha256:" + "1" * 64
    said = f"the tag moved: .*toy:toy now points to {published}, and the registry holds {gone} no more"
    refused(fetcher, RegistryError, said, replace(WANTED, digest=gone))


def test_what_is_not_there_is_named(fetcher: Fetcher, published: str) -> None:
    refused(fetcher, MissingError, "/toy has no onnx\n", replace(WANTED, variant="onnx"))
    refused(fetcher, MissingError, "/none has no toy\n", replace(WANTED, model="none"))
    with pytest.raises(UsageError, match="cannot name a repository"):
        fetcher.fetch(replace(WANTED, model="../x"), quiet())


def test_another_programs_artifact_is_refused(fetcher: Fetcher, home: str) -> None:
    shelf = Shelf(Line(f"{home}/toy"))
    upload(shelf.line, Blob(descriptor=describe(NOTHING, EMPTY), source=NOTHING))
    for kind, told in (("application/vnd.other", {}), (package.MODEL, {}),
                       (package.MODEL, {"modelfarm.key": "../../x"})):
        shelf.tag(write_manifest(artifact_type=kind, config=describe(NOTHING, EMPTY), layers=[], annotations=told),
                  "toy")
        refused(replace(fetcher, key=None), RegistryError, "is no artifact of a farm")


Change = Callable[[dict[str, Any]], object]


def tampered(shop: Toys, artifact: Artifact, home: str, monkeypatch: pytest.MonkeyPatch, change: Change,
             file: str = "") -> None:
    """Publish the toy with a manifest that somebody edited, whole and consistent in itself."""
    original = package._file

    def edited(path: Path, kind: str, annotations: dict[str, str]) -> Blob:
        made = original(path, kind, annotations)
        if path.name != "manifest.json":
            return made
        document = json.loads(made.part(0, 1 << 24))
        change(document)
        data = json.dumps(document).encode()
        return Blob(descriptor=describe(data, kind, annotations), source=data)

    monkeypatch.setattr(package, "_file", edited)
    Publisher(store=shop.farm.store, registry=home).publish(artifact, quiet())


def gates(document: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = document["predicate"]["verification"]["gates"]
    return found


def identity(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["predicate"]["buildDefinition"]["internalParameters"]["identity"]
    return found


@pytest.mark.parametrize(("change", "kind", "said"), [
    (lambda document: gates(document).update(parity="failed"), GateError, "is not taken: it did not pass .* parity"),
    (lambda document: gates(document).clear(), GateError, "is not taken: it passed no gate"),
    (lambda document: document["predicate"].pop("verification"), ArtifactError, "tells of no gates"),
    (lambda document: identity(document).update(weights="random"), ArtifactError, "identity does not give its key"),
    (lambda document: document["subject"][0].update(name="other.toy"), ArtifactError, "tells of other files"),
    (lambda document: document["subject"][0]["digest"].update(sha256="0" * 64), ArtifactError, "tells of other files"),
    (lambda document: document["subject"][0].update(name="../evil"), ArtifactError, "is no file of this folder"),
    (lambda document: document["subject"].clear(), ArtifactError, "names no subject"),
    (lambda document: document["predicate"]["buildDefinition"]["externalParameters"].update(model="x"), ArtifactError,
     "tells of other files"),
    (lambda document: document["predicate"]["buildDefinition"]["internalParameters"].update(key="1" * 64),
     ArtifactError, "belongs to version 1111"),
])
def test_a_provenance_that_was_edited_is_refused(shop: Toys, artifact: Artifact, home: str, fetcher: Fetcher,
                                                 monkeypatch: pytest.MonkeyPatch, change: Change,
                                                 kind: type[FarmError], said: str) -> None:
    tampered(shop, artifact, home, monkeypatch, change)
    refused(replace(fetcher, key=None), kind, said)


def test_another_provenance_than_the_artifact_names_is_refused(fetcher: Fetcher, published: str, home: str,
                                                               registry: Registry) -> None:
    shelf = Shelf(Line(f"{home}/toy"))
    (right,) = attached(shelf, published, package.PROVENANCE)

    def hidden(asked: Asked, answer: Answer) -> Answer:
        wanted = asked.path.endswith(f"sha256-{published.partition(':')[2]}")
        changed = answer.body.replace(right.artifact_type.encode(), b"application/other")
        return Answer(body=changed) if wanted else answer

    with relay(registry, after=hidden) as there:
        refused(elsewhere(fetcher, there.host), RegistryError, "has no provenance: nothing .* has the digest sha256:")


def test_a_strangers_provenance_in_front_of_the_right_one_is_passed_over(fetcher: Fetcher, published: str, home: str,
                                                                         artifact: Artifact) -> None:
    shelf = Shelf(Line(f"{home}/toy"))
    listed = read_index(shelf.read(tag_of(published), INDEX) or b"")
    forged = shelf.manifest(forge(home, published, {"manifest.json": b"{}"}))
    assert forged
    evil = write_manifest(artifact_type=package.PROVENANCE, config=forged.config, layers=forged.layers,
                          subject=forged.subject)
    shelf.write(evil.data, evil.digest)
    shelf.write(write_index([evil.descriptor, *listed]), tag_of(published), INDEX)
    assert fetcher.fetch(WANTED, quiet()).manifest == artifact.manifest


def test_no_report_is_no_fault(fetcher: Fetcher, published: str, registry: Registry) -> None:
    def hidden(asked: Asked, answer: Answer) -> Answer:
        wanted = asked.path.endswith(f"sha256-{published.partition(':')[2]}")
        return Answer(body=answer.body.replace(b"vnd.modelfarm.smoke", b"vnd.other")) if wanted else answer

    stream = io.StringIO()
    with relay(registry, after=hidden) as there:
        fetched = elsewhere(fetcher, there.host).fetch(WANTED, Console(stream, live=False))
    assert not fetched.path("smoke.json").exists() and "has no smoke report" in stream.getvalue()


def test_places_are_those_that_were_published_to() -> None:
    assert publishing.place("host:1", "toy") == "host:1/toy"
    assert re.fullmatch(r"[\w.-]+", WANTED.tag)
