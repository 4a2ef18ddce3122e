"""The catalogue's transactions that make nodes agree with the rows: whoever heals calls these, requests do not.

The errors and the clock are those of `common.catalogue.base`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.moves import BlobCopies, Relocation
from common.objects import BlobName, StoredBlob
from common.scrubbing import LockedName, NameStanding, Reclaimed, ScopePage, Scrub, StoredCopy
from common.work import Claim, CopyAction, DeadLetter, Outcome, OutcomeEffect

DuePlace = tuple[float, int]
"""A place in the order of due rows: (next_attempt_at, copy id)."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Ids of the nodes that can be read now, and of those `away`: not readable, but their copies are waited for."""

    readable: Collection[str]
    away: Collection[str]


class Copies(Protocol):
    """The state machine of design 5. Every change adds 1 to the row's fence; an outcome carries the fence of its
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


class DeadLetters(Protocol):
    """Copy rows whose attempts are exhausted, until somebody acknowledged them. Oldest first."""

    def page(self, after: tuple[float, int] | None, limit: int = 100) -> Sequence[DeadLetter]:
        """Those behind (dead_at, copy id), which the last one of the page before has."""

    def retry(self, copy_id: int) -> tuple[CopyAction, str]:
        """Due now with no failure counted, and taken for enqueued: (action, blob id). NoSuchDeadLetter."""

    def retry_all(self, dead_until: float, limit: int = 1000) -> Sequence[tuple[CopyAction, str]] | None:
        """The same for a page of all that are not acknowledged and died by then; None when none is left."""

    def acknowledge(self, copy_id: int) -> None:
        """Off the list and the counts; the copy stays wanted, and dead. NoSuchDeadLetter if it is not on the list."""


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


class Scrubs(Protocol):
    """How far each node was read, and what there is to read. See `workers/scrub.py`."""

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


class Orphans(Protocol):
    """Names on a node that no row wants there. See `workers/reclaim.py` for the sequence."""

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
