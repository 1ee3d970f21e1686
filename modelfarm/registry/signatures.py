"""Signatures: cosign's simple signing, kept in the registry beside what is signed.

Format: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md. A manifest under the tag
`sha256-<digest>.sig` has one layer for each signature: the signed payload names the digest, an annotation holds the
signature. What `cosign sign --key` writes is verified here, and `cosign verify --key` verifies what is written here.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass

from modelfarm.digest import canonical
from modelfarm.errors import ArtifactError, RegistryError
from modelfarm.registry import transfer
from modelfarm.registry.attachments import tag_of
from modelfarm.registry.keys import PrivateKey, PublicKey
from modelfarm.registry.oci import Descriptor, Manifest, describe, write_manifest
from modelfarm.registry.shelf import Shelf
from modelfarm.registry.transfer import Blob

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
_TYPE = "cosign container image signature"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LARGEST = 1 << 20  # bytes of a payload, which has some hundred


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A payload that somebody signed, and the signature in DER form."""

    payload: bytes
    signature: bytes

    def names(self, digest: str) -> bool:
        """Say whether the payload is about the manifest of a digest."""
        try:
            critical = json.loads(self.payload)["critical"]
            return bool(critical["type"] == _TYPE and critical["image"]["docker-manifest-digest"] == digest)
        except (ValueError, TypeError, LookupError):
            return False


def sign(shelf: Shelf, digest: str, key: PrivateKey) -> None:
    """Add a signature of what a digest names; one of the same key that is there already is enough."""
    tag = tag_of(digest, ".sig")
    earlier = shelf.manifest(tag)
    if earlier and any(_is_good(each, digest, key.public) for each in _signed(shelf, earlier)):
        return
    payload = canonical({"critical": {"identity": {"docker-reference": shelf.line.repository},
                                      "image": {"docker-manifest-digest": digest}, "type": _TYPE}, "optional": None})
    mark = base64.b64encode(key.sign(payload)).decode()
    layers = (*(earlier.layers if earlier else ()), describe(payload, PAYLOAD, {SIGNATURE: mark}))
    config = canonical({"architecture": "", "os": "", "config": {},
                        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]}})
    for data, kind in ((payload, PAYLOAD), (config, _CONFIG)):
        transfer.upload(shelf.line, Blob(descriptor=describe(data, kind), source=data))
    shelf.tag(write_manifest(artifact_type="", config=describe(config, _CONFIG), layers=layers), tag)


def check(shelf: Shelf, digest: str, key: PublicKey, what: str) -> None:
    """Raise RegistryError where what a digest names has no signature of this key; `what` names it in messages."""
    manifest = shelf.manifest(tag_of(digest, ".sig"))
    if manifest is None:
        raise RegistryError(f"{what} is not signed: there is no {shelf.name(tag_of(digest, '.sig'))}",
                            remedy="make publish SIGN_KEY=file signs it; whoever published it has the key")
    found = list(_signed(shelf, manifest))
    if any(_is_good(each, digest, key) for each in found):
        return
    if any(key.fits(each.signature, each.payload) for each in found):
        raise RegistryError(f"{what} has a signature that is of something else: it was moved there",
                            remedy="do not use it; tell who runs the registry")
    raise RegistryError(f"{what} is not signed with this key: none of its {len(found)} signatures fits",
                        remedy="see VERIFY_KEY=; if it is the right one, do not use the artifact")


def _is_good(signed: Signed, digest: str, key: PublicKey) -> bool:
    return key.fits(signed.signature, signed.payload) and signed.names(digest)


def _signed(shelf: Shelf, manifest: Manifest) -> Iterator[Signed]:
    for layer in manifest.layers:
        if layer.media_type == PAYLOAD and (mark := _mark(layer)):
            # A damaged payload is one signature less, not the end of the others.
            try:
                yield Signed(payload=transfer.read(shelf.line, layer, _LARGEST), signature=mark)
            except ArtifactError:
                continue


def _mark(layer: Descriptor) -> bytes:
    try:
        return base64.b64decode(layer.annotations.get(SIGNATURE, ""), validate=True)
    except binascii.Error:
        return b""
