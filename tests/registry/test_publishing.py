"""Publishing: only what is good goes out, the tags last, and a broken line leaves them where they were."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.digest import Digests
from modelfarm.errors import ArtifactError, GateError, RegistryError, UsageError
from modelfarm.registry.attachments import attached
from modelfarm.registry.faults import CutError
from modelfarm.registry.keys import read_private
from modelfarm.registry.line import Line
from modelfarm.registry.package import PROVENANCE, SMOKE_REPORT
from modelfarm.registry.publishing import Publisher, checked_tag, chosen, objection, place
from modelfarm.registry.shelf import Shelf
from modelfarm.store import Store
from tests.images.registry import Registry
from tests.registry.conftest import Pair, own_name, quiet
from tests.registry.relay import Answer, Asked, Cut, relay
from tests.toys import Toys, make_toys


@pytest.fixture
def home(registry: Registry, request: pytest.FixtureRequest) -> str:
    """Return a place in the registry that no other test uses."""
    return f"{registry.host}/{own_name(request)}"


@pytest.fixture
def publisher(shop: Toys, home: str) -> Publisher:
    return Publisher(store=shop.farm.store, registry=home)


def changed(artifact: Artifact, **verification: Any) -> Artifact:
    predicate = dict(artifact.manifest["predicate"])
    told = {**predicate["verification"], **verification}
    return replace(artifact, manifest={**artifact.manifest, "predicate": {**predicate, "verification": told}})


def copied(artifact: Artifact, folder: Path) -> tuple[Artifact, Store]:
    """Copy an artifact into a store of the test's own."""
    shutil.copytree(artifact.folder.parent, folder / "toy" / "toy", symlinks=True)
    store = Store(folder, Digests(folder.parent / "digests"))
    found = store.latest("toy", "toy")
    assert found
    return found, store


def test_an_artifact_gets_a_tag_for_its_variant_and_one_for_its_version(publisher: Publisher, artifact: Artifact,
                                                                        home: str) -> None:
    stream = io.StringIO()
    name = publisher.publish(artifact, Console(stream, live=False))
    shelf = Shelf(Line(f"{home}/toy"))
    digest = shelf.digest("toy")
    assert name == f"{home}/toy@{digest}"
    assert shelf.digest(f"toy-{artifact.version}") == digest
    assert [len(list(attached(shelf, digest, kind))) for kind in (PROVENANCE, SMOKE_REPORT)] == [1, 1]
    assert {tag for tag in shelf.tags() if not tag.startswith("sha256-")} == {"toy", f"toy-{artifact.version}"}
    assert "7 of 7 blobs were new" in stream.getvalue()


def test_publishing_again_sends_nothing_and_changes_nothing(publisher: Publisher, artifact: Artifact,
                                                            home: str) -> None:
    stream = io.StringIO()
    name = publisher.publish(artifact, quiet())
    tags = sorted(Shelf(Line(f"{home}/toy")).tags())
    assert publisher.publish(artifact, Console(stream, live=False)) == name
    assert "0 of 7 blobs were new" in stream.getvalue()
    assert sorted(Shelf(Line(f"{home}/toy")).tags()) == tags


def test_a_key_signs_the_model_and_what_is_attached(publisher: Publisher, artifact: Artifact, pair: Pair,
                                                    home: str) -> None:
    signing = replace(publisher, key=read_private(str(pair.private)))
    signing.publish(artifact, quiet())
    tags = list(Shelf(Line(f"{home}/toy")).tags())
    assert len([tag for tag in tags if tag.endswith(".sig")]) == 3


# What may not go out

def test_random_weights_are_refused(publisher: Publisher, shop: Toys, home: str) -> None:
    random = shop.farm.store.latest("toy", "toy-random")
    assert random
    with pytest.raises(GateError, match="toy/toy-random .* cannot be published: its weights are random"):
        publisher.publish(random, quiet())
    assert list(Shelf(Line(f"{home}/toy")).tags()) == []


@pytest.mark.parametrize(("gates", "said"), [
    ({"complete": "passed", "parity": "failed"}, "it did not pass the gate parity"),
    ({"complete": "skipped"}, "it passed no gate"),
    ({}, "it passed no gate"),
])
def test_gates_that_were_not_passed_are_refused(artifact: Artifact, gates: dict[str, str], said: str) -> None:
    assert objection(changed(artifact, gates=gates)) == said


def test_a_manifest_without_gates_is_damaged(artifact: Artifact) -> None:
    with pytest.raises(ArtifactError, match="tells of no gates"):
        objection(changed(artifact, gates=3))


def test_what_was_built_and_not_run_may_go_out(artifact: Artifact) -> None:
    gates = {"complete": "passed", "signature": "passed", "parity": "not run"}
    assert objection(changed(artifact, gates=gates, verified="built, not run")) == ""


def test_a_damaged_artifact_is_refused(publisher: Publisher, artifact: Artifact, tmp_path: Path, home: str) -> None:
    broken, store = copied(artifact, tmp_path / "store")
    file = broken.path("model.toy")
    file.write_text(file.read_text().replace("2", "3"))
    with pytest.raises(ArtifactError, match=r"is damaged: model.toy has other content"):
        replace(publisher, store=store).publish(broken, quiet())
    assert list(Shelf(Line(f"{home}/toy")).tags()) == []


# Versions do not change

