"""What scrub and reclaim know of a node, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from common.model.copies import CopyState
from common.model.names import BlobName
from common.model.versions import Blob


def scrub_lease(node_id: str) -> str:
    """The name of the lease under which a node is scrubbed: one worker at a time."""
    return f"scrub:{node_id}"


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What the last reclaim of a node's orphans came to.

    at: when it ended; of one that stopped: since when they do. generation: the catalogue's, whose rows were trusted.
    orphans: names without a row that were old enough. stopped: why nothing was removed. held: why nothing may be
    removed until a job says `force`.
    """

    at: float | None = None
    generation: str | None = None
    orphans: int = 0
    stopped: str | None = None
    held: str | None = None


@dataclass(frozen=True, slots=True)
class Scrub:
    """A node's scrub. `cursor` is where the next run goes on, a JSON value that `workers.audit.passes` alone reads.

    blobs, bytes, found: of the pass that runs, or of the last one when none does; `total` the bytes it has to read in
    all, 0 while that is not known. `found` counts copies `missing` and `damaged`, and names that are `orphans`.
    """

    node_id: str
    cursor: Mapping[str, object] = field(default_factory=dict)
    started_at: float | None = None
    finished_at: float | None = None
    passes: int = 0
    blobs: int = 0
    bytes: int = 0
    found: Mapping[str, int] = field(default_factory=dict)
    total: int = 0
    updated_at: float = 0.0
    reclaimed: Reclaimed = Reclaimed()

    @property
    def running(self) -> bool:
        return self.started_at is not None and (self.finished_at is None or self.finished_at < self.started_at)

    @property
    def coverage(self) -> float:
        """Share of the node's bytes that the present pass has read; 1 when none runs and there was one."""
        if not self.running:
            return 1.0 if self.finished_at is not None else 0.0
        return min(1.0, self.bytes / self.total) if self.total else 0.0


@dataclass(frozen=True, slots=True)
class StoredCopy:
    """A copy row to be read: `verified` counts only while the row has this fence."""

    copy_id: int
    fence: int
    node_id: str
    state: CopyState
    blob: Blob
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class ScopePage:
    """Blobs of a scope in order of (bucket id, key, number), each with its copies on nodes; `last`: its position."""

    copies: Sequence[Sequence[StoredCopy]]
    last: tuple[str, str, int] | None


class NameStanding(StrEnum):
    """What the catalogue says about a name that lies on a node.

    known: a row wants it here. orphan: no version has that blob, or only a tombstone does. stray: a version has it, but
    not here, and it may go. kept: likewise, and it may not go: an upload in progress, or copies that are still to be
    made. leftover: a row wants the blob here, under another name.
    """

    KNOWN = "known"
    ORPHAN = "orphan"
    STRAY = "stray"
    KEPT = "kept"
    LEFTOVER = "leftover"


@dataclass(frozen=True, slots=True)
class LockedName:
    """A name on a node that was given up because the node fails at it whatever is asked (see
    `common.model.work.Locked`)."""

    node_id: str
    name: BlobName
    since: float
    error: str
