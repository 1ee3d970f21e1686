"""Desk: orders to publish and to fetch, for several models at once; one that fails does not stop the others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from modelfarm.artifact import VERIFIED
from modelfarm.console import Console
from modelfarm.door import complain
from modelfarm.errors import ArtifactError, FarmError, UsageError
from modelfarm.phrase import shown
from modelfarm.plan import parse_models
from modelfarm.registry import keys
from modelfarm.registry.faults import MissingError, UnreachableError
from modelfarm.registry.fetching import Fetcher, Wanted
from modelfarm.registry.publishing import Publisher, chosen
from modelfarm.repository import checked_registry
from modelfarm.store import Store


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a user asks for, in the words of the command line."""

    models: str
    registry: str
    variant: str = ""
    target: str = ""
    version: str = ""
    digest: str = ""
    key: str = ""

    def checked(self, command: str) -> str:
        """Return the registry; raises UsageError for words that cannot be meant together."""
        if self.variant and self.target:
            raise UsageError("VARIANT= and TARGET= say the same thing twice", remedy="say one of them")
        several = "," in self.models or self.models == "all"
        if (self.version or self.digest) and (several or not self.variant):
            raise UsageError("VERSION= and DIGEST= are of one variant of one model",
                             remedy="say MODEL= and VARIANT=, too")
        if self.version and not re.fullmatch("[0-9a-f]{16}", self.version):
            raise UsageError(f"VERSION={self.version} is no version",
                             remedy="say its 16 digits, as make status has them")
        if self.digest and not re.fullmatch("sha256:[0-9a-f]{64}", self.digest):
            raise UsageError(f"DIGEST={self.digest} is no digest",
                             remedy="say sha256: and 64 digits, as make publish did")
        return checked_registry(self.registry, command)


def publish(store: Store, order: Order, force: bool, console: Console) -> int:
    """Publish what is meant; returns the exit code: 0, or that of the first failure."""
    registry = order.checked("make publish")
    key = keys.read_private(order.key) if order.key else None
    publisher = Publisher(store=store, registry=registry, key=key, force=force)
    models = parse_models(order.models, sorted({artifact.model for artifact in store.artifacts()}))
    if not models:
        raise ArtifactError("there is nothing to publish", remedy="make onnx MODEL=all converts every model")
    tally = _Tally()
    for model in models:
        with tally.tried(model):
            for artifact in list(chosen(store, model, order.variant, order.target)):
                with console.section(f"{model}/{artifact.variant}"), tally.tried(f"{model}/{artifact.variant}"):
                    name = publisher.publish(artifact, console)
                    if artifact.verified != VERIFIED:
                        console.note(f"it was {artifact.verified}, and its annotations say so")
                    console.note("signed" if key else "not signed; SIGN_KEY=file signs it")
                    console.line(f"  {name}")
    return tally.code


def fetch(store: Store, order: Order, known: Sequence[str], console: Console) -> int:
    """Fetch what is meant, of the models `known` where all are; returns the exit code."""
    registry = order.checked("make fetch")
    key = keys.read_public(order.key) if order.key else None
    fetcher = Fetcher(store=store, registry=registry, key=key)
    models, tally, missing = parse_models(order.models, known), _Tally(), []
    for model in models:
        with tally.tried(model):
            try:
                variants = [order.variant] if order.variant else list(fetcher.variants(model, order.target))
            except MissingError:
                if order.models.strip() != "all":
                    raise
                missing.append(model)
                continue
            for variant in variants:
                with console.section(f"{model}/{variant}"), tally.tried(f"{model}/{variant}"):
                    wanted = Wanted(model=model, variant=variant, version=order.version, digest=order.digest)
                    artifact = fetcher.fetch(wanted, console)
                    console.note(f"{artifact.verified}; " + ("the signature is good" if key else
                                 "signatures were not looked at; VERIFY_KEY=file does"))
                    console.line(f"  {shown(artifact.path(artifact.files[0].name))}")
    if missing:
        console.note(f"{registry} has nothing of {', '.join(missing)}")
    if missing == models:
        raise MissingError(f"{registry} has none of these models", remedy="see REGISTRY=; make publish puts them there")
    return tally.code


class _Tally:
    """Keeps the exit code of the first failure; a registry that nobody reaches ends everything."""

    def __init__(self) -> None:
        self.code = 0

    @contextmanager
    def tried(self, subject: str) -> Iterator[None]:
        """Tell of a failure in the block, and go on after it."""
        try:
            yield
        except UnreachableError:
            raise
        except FarmError as error:
            complain(error, subject)
            self.code = self.code or error.code