def test_a_version_that_is_there_with_other_bytes_stays(publisher: Publisher, artifact: Artifact, tmp_path: Path,
                                                        home: str) -> None:
    publisher.publish(artifact, quiet())
    shelf = Shelf(Line(f"{home}/toy"))
    before = shelf.digest("toy")
    other, store = copied(artifact, tmp_path / "store")
    other.path("manifest.json").write_text(other.path("manifest.json").read_text() + "\n")
    another = replace(publisher, store=store)
    with pytest.raises(RegistryError, match=f"names another artifact already: {before}, this one is sha256:") as caught:
        another.publish(other, quiet())
    assert "FORCE=1" in caught.value.remedy and shelf.digest("toy") == before
    replace(another, force=True).publish(other, quiet())
    assert shelf.digest("toy") == shelf.digest(f"toy-{artifact.version}") != before


# Lines that break

def steps() -> list[Any]:
    """List what can be cut off, from the first blob to the last tag, and whether a tag of the artifact is there."""
    return [pytest.param(lambda asked: asked.method == "POST", id="before the first blob"),
            pytest.param(lambda asked: asked.method == "PUT" and "/uploads/" in asked.path, id="in a blob"),
            pytest.param(lambda asked: asked.method == "PUT" and "/manifests/sha256:" in asked.path, id="the manifest"),
            pytest.param(lambda asked: asked.method == "PUT" and "/manifests/sha256-" in asked.path, id="the list"),
            pytest.param(lambda asked: asked.method == "PUT" and ".sig" in asked.path, id="a signature"),
            pytest.param(lambda asked: asked.method == "PUT" and "/manifests/toy-" in asked.path, id="the version")]


@pytest.mark.parametrize("cut", steps())
def test_wherever_the_line_breaks_no_tag_is_wrong_and_the_next_run_ends_it(
        registry: Registry, shop: Toys, artifact: Artifact, home: str, pair: Pair, tmp_path: Path,
        cut: Callable[[Asked], bool]) -> None:
    """An older artifact keeps the variant's tag until the new one is whole."""
    older = make_toys(tmp_path, shop.cache)
    older.model(gain=3)
    built = older.builder().build(older.jobs()[0], quiet()).artifact
    Publisher(store=older.farm.store, registry=home).publish(built, quiet())
    shelf, key = Shelf(Line(f"{home}/toy")), read_private(str(pair.private))
    before = shelf.digest("toy")
    with relay(registry, before=lambda asked: Cut() if cut(asked) else None) as there:
        path = home.partition("/")[2]
        with pytest.raises(CutError):
            Publisher(store=shop.farm.store, registry=f"{there.host}/{path}", key=key).publish(artifact, quiet())
    assert shelf.digest("toy") == before
    assert shelf.digest(f"toy-{artifact.version}") == ""
    name = Publisher(store=shop.farm.store, registry=home, key=key).publish(artifact, quiet())
    assert name.endswith(shelf.digest("toy")) and shelf.digest("toy") != before
    assert shelf.digest(f"toy-{built.version}") == before, "the older version stays"


def test_a_registry_that_stops_half_way_is_told(registry: Registry, shop: Toys, artifact: Artifact, home: str) -> None:
    down: list[bool] = []

    def stopping(asked: Asked) -> Answer | None:
        if asked.method == "PUT":
            down.append(True)
        return Answer(status=503, body=b"going down") if down else None

    with relay(registry, before=stopping) as there, pytest.raises(RegistryError, match="is in trouble: going down"):
        Publisher(store=shop.farm.store, registry=f"{there.host}/{home.partition('/')[2]}").publish(artifact, quiet())
    assert list(Shelf(Line(f"{home}/toy")).tags()) == []


# Names and choices

def test_names_that_registries_do_not_take_are_usage_errors() -> None:
    assert place("host:1/farm", "yolov5n-0.5-face") == "host:1/farm/yolov5n-0.5-face"
    assert checked_tag("tflite-uint8") == "tflite-uint8"
    with pytest.raises(UsageError, match="Digits cannot name a repository"):
        place("host:1/farm", "Digits")
    for wrong in ("a+b", "-a", "x" * 120):
        with pytest.raises(UsageError, match="cannot be a tag"):
            checked_tag(wrong)


def test_without_a_variant_all_that_may_go_out_is_meant(shop: Toys) -> None:
    store = shop.farm.store
    assert [each.variant for each in chosen(store, "toy", "", "")] == ["toy"]
    assert [each.variant for each in chosen(store, "toy", "", "toy")] == ["toy"]
    assert [each.variant for each in chosen(store, "toy", "toy-random", "")] == ["toy-random"]


def test_what_is_not_there_is_told_with_what_makes_it(shop: Toys) -> None:
    store = shop.farm.store
    with pytest.raises(ArtifactError, match="toy has no onnx artifact\n") as caught:
        list(chosen(store, "toy", "onnx", ""))
    assert caught.value.remedy == "make status lists what there is"
    with pytest.raises(ArtifactError, match="toy has no artifact of tnn to publish"):
        list(chosen(store, "toy", "", "tnn"))
    with pytest.raises(ArtifactError, match="none has no artifact to publish"):
        list(chosen(store, "none", "", ""))


def test_what_failed_is_said_to_have_failed(shop: Toys, tmp_path: Path) -> None:
    toys = make_toys(tmp_path, shop.cache)
    toys.model(error=1)
    with pytest.raises(GateError):
        toys.builder().build(toys.jobs()[0], quiet())
    with pytest.raises(ArtifactError, match="toy has no artifact to publish: toy failed, and what failed is not"):
        list(chosen(toys.farm.store, "toy", "", ""))
