"""Who holds a lease, which keys there are, who may come in: a contract.

The errors and the clock are those of `common.catalogue.base`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Leases(Protocol):
    def acquire(self, name: str, owner: str, seconds: float) -> bool:
        """Take or renew a named lease; False while another owner's is live."""

    def release(self, name: str, owner: str) -> None: ...


class Keks(Protocol):
    def ensure(self, kek_id: str) -> None:
        """Insert a key as `active` if it is not there; other active ones become `readable`."""

    def states(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Token:
    id: str
    name: str
    scopes: tuple[str, ...]
    buckets: tuple[str, ...] | None
    expires_at: float | None


class Tokens(Protocol):
    def find(self, digest: str) -> Token | None:
        """A live token by the SHA-256 (hex) of its secret."""

    def ensure(self, name: str, digest: str, scopes: Sequence[str]) -> None:
        """Insert or replace the token of that name."""
