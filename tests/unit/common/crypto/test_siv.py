"""AES-SIV as it is written here against the library's own."""

from __future__ import annotations

import os

import pytest
from Crypto.Cipher import AES
from pydantic import SecretBytes

from common.crypto.siv import TAG, Siv
from common.errors import IntegrityError

LENGTHS = (1, 15, 16, 17, 31, 32, 33, 48, 64, 100, 4096)


def by_the_library(key: bytes, plain: bytes, associated: bytes) -> bytes:
    cipher = AES.new(key, AES.MODE_SIV)
    cipher.update(associated)
    ciphertext, tag = cipher.encrypt_and_digest(plain)
    return tag + ciphertext


@pytest.mark.parametrize("size", [32, 48, 64])
def test_it_is_the_librarys_for_every_length_around_a_block(size: int) -> None:
    key = os.urandom(size)
    siv = Siv(SecretBytes(key))
    for length in (0, *LENGTHS):
        for associated_length in LENGTHS:
            plain, associated = os.urandom(length), os.urandom(associated_length)
            sealed = siv.seal(plain, associated)
            assert sealed == by_the_library(key, plain, associated), (length, associated_length)
            assert siv.unseal(sealed, associated) == plain


def test_every_bit_counts() -> None:
    siv = Siv(SecretBytes(os.urandom(64)))
    sealed = siv.seal(os.urandom(32), b"context")
    for bit in range(8 * len(sealed)):
        wrong = (int.from_bytes(sealed) ^ (1 << bit)).to_bytes(len(sealed))
        with pytest.raises(IntegrityError):
            siv.unseal(wrong, b"context")


def test_what_is_too_short_and_another_context_and_key_are_refused() -> None:
    siv = Siv(SecretBytes(os.urandom(64)))
    sealed = siv.seal(b"plain", b"context")
    for wrong, associated in ((sealed[: TAG - 1], b"context"), (sealed[:-1], b"context"), (sealed, b"contexts")):
        with pytest.raises(IntegrityError):
            siv.unseal(wrong, associated)
    with pytest.raises(IntegrityError):
        Siv(SecretBytes(os.urandom(64))).unseal(sealed, b"context")


@pytest.mark.parametrize("size", [0, 16, 33, 63, 65])
def test_keys_of_other_lengths_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32, 48 or 64"):
        Siv(SecretBytes(os.urandom(size)))


def test_a_key_does_not_print() -> None:
    key = os.urandom(64)
    shown = f"{Siv(SecretBytes(key))!r} {Siv(SecretBytes(key))}"
    assert "Siv object" in shown
    assert repr(key)[2:-1] not in shown
