"""Names on nodes that no row wants, or that were given up, as a contract.

The errors and the clock are those of `common.catalogue.base`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from common.model.names import BlobName
from common.model.scrubbing import LockedName, NameStanding


class Orphans(Protocol):
    """Names on a node that no row wants there. See `workers/audit/reclaim.py` for the sequence."""

    def sort(self, node_id: str, names: Sequence[BlobName]) -> Mapping[BlobName, NameStanding]:
        """What each of up to 1,000 names on that node is."""

    def bury(self, blob_ids: Collection[str]) -> Collection[str]:
        """Insert tombstones; the ids that have one now. The others became some version's blobs meanwhile."""

    def doom(self, node_id: str, names: Sequence[BlobName]) -> int:
        """Insert `doomed` rows for those that are strays still; how many."""

    def unbury(self, age: float, limit: int = 300) -> int:
        """Drop tombstones older than `age` seconds; how many."""


class LockedNames(Protocol):
    """Names that were given up because their node fails at them whatever is asked. `Copies.end` notes them."""

    def counts(self) -> Mapping[str, int]:
        """How many there are, by node id; nodes without one lack."""

    def of(self, node_id: str, limit: int = 1000, unused: bool = False) -> Sequence[LockedName]:
        """Those of a node, oldest first; `unused`: without names that a row of a copy has come back to."""

    def forget(self, node_id: str, names: Collection[BlobName]) -> None:
        """They are gone from the node."""
