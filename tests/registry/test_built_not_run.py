"""What was built and not run is published as that, and comes back as that; steps on the way stay at home."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.errors import ArtifactError
from modelfarm.registry import desk
from modelfarm.registry.desk import Order
from modelfarm.registry.line import Line
from modelfarm.registry.publishing import Publisher, chosen
from modelfarm.registry.shelf import Shelf
from modelfarm.store import Store
from tests.images.registry import Registry
from tests.registry.conftest import own_name, quiet
from tests.test_built import INSPECTING
from tests.test_origin import run, twins
from tests.toys import Toys, make_toys

__all__ = ["twins"]


@pytest.fixture
def built(tmp_path: Path, toy_cache: Path) -> Toys:
    """Return toys whose toolchain makes what it cannot run, and an artifact of theirs."""
    toys = make_toys(tmp_path / "built", toy_cache)
    toys.model()
    folder = toys.folder / "docker" / "toy"
    with (folder / "target.yaml").open("a") as stream:
        stream.write("runs: false\n")
    with (folder / "converter.py").open("a") as stream:
        stream.write(INSPECTING)
    make(toys)
    return toys


def make(toys: Toys) -> list[Artifact]:
    done = toys.run(toys.jobs(), quiet())
    assert all(each.built for each in done), [each.error for each in done]
    return [each.built.artifact for each in done if each.built]


def test_it_goes_out_and_comes_back_as_what_it_is(built: Toys, empty: Store, registry: Registry,
                                                  request: pytest.FixtureRequest) -> None:
    stream, order = io.StringIO(), Order(models="toy", registry=f"{registry.host}/{own_name(request)}")
    assert desk.publish(built.farm.store, order, False, Console(stream, live=False)) == 0
    assert "it was built, not run, and its annotations say so" in stream.getvalue()
    manifest = Shelf(Line(f"{order.registry}/toy")).manifest("toy")
    assert manifest and manifest.annotations["modelfarm.verified"] == "built, not run"
    assert desk.fetch(empty, order, [], Console(stream, live=False)) == 0
    assert "  . built, not run; signatures were not looked at" in stream.getvalue()
    (fetched,) = empty.artifacts()
    assert fetched.verified == "built, not run"
    assert fetched.smoke["passed"] and "BUILT, NOT RUN" in fetched.path("smoke.log").read_text()


def test_it_does_not_become_verified_on_the_way(built: Toys, empty: Store, registry: Registry,
                                                request: pytest.FixtureRequest,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Annotations are for looking at; what the store serves is what the provenance says."""
    order = Order(models="toy", registry=f"{registry.host}/{own_name(request)}")
    with monkeypatch.context() as patch:
        patch.setattr("modelfarm.artifact.Artifact.verified", "verified")
        assert desk.publish(built.farm.store, order, False, quiet()) == 0
    manifest = Shelf(Line(f"{order.registry}/toy")).manifest("toy")
    assert manifest and manifest.annotations["modelfarm.verified"] == "verified"
    assert desk.fetch(empty, order, [], quiet()) == 0
    assert [each.verified for each in empty.artifacts()] == ["built, not run"]


def test_steps_to_other_targets_go_out_only_when_they_are_named(twins: Toys, registry: Registry, empty: Store,
                                                                request: pytest.FixtureRequest) -> None:
    store = twins.farm.store
    assert all(outcome.built for outcome in run(twins, "toy").values())
    assert "toy-for-twin" in {each.variant for each in store.artifacts()}
    assert {each.variant for each in chosen(store, "toy", "", "")} == {"twin-fp16", "twin-fp32"}
    with pytest.raises(ArtifactError, match="has no artifact of toy to publish"):
        list(chosen(store, "toy", "", "toy"))
    (step,) = chosen(store, "toy", "toy-for-twin", "")
    home = f"{registry.host}/{own_name(request)}"
    Publisher(store=store, registry=home).publish(step, quiet())
    order = Order(models="toy", registry=home, variant="toy-for-twin")
    assert desk.fetch(empty, replace(order, version=step.version), [], quiet()) == 0
    (fetched,) = empty.artifacts()
    assert fetched.subjects == step.subjects and "reference.npz" in fetched.subjects
