"""Signatures have cosign's form; openssl finds them good, and each kind of bad one has its own message."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from modelfarm.errors import RegistryError
from modelfarm.registry import signatures
from modelfarm.registry.keys import read_private, read_public
from modelfarm.registry.oci import EMPTY, NOTHING, Manifest, describe, write_manifest
from modelfarm.registry.shelf import Shelf
from modelfarm.registry.transfer import Blob, upload
from tests.images.registry import Registry
from tests.registry.conftest import Pair
from tests.registry.test_keys import agrees

CONFIG = describe(NOTHING, EMPTY)


@pytest.fixture
def manifest(shelf: Shelf) -> Manifest:
    upload(shelf.line, Blob(descriptor=CONFIG, source=NOTHING))
    manifest = write_manifest(artifact_type="a/b", config=CONFIG, layers=[CONFIG])
    shelf.write(manifest.data, manifest.digest)
    return manifest


def sign(shelf: Shelf, manifest: Manifest, pair: Pair) -> None:
    signatures.sign(shelf, manifest.digest, read_private(str(pair.private)))


def check(shelf: Shelf, manifest: Manifest, pair: Pair) -> None:
    signatures.check(shelf, manifest.digest, read_public(str(pair.public)), "it")


def tag(manifest: Manifest) -> str:
    return "sha256-" + manifest.digest.removeprefix("sha256:") + ".sig"


def test_a_signature_is_what_cosigns_specification_shows(shelf: Shelf, manifest: Manifest, pair: Pair,
                                                         registry: Registry, tmp_path: Path) -> None:
    sign(shelf, manifest, pair)
    data = shelf.read(tag(manifest))
    assert data
    (layer,) = json.loads(data)["layers"]
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    payload = registry.blob(layer["digest"]).read_bytes()
    assert json.loads(payload)["critical"] == {
        "identity": {"docker-reference": shelf.line.repository},
        "image": {"docker-manifest-digest": manifest.digest},
        "type": "cosign container image signature"}
    signature = base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"])
    assert agrees(tmp_path, pair.public, signature, payload)
    check(shelf, manifest, pair)


def test_signing_twice_adds_nothing_and_another_key_one_more(shelf: Shelf, manifest: Manifest, pair: Pair,
                                                             stranger: Pair) -> None:
    sign(shelf, manifest, pair)
    first = shelf.digest(tag(manifest))
    sign(shelf, manifest, pair)
    assert shelf.digest(tag(manifest)) == first
    sign(shelf, manifest, stranger)
    both = shelf.manifest(tag(manifest))
    assert both and len(both.layers) == 2
    check(shelf, manifest, pair)
    check(shelf, manifest, stranger)


def test_what_is_not_signed_is_refused(shelf: Shelf, manifest: Manifest, pair: Pair) -> None:
    with pytest.raises(RegistryError, match=r"it is not signed: there is no .*\.sig") as caught:
        check(shelf, manifest, pair)
    assert caught.value.code == 8 and "SIGN_KEY=" in caught.value.remedy


def test_another_key_is_refused(shelf: Shelf, manifest: Manifest, pair: Pair, stranger: Pair) -> None:
    sign(shelf, manifest, stranger)
    with pytest.raises(RegistryError, match="it is not signed with this key: none of its 1 signatures fits"):
        check(shelf, manifest, pair)


def test_a_good_signature_of_something_else_is_refused(shelf: Shelf, manifest: Manifest, pair: Pair) -> None:
    other = write_manifest(artifact_type="a/b", config=CONFIG, layers=[CONFIG], annotations={"evil": "yes"})
    shelf.write(other.data, other.digest)
    sign(shelf, manifest, pair)
    moved = shelf.manifest(tag(manifest))
    assert moved
    shelf.write(moved.data, tag(other))
    with pytest.raises(RegistryError, match="has a signature that is of something else"):
        check(shelf, other, pair)


def test_a_payload_that_was_changed_is_refused(shelf: Shelf, manifest: Manifest, pair: Pair,
                                               registry: Registry) -> None:
    sign(shelf, manifest, pair)
    signed = shelf.manifest(tag(manifest))
    assert signed
    payload = registry.blob(signed.layers[0].digest)
    original = payload.read_bytes()
    try:
        payload.write_bytes(original.replace(b"cosign", b"coSign"))
        with pytest.raises(RegistryError, match="none of its 0 signatures fits"):
            check(shelf, manifest, pair)
    finally:
        payload.write_bytes(original)
    check(shelf, manifest, pair)


@pytest.mark.parametrize("mark", ["", "!!!", "AAAA"])
def test_signatures_that_are_none_are_refused(shelf: Shelf, manifest: Manifest, pair: Pair, mark: str) -> None:
    sign(shelf, manifest, pair)
    signed = shelf.manifest(tag(manifest))
    assert signed
    layer = signed.layers[0]
    forged = write_manifest(artifact_type="", config=signed.config, layers=[
        describe(b"x", "text/plain"), type(layer)(media_type=layer.media_type, digest=layer.digest, size=layer.size,
                                                  annotations={signatures.SIGNATURE: mark})])
    upload(shelf.line, Blob(descriptor=describe(b"x", "text/plain"), source=b"x"))
    shelf.write(forged.data, tag(manifest))
    with pytest.raises(RegistryError, match="is not signed with this key"):
        check(shelf, manifest, pair)


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"critical": {}}',
                                     b'{"critical": {"type": "other", "image": {"docker-manifest-digest": "d"}}}'])
def test_payloads_of_other_forms_name_nothing(payload: bytes) -> None:
    assert not signatures.Signed(payload=payload, signature=b"").names("d")
