"""Moving copies between nodes, as a contract.

The errors and the clock are those of `common.catalogue.base`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from common.model.relocation import BlobCopies, Relocation


class Relocations(Protocol):
    """Where copies lie, and how that changes. Only blobs of current versions are seen and changed here."""

    def examine(
        self, node_id: str, after: int, limit: int = 500, missing: bool = False
    ) -> tuple[Sequence[BlobCopies], int | None]:
        """Blobs with a copy row on this node (only a `missing` one?), with all their rows: a page by that row's id.

        `after`: 0 first, then what the call before returned; None at the end. A page may be empty before the end.
        """

    def uneven(self, after: str, limit: int = 1000) -> tuple[Sequence[BlobCopies], str | None]:
        """Of the next `limit` blobs of the catalogue by id, those with more or fewer rows than wanted; the next `after`
        ("" first), None at the end."""

    def of(self, blob_ids: Sequence[str]) -> Sequence[BlobCopies]:
        """These blobs by id, without those whose version is not current."""

    def apply(self, moves: Sequence[Relocation]) -> Collection[str]:
        """The blob ids of the moves that were made, each wholly; the others are for a later look.

        A move is made only while its version is current, the blob has exactly the rows it was decided on, with the
        same fences, and every node that is to get a row is active. Up to 100 moves at a time.
        """

    def verified(self, rows: Sequence[tuple[int, int]], at: float) -> None:
        """These copies (id, fence) were read whole and right, beginning at `at`. Nothing for rows that changed."""

    def clear(self, node_id: str, limit: int = 1000) -> int:
        """Delete the doomed rows on a retired node, whatever their versions: nobody will ask it; how many."""

    def remove(self, node_id: str) -> bool:
        """Delete a retired node on which no row is left. False while there is one, or it is not retired."""
