"""AES-SIV (RFC 5297) with one string of associated data: how keys are wrapped. Pure, deterministic, needs no nonce."""

from __future__ import annotations

from Crypto.Cipher import AES
from pydantic import SecretBytes

from common.errors import IntegrityError

TAG = 16


def seal(key: SecretBytes, plain: bytes, associated: bytes) -> bytes:
    """The synthetic IV (16 bytes) and the ciphertext. The key has 32, 48 or 64 bytes; production uses 64."""
    cipher = AES.new(key.get_secret_value(), AES.MODE_SIV)
    cipher.update(associated)
    ciphertext, tag = cipher.encrypt_and_digest(plain)
    return tag + ciphertext


def unseal(key: SecretBytes, sealed: bytes, associated: bytes) -> bytes:
    """What `seal` was given; IntegrityError if key, bytes or associated data differ."""
    if len(sealed) < TAG:
        raise IntegrityError("the wrapped key is too short")
    cipher = AES.new(key.get_secret_value(), AES.MODE_SIV)
    cipher.update(associated)
    try:
        return cipher.decrypt_and_verify(sealed[TAG:], sealed[:TAG])
    except ValueError:
        raise IntegrityError("the wrapped key does not belong to this key or this context") from None
