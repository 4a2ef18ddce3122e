"""Buckets, as a contract.

The errors and the clock are those of `common.catalogue.base`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.model.versions import Bucket


@dataclass(frozen=True, slots=True)
class Totals:
    objects: int
    bytes: int


class Buckets(Protocol):
    def put(self, name: str, copies: int | None, write_copies: int | None) -> tuple[Bucket, bool]:
        """Create (True) or change the settings (False); None keeps, or takes the default of a new one.

        NotAllowed where write_copies would exceed copies.
        """

    def get(self, name: str) -> Bucket:
        """NoSuchBucket."""

    def all(self) -> Sequence[Bucket]: ...

    def totals(self, bucket_id: str) -> Totals:
        """Of current objects. Exact; costs the same at any size."""

    def delete(self, name: str) -> None:
        """Free the name; uploads in progress into it are doomed. Conflict unless it has no current object."""
