"""How far each node was read, as a contract.

The errors and the clock are those of `common.catalogue.base`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from common.model.names import BlobName
from common.model.scrubbing import Reclaimed, ScopePage, Scrub, StoredCopy


class Scrubs(Protocol):
    """How far each node was read, and what there is to read. See `workers/audit/scrub.py`."""

    def all(self) -> Mapping[str, Scrub]:
        """By node id: pass times, bytes read, what was found, and what reclaim came to. Nodes never scrubbed lack."""

    def get(self, node_id: str) -> Scrub:
        """One of them; a blank one if it was never scrubbed."""

    def save(self, scrub: Scrub, holder: str) -> bool:
        """Checkpoint (`reclaimed` stays as it is); False unless `holder` has the lease `scrub_lease(node)`."""

    def reclaimed(self, node_id: str, result: Reclaimed, lifts: bool) -> None:
        """Note what a reclaim came to; a hold stays, also one that came meanwhile, unless this one `lifts` it."""

    def unread(
        self, node_id: str, before: float | None, after: int, limit: int = 100
    ) -> tuple[Sequence[StoredCopy], int | None]:
        """Stored copies of current versions there, never verified (`before` None) or not since `before`, by copy id.

        Looks at a bounded stretch of ids behind `after`, so a page may be empty; the next `after`, None at the end.
        """

    def weigh(self, node_id: str, after: int) -> tuple[int, int, int | None]:
        """Stored copies and bytes there in a stretch of ids behind `after`; the next `after`, None at the end."""

    def verified(self, read: Sequence[tuple[int, int]], at: float) -> int:
        """(copy id, fence) of up to 1,000 copies that were read whole and right, beginning at `at`; how many still had
        their fence."""

    def scope(
        self, bucket_id: str | None, prefix: str, key: str | None, after: tuple[str, str, int] | None, limit: int
    ) -> ScopePage:
        """As `Copies.wanted`, with what `verified` needs."""

    def absent(
        self, node_id: str, digit: str, present: Collection[BlobName], after: int, limit: int = 1000
    ) -> tuple[int, int | None]:
        """Suspect copies there that a listing did not show are `missing` and due; those a worker holds are left.

        Of blobs whose last digit but one is `digit`, in pages by copy id; how many, and the next `after`.
        """
