"""Orders: several models at once, the first failure's code, and words that cannot be meant."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from modelfarm.console import Console
from modelfarm.errors import ArtifactError, UsageError
from modelfarm.registry import desk
from modelfarm.registry.desk import Order
from modelfarm.registry.faults import MissingError, UnreachableError
from modelfarm.store import Store
from tests.images.registry import Registry, free_port
from tests.registry.conftest import Pair, own_name, quiet
from tests.toys import Toys


@pytest.fixture
def order(registry: Registry, request: pytest.FixtureRequest) -> Order:
    return Order(models="toy", registry=f"{registry.host}/{own_name(request)}")


@pytest.mark.parametrize(("words", "said", "remedy"), [
    ({"registry": ""}, "make fetch needs a registry", "REGISTRY=host:port/path"),
    ({"registry": "http://host:1/x"}, "a name, not an address", "REGISTRY=host:1/x"),
    ({"variant": "onnx", "target": "onnx"}, "VARIANT= and TARGET=", "say one of them"),
    ({"version": "0" * 16}, "of one variant of one model", "VARIANT="),
    ({"version": "0" * 16, "variant": "onnx", "models": "a,b"}, "of one variant of one model", "MODEL="),
    ({"digest": "sha256:" + "0" * 64, "variant": "onnx", "models": "all"}, "of one variant of one model", "MODEL="),
    ({"version": "12", "variant": "onnx"}, "VERSION=12 is no version", "16 digits"),
    ({"digest": "12", "variant": "onnx"}, "DIGEST=12 is no digest", "sha256:"),
])
def test_words_that_cannot_be_meant_are_usage_errors(words: dict[str, str], said: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        replace(Order(models="toy", registry="host:1/farm"), **words).checked("make fetch")  # type: ignore[arg-type]
    assert remedy in caught.value.remedy


def test_all_goes_there_and_back(shop: Toys, empty: Store, order: Order, pair: Pair,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    everything = replace(order, models="all", key=str(pair.private))
    assert desk.publish(shop.farm.store, everything, False, Console(stream, live=False)) == 0
    assert "signed" in stream.getvalue() and f"  {order.registry}/toy@sha256:" in stream.getvalue()
    assert "random" not in stream.getvalue(), "random weights are left out"
    stream.truncate(0)
    everything = replace(order, models="all", key=str(pair.public))
    assert desk.fetch(empty, everything, ["other", "toy"], Console(stream, live=False)) == 0
    assert "the signature is good" in stream.getvalue() and "has nothing of other" in stream.getvalue()
    assert [(each.model, each.variant) for each in empty.artifacts()] == [("toy", "toy")]
    assert capsys.readouterr().err == ""


def test_one_that_fails_does_not_stop_the_others(shop: Toys, empty: Store, order: Order,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    both = replace(order, models="none,toy")
    assert desk.publish(shop.farm.store, both, False, quiet()) == 7
    assert "none: none has no artifact to publish" in capsys.readouterr().err
    assert desk.fetch(empty, both, [], quiet()) == 8
    assert "none: " in capsys.readouterr().err
    assert [each.model for each in empty.artifacts()] == ["toy"]


def test_random_weights_that_are_named_are_refused_with_their_code(shop: Toys, order: Order,
                                                                  capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.publish(shop.farm.store, replace(order, variant="toy-random"), False, quiet()) == 6
    assert "toy/toy-random: toy/toy-random" in capsys.readouterr().err


def test_a_registry_that_is_down_ends_it_at_once(shop: Toys, empty: Store, order: Order) -> None:
    down = replace(order, registry=f"127.0.0.1:{free_port()}/farm", models="toy,toy2,toy3")
    with pytest.raises(UnreachableError):
        desk.publish(shop.farm.store, down, False, quiet())
    with pytest.raises(UnreachableError):
        desk.fetch(empty, down, [], quiet())


def test_where_there_is_nothing_at_all_it_is_told(empty: Store, order: Order) -> None:
    with pytest.raises(ArtifactError, match="there is nothing to publish"):
        desk.publish(empty, replace(order, models="all"), False, quiet())
    with pytest.raises(MissingError, match="has none of these models"):
        desk.fetch(empty, replace(order, models="all"), ["a", "b"], quiet())
    with pytest.raises(UsageError, match="which model"):
        desk.fetch(empty, replace(order, models=""), ["a", "b"], quiet())


def test_keys_are_read_before_the_registry_is_asked(shop: Toys, empty: Store, order: Order, pair: Pair) -> None:
    down = replace(order, registry=f"127.0.0.1:{free_port()}/farm", key=str(pair.public))
    with pytest.raises(UsageError, match="SIGN_KEY="):
        desk.publish(shop.farm.store, down, False, quiet())
    with pytest.raises(UsageError, match="VERIFY_KEY="):
        desk.fetch(empty, replace(down, key=str(pair.private)), [], quiet())
