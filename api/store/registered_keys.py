"""Keys whose ids the catalogue knows: a version's row refers to its key's row, so that one has to be there first."""

from __future__ import annotations

from common.catalogue.access import Keks
from common.crypto.keyring import KeyProvider


class RegisteredKeys(KeyProvider):
    """A KeyProvider that enters a key into the catalogue the first time this process writes with it."""

    def __init__(self, keys: KeyProvider, keks: Keks) -> None:
        self._keys = keys
        self._keks = keks
        self._entered: str | None = None

    def active(self) -> str:
        """CatalogueUnavailable too, once for each new key."""
        kek_id = self._keys.active()
        if kek_id != self._entered:
            self._keks.ensure(kek_id)
            self._entered = kek_id
        return kek_id

    def wrap(self, kek_id: str, dek: bytes, context: bytes) -> bytes:
        return self._keys.wrap(kek_id, dek, context)

    def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytes:
        return self._keys.unwrap(kek_id, wrapped, context)
