"""Keys of openssl and of cosign sign and verify; openssl, independently, agrees."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from nacl.secret import SecretBox

from modelfarm.errors import UsageError
from modelfarm.registry.keys import PASSWORD, read_private, read_public
from tests.registry.conftest import Pair, make_pair, openssl

DATA = b"what is signed"


def agrees(folder: Path, public: Path, signature: bytes, data: bytes = DATA) -> bool:
    """Ask openssl whether a signature fits."""
    (folder / "data").write_bytes(data)
    (folder / "signature").write_bytes(signature)
    try:
        return "Verified OK" in openssl("dgst", "-sha256", "-verify", public, "-signature", folder / "signature",
                                        folder / "data")
    except AssertionError:
        return False


def sealed(pair: Pair, folder: Path, password: bytes, kind: str = "SIGSTORE", **changes: str) -> Path:
    """Write a key as `cosign generate-key-pair` does, with fewer rounds."""
    der = folder / "own.der"
    openssl("pkcs8", "-topk8", "-nocrypt", "-in", pair.private, "-outform", "DER", "-out", der)
    salt, nonce, rounds = b"s" * 32, b"n" * 24, {"N": 1024, "r": 8, "p": 1}
    secret = hashlib.scrypt(password, salt=salt, n=1024, r=8, p=1, dklen=32)
    document = {"kdf": {"name": changes.get("kdf", "scrypt"), "params": rounds, "salt": text(salt)},
                "cipher": {"name": changes.get("cipher", "nacl/secretbox"), "nonce": text(nonce)},
                "ciphertext": text(SecretBox(secret).encrypt(der.read_bytes(), nonce).ciphertext)}
    lines = base64.encodebytes(json.dumps(document).encode()).decode()
    file = folder / "cosign.key"
    name = f"ENCRYPTED {kind} PRIVATE KEY-----"
    file.write_text(f"-----BEGIN {name}\n{lines}-----END {name}\n")
    return file


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_openssl_verifies_what_was_signed_here(pair: Pair, tmp_path: Path) -> None:
    signature = read_private(str(pair.private)).sign(DATA)
    assert agrees(tmp_path, pair.public, signature)
    assert not agrees(tmp_path, pair.public, signature, DATA + b"!")


def test_what_openssl_signed_is_verified_here(pair: Pair, stranger: Pair, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    openssl("dgst", "-sha256", "-sign", pair.private, "-out", tmp_path / "signature", tmp_path / "data")
    signature, public = (tmp_path / "signature").read_bytes(), read_public(str(pair.public))
    assert public.fits(signature, DATA)
    assert not public.fits(signature, DATA + b"!")
    assert not public.fits(signature[:-1], DATA)
    assert not public.fits(b"", DATA)
    assert not read_public(str(stranger.public)).fits(signature, DATA)
    assert read_private(str(pair.private)).public.fits(signature, DATA)


@pytest.mark.parametrize("kind", ["SIGSTORE", "COSIGN"])
def test_a_key_of_cosign_is_opened_with_its_password(pair: Pair, tmp_path: Path, kind: str) -> None:
    file = sealed(pair, tmp_path, b"secret", kind)
    signature = read_private(str(file), {PASSWORD: "secret"}).sign(DATA)
    assert agrees(tmp_path, pair.public, signature)
    with pytest.raises(UsageError, match="cannot be opened: the password is wrong") as caught:
        read_private(str(file), {PASSWORD: "other"})
    assert "COSIGN_PASSWORD= holds the password" in caught.value.remedy
    with pytest.raises(UsageError, match="cannot be opened: it has a password"):
        read_private(str(file), {})


def test_a_key_of_cosign_without_a_password_needs_none(pair: Pair, tmp_path: Path) -> None:
    assert agrees(tmp_path, pair.public, read_private(str(sealed(pair, tmp_path, b"")), {}).sign(DATA))


def test_a_key_that_openssl_sealed_is_opened(pair: Pair, tmp_path: Path) -> None:
    file = tmp_path / "sealed.key"
    openssl("pkcs8", "-topk8", "-in", pair.private, "-passout", "pass:secret", "-out", file)
    assert agrees(tmp_path, pair.public, read_private(str(file), {PASSWORD: "secret"}).sign(DATA))
    for wrong in ({PASSWORD: "other"}, {}):
        with pytest.raises(UsageError, match="no private key that can be read") as caught:
            read_private(str(file), wrong)
        assert "COSIGN_PASSWORD=" in caught.value.remedy


def test_sealings_that_cosign_does_not_make_are_named(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sealed with argon2 and nacl/secretbox"):
        read_private(str(sealed(pair, tmp_path, b"x", kdf="argon2")), {PASSWORD: "x"})


def test_other_curves_and_kinds_are_refused(tmp_path: Path) -> None:
    other = make_pair(tmp_path, "P-384")
    with pytest.raises(UsageError, match="is not a key on the curve P-256"):
        read_private(str(other.private))
    with pytest.raises(UsageError, match="is not a key on the curve P-256"):
        read_public(str(other.public))
    openssl("genpkey", "-algorithm", "ED25519", "-out", tmp_path / "ed.key")
    with pytest.raises(UsageError, match="is not a key on the curve P-256"):
        read_private(str(tmp_path / "ed.key"))


def test_a_private_key_is_not_taken_for_a_public_one(pair: Pair) -> None:
    with pytest.raises(UsageError, match="is a private key") as caught:
        read_public(str(pair.private))
    assert "keep this one secret" in caught.value.remedy
    with pytest.raises(UsageError, match="no private key that can be read"):
        read_private(str(pair.public))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
                                     b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END"])
def test_files_without_a_key_are_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=f"SIGN_KEY={file}"):
        read_private(str(file))
    with pytest.raises(UsageError, match=f"VERIFY_KEY={file}"):
        read_public(str(file))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SIGN_KEY=.*none: No such file"):
        read_private(str(tmp_path / "none"))
    with pytest.raises(UsageError, match="VERIFY_KEY=.*: Is a directory"):
        read_public(str(tmp_path))
