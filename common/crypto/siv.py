"""AES-SIV (RFC 5297) with one string of associated data: how keys are wrapped. Pure, deterministic, needs no nonce.

Written over PyCryptodome's AES instead of its MODE_SIV, which prepares eight ciphers for each call: what depends on the
key alone (the subkeys of CMAC, and S2V's first value) is computed once here.
"""

from __future__ import annotations

from hmac import compare_digest

from Crypto.Cipher import AES
from pydantic import SecretBytes

from common.errors import IntegrityError

TAG = 16
_ZERO = bytes(16)
_MASK = 0xFFFFFFFF_FFFFFFFF_7FFFFFFF_7FFFFFFF  # two bits of the IV that the counter does not take (RFC 5297, 2.5)


class Siv:
    """One key: 32, 48 or 64 bytes, half of it for the IV, half for the ciphertext. Never printed. Safe across threads.

    Production uses 64. ValueError for other lengths.
    """

    __slots__ = ("_counter_key", "_first", "_last_padded", "_last_whole", "_mac_key")

    def __init__(self, key: SecretBytes) -> None:
        secret = key.get_secret_value()
        if len(secret) not in (32, 48, 64):
            raise ValueError("AES-SIV takes a key of 32, 48 or 64 bytes")
        half = len(secret) // 2
        self._mac_key, self._counter_key = secret[:half], secret[half:]
        self._last_whole = _doubled(_number(AES.new(self._mac_key, AES.MODE_ECB).encrypt(_ZERO)))
        self._last_padded = _doubled(self._last_whole)
        self._first = _doubled(self._cmac(_ZERO))

    def seal(self, plain: bytes, associated: bytes) -> bytes:
        """The synthetic IV (16 bytes) and the ciphertext."""
        iv = self._iv(plain, associated)
        return iv + self._counted(iv, plain)

    def unseal(self, sealed: bytes, associated: bytes) -> bytes:
        """What `seal` was given; IntegrityError if key, bytes or associated data differ."""
        if len(sealed) < TAG:
            raise IntegrityError("the wrapped key is too short")
        iv = sealed[:TAG]
        plain = self._counted(iv, sealed[TAG:])
        if not compare_digest(self._iv(plain, associated), iv):
            raise IntegrityError("the wrapped key does not belong to this key or this context")
        return plain

    def _iv(self, plain: bytes, associated: bytes) -> bytes:
        """S2V of the associated data and the plaintext (2.4)."""
        mixed = self._first ^ self._cmac(associated)
        if len(plain) >= 16:
            last = plain[:-16] + (_number(plain[-16:]) ^ mixed).to_bytes(16)
        else:
            last = (_number(_padded(plain)) ^ _doubled(mixed)).to_bytes(16)
        return self._cmac(last).to_bytes(16)

    def _cmac(self, message: bytes) -> int:
        """RFC 4493: the last block of CBC over the message, its last block mixed with a subkey."""
        whole = len(message) % 16 == 0 and message
        blocks, subkey = (message, self._last_whole) if whole else (_padded(message), self._last_padded)
        last = (_number(blocks[-16:]) ^ subkey).to_bytes(16)
        return _number(AES.new(self._mac_key, AES.MODE_CBC, _ZERO).encrypt(blocks[:-16] + last)[-16:])

    def _counted(self, iv: bytes, text: bytes) -> bytes:
        """Counter mode, the same in both directions."""
        start = _number(iv) & _MASK
        return AES.new(self._counter_key, AES.MODE_CTR, nonce=b"", initial_value=start).encrypt(text)


def seal(key: SecretBytes, plain: bytes, associated: bytes) -> bytes:
    """`Siv.seal` with a key that is used once."""
    return Siv(key).seal(plain, associated)


def unseal(key: SecretBytes, sealed: bytes, associated: bytes) -> bytes:
    """`Siv.unseal` with a key that is used once."""
    return Siv(key).unseal(sealed, associated)


def _number(block: bytes) -> int:
    return int.from_bytes(block)


def _doubled(block: int) -> int:
    """Times x in GF(2^128), without a branch on the bit that falls out."""
    return (block << 1) ^ (block >> 127) * (1 << 128 | 0x87)


def _padded(message: bytes) -> bytes:
    """A one bit, and zeros up to a whole block."""
    return message + b"\x80" + bytes(-(len(message) + 1) % 16)
