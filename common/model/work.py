"""Work on copies as values: claims of copy rows, their outcomes, and what an operator sees of them.

Pure. Times are seconds since the epoch, UTC (float).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from common.model.copies import CopyState, Placed
from common.model.names import blob_name
from common.model.versions import Blob


class CopyAction(StrEnum):
    """Which rows a worker claims: `missing` ones, `suspect` ones, `doomed` ones. Also the names of the queues."""

    REPLICATE = "replicate"
    VERIFY = "repair"
    DELETE = "delete"

    @property
    def state(self) -> CopyState:
        return _ACTION_STATE[self]

    @classmethod
    def on(cls, state: CopyState) -> CopyAction:
        """What makes a row in this state true; a `stored` one is."""
        return next(action for action, claimed in _ACTION_STATE.items() if claimed is state)


_ACTION_STATE = {
    CopyAction.REPLICATE: CopyState.MISSING,
    CopyAction.VERIFY: CopyState.SUSPECT,
    CopyAction.DELETE: CopyState.DOOMED,
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A copy row a worker holds the lease of. `failures` counts failed attempts by kind of error."""

    copy_id: int
    fence: int
    node_id: str
    state: CopyState
    blob: Blob
    others: Sequence[Placed]
    attempts: int
    failures: Mapping[str, int]
    first_error: str | None
    alias: str | None = None

    @property
    def name(self) -> str:
        """Where the copy lies on its node, or is to lie."""
        return blob_name(self.blob.id, self.alias)


@dataclass(frozen=True, slots=True)
class Locked:
    """A name at which a node fails whatever is asked of it, while it serves others. `alias`: None if it is the plain
    one; `error`: what the node said last."""

    alias: str | None
    error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How work on a claimed row ended. The catalogue applies it only while the row still has `fence`.

    state: the new state, or None for `row deleted` (a doomed copy its node confirmed gone). verified: the bytes were
    read whole and right. error/kind: what went wrong; with them `failures` (new counts), `next_attempt_at`, and
    `dead` when the attempts are exhausted. released: put back without an attempt. locked: the copy's name was given up,
    and is remembered; a stored copy lies under `alias` now.
    """

    copy_id: int
    fence: int
    state: CopyState | None
    verified: bool = False
    error: str | None = None
    kind: str | None = None
    failures: Mapping[str, int] | None = None
    next_attempt_at: float = 0.0
    dead: bool = False
    released: bool = False
    locked: Locked | None = None
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class OutcomeEffect:
    """What these outcomes changed: the copies whose fence still held, and the age in seconds of each version that
    became whole.

    A version becomes whole once, when the last of its copies is there for the first time; what is repaired or moved
    later is not counted, nor are versions of more than a thousand blobs.
    """

    copy_ids: frozenset[int]
    whole_after: Sequence[float]


@dataclass(frozen=True, slots=True)
class CopyDetail:
    """A copy row as `…/copies` shows it."""

    copy_id: int
    blob: Blob
    node_id: str | None
    state: CopyState
    attempts: int
    next_attempt_at: float | None
    stored_at: float | None
    verified_at: float | None
    last_error: str | None
    dead_at: float | None
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    error: str
    kind: str
    at: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A copy row whose attempts are exhausted. `bucket` None: it was deleted; `node`: its name."""

    copy_id: int
    bucket: str | None
    key: str
    blob_number: int
    blob_id: str
    node: str | None
    state: CopyState
    attempts: int
    dead_at: float
    first: Failure | None
    last: Failure | None
    alias: str | None = None
