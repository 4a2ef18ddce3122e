"""The state machine of copy rows, as a contract: workers and the sweep drive it, requests do not.

The errors and the clock are those of `common.catalogue.base`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.model.versions import StoredBlob
from common.model.work import Claim, CopyAction, Outcome, OutcomeEffect

DuePlace = tuple[float, int]
"""A place in the order of due rows: (next_attempt_at, copy id)."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Ids of the nodes that can be read now, and of those `away`: not readable, but their copies are waited for."""

    readable: Collection[str]
    away: Collection[str]


class Copies(Protocol):
    """The state machine of a copy row. Every change adds 1 to the row's fence; an outcome carries the fence of its
    claim."""

    def due(
        self,
        action: CopyAction,
        node_id: str,
        sources: Reach,
        enqueued_before: float,
        after: DuePlace | None = None,
        limit: int = 1000,
    ) -> tuple[Sequence[tuple[int, str, int]], DuePlace | None]:
        """(copy id, blob id, cipher length) of rows to enqueue for that node, oldest first, and where to go on.

        Due: right state, version current (doomed for deletes), next_attempt_at over, not dead, no live lease, not
        enqueued since `enqueued_before`. Parked, and passed over: `missing` rows without a stored or suspect copy that
        can be read, and `suspect` ones whose bytes were found wrong without another copy that can be read and was not;
        but only while a copy lies on a node that is away. With nobody to wait for, they are due, to become dead
        letters. `limit` rows are looked at, parked ones among them: the page may be empty before the end (None).
        """

    def stamp(self, copy_ids: Sequence[int], enqueued_at: float | None) -> None:
        """Write `enqueued_at` (no fence); None: they were not enqueued after all."""

    def claim(
        self, action: CopyAction, blob_ids: Sequence[str], nodes: Collection[str], owner: str, lease: float
    ) -> Sequence[Claim]:
        """Take the leases of the due rows of these blobs on `nodes`, counting an attempt; the rest is left alone."""

    def renew(self, claims: Sequence[Claim], owner: str, lease: float) -> Collection[tuple[int, int]]:
        """Prolong leases still held by `owner` under these claims' fences.

        (copy id, fence) of those that were; the others are over.
        """

    def end(self, outcomes: Sequence[Outcome]) -> OutcomeEffect:
        """Apply each end whose fence still holds; which did, and which versions became whole by it (on PostgreSQL not
        one whose last two copies end in two transactions at once)."""

    def expire_leases(self, limit: int = 1000) -> Sequence[Claim]:
        """Release rows whose lease ended without an end, counting a failure of kind `lapsed`; who decides ends them."""

    def suspect(self, blob_id: str, node_id: str, error: str) -> bool:
        """`stored → suspect` after a reader saw an absent or wrong copy; False if it was not `stored`."""

    def recall(self, action: CopyAction, blob_ids: Sequence[str], node_ids: Collection[str]) -> None:
        """Forget that these rows were enqueued: who got the message does not work with these nodes now."""

    def wanted(
        self, bucket_id: str | None, prefix: str, key: str | None, after: tuple[str, str, int] | None, limit: int
    ) -> Sequence[tuple[tuple[str, str, int], StoredBlob]]:
        """Blobs of current versions in a scope, in order of (bucket id, key, number): pages of a repair or scrub."""

    def unassigned(self, after: int = 0, limit: int = 300) -> Sequence[tuple[int, int, str, str, Sequence[str]]]:
        """Rows without a node: (copy id, fence, version id, blob id, node ids already having a row of that blob).

        By copy id, those beyond `after`: rows that no node can take must not hide the others.
        """

    def assign(self, copy_id: int, fence: int, node_id: str) -> bool: ...

    def wake(self, node_id: str, after: int, letters: bool, limit: int = 1000) -> int | None:
        """A node came up: waiting rows of every blob with a copy on it are due now, with `letters` also dead ones.

        In pages by copy id (`after` 0 first); the next `after`, None at the end.
        """

    def newest(self) -> int:
        """The highest id of a copy row so far."""

    def owed(self, node_id: str, upto: int) -> bool:
        """Whether a row up to that id is missing or suspect on the node, of a current version, and not dead."""

    def queue_repair(self, blob_id: str, node_ids: Collection[str]) -> Sequence[int]:
        """A repair found these copies absent or wrong: `stored → suspect`, and suspect or missing ones due now."""
