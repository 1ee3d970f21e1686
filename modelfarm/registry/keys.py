"""Keys: ECDSA on P-256 with SHA-256, which is what cosign makes and verifies.

A private key is PKCS #8 in PEM form, plain or encrypted as openssl does it, or a key of `cosign generate-key-pair`:
scrypt and secretbox around PKCS #8, see
https://github.com/secure-systems-lab/go-securesystemslib/blob/main/encrypted/encrypted.go
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from modelfarm.errors import UsageError

PASSWORD = "COSIGN_PASSWORD"  # the variable that cosign itself reads
_COSIGN = re.compile(rb"-----BEGIN ENCRYPTED (?:SIGSTORE|COSIGN) PRIVATE KEY-----(.*?)-----END", re.DOTALL)
_ECDSA = ec.ECDSA(hashes.SHA256())
_MAKE = "cosign generate-key-pair makes a pair; so does openssl, see docs/publishing.md"
_SCRYPT_MEMORY = 1 << 30  # bytes at most, which no key that somebody made on purpose needs


@dataclass(frozen=True)
class PublicKey:
    """What signatures are checked with."""

    key: ec.EllipticCurvePublicKey

    def fits(self, signature: bytes, data: bytes) -> bool:
        """Say whether a signature, in DER form, is of the data and this key."""
        try:
            self.key.verify(signature, data, _ECDSA)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PrivateKey:
    """What signatures are made with."""

    key: ec.EllipticCurvePrivateKey

    def sign(self, data: bytes) -> bytes:
        """Return a signature of the data, in DER form."""
        return self.key.sign(data, _ECDSA)

    @property
    def public(self) -> PublicKey:
        """Return the other half."""
        return PublicKey(self.key.public_key())


def read_private(path: str, environment: Mapping[str, str] = os.environ) -> PrivateKey:
    """Read the key that SIGN_KEY= names; raises UsageError where it is none that signs for cosign."""
    data, subject = _bytes("SIGN_KEY", path), f"SIGN_KEY={path}"
    password = environment.get(PASSWORD, "").encode()
    try:
        if own := _COSIGN.search(data):
            key = serialization.load_der_private_key(_opened(own[1], password), None)
        else:
            sealed = b"ENCRYPTED" in data
            key = serialization.load_pem_private_key(data, password if sealed else None)
    except _WrongPasswordError as error:
        raise UsageError(f"{subject} cannot be opened: {error}", remedy=f"{PASSWORD}= holds the password") from error
    except (ValueError, TypeError, LookupError, UnsupportedAlgorithm) as error:
        locked = b"ENCRYPTED" in data
        remedy = f"{PASSWORD}= holds the password" if locked else _MAKE
        raise UsageError(f"{subject} holds no private key that can be read: {error}", remedy=remedy) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{subject} is not a key on the curve P-256", remedy=_MAKE)
    return PrivateKey(key)


def read_public(path: str) -> PublicKey:
    """Read the key that VERIFY_KEY= names; raises UsageError where it is none that verifies for cosign."""
    data, subject = _bytes("VERIFY_KEY", path), f"VERIFY_KEY={path}"
    if b"PRIVATE KEY" in data:
        raise UsageError(f"{subject} is a private key", remedy="name the public half, cosign.pub; keep this one secret")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{subject} holds no public key in PEM form: {error}", remedy=_MAKE) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{subject} is not a key on the curve P-256", remedy=_MAKE)
    return PublicKey(key)


class _WrongPasswordError(Exception):
    """The password does not open the key."""


def _opened(sealed: bytes, password: bytes) -> bytes:
    """Return the PKCS #8 bytes inside a key of cosign's."""
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    document: Mapping[str, Any] = json.loads(base64.b64decode(sealed))
    kdf, cipher = document["kdf"], document["cipher"]
    if (kdf["name"], cipher["name"]) != ("scrypt", "nacl/secretbox"):
        raise ValueError(f"it is sealed with {kdf['name']} and {cipher['name']}")
    numbers = kdf["params"]
    secret = hashlib.scrypt(password, salt=base64.b64decode(kdf["salt"]), n=numbers["N"], r=numbers["r"],
                            p=numbers["p"], dklen=SecretBox.KEY_SIZE, maxmem=_SCRYPT_MEMORY)
    try:
        return SecretBox(secret).decrypt(base64.b64decode(document["ciphertext"]), base64.b64decode(cipher["nonce"]))
    except CryptoError as error:
        raise _WrongPasswordError("the password is wrong" if password else "it has a password") from error


def _bytes(variable: str, path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{variable}={path}: {getattr(error, 'strerror', None) or error}",
                         remedy=f"{variable}= names a file; {_MAKE}") from error
