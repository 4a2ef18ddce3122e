"""Keys in memory."""

from __future__ import annotations

from time import time

from common.crypto.keyring import Kek, KeyProvider, new_kek
from common.errors import KeysUnavailable


class MemoryKeys(KeyProvider):
    """`away`: the keyring cannot be used."""

    def __init__(self) -> None:
        self.keks: dict[str, Kek] = {}
        self.away = False
        self._active = self.rotate()

    def rotate(self) -> str:
        kek = new_kek(time())
        self.keks[kek.id] = kek
        self._active = kek.id
        return kek.id

    def active(self) -> str:
        self._check()
        return self._active

    def wrap(self, kek_id: str, dek: bytes, context: bytes) -> bytes:
        self._check()
        return self.keks[kek_id].wrap(dek, context)

    def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytes:
        self._check()
        return self.keks[kek_id].unwrap(wrapped, context)

    def _check(self) -> None:
        if self.away:
            raise KeysUnavailable("there is no usable key")
