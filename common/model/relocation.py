"""Where a blob's copies lie, and how that is to change: as values, between the catalogue and who decides.

Pure. Times are seconds since the epoch, UTC (float).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from common.model.copies import CopyState
from common.model.nodes import NodeMode
from common.model.versions import Blob


@dataclass(frozen=True, slots=True)
class CopyRow:
    """A copy row. `node_id` None: wanted, and no node can hold it yet."""

    id: int
    fence: int
    node_id: str | None
    state: CopyState
    stored_at: float | None
    verified_at: float | None
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class BlobCopies:
    """A blob of a current version with *all* its copy rows, doomed ones too, by id."""

    blob: Blob
    version_id: str
    wanted: int
    rows: Sequence[CopyRow]


@dataclass(frozen=True, slots=True)
class Relocation:
    """Changes to the rows of one blob, decided on exactly the rows of `copies`.

    add: nodes that get a `missing` row (None: a row without a node). doom: ids of rows whose copies must go from their
    nodes. delete: ids of rows that vanish at once: no node is to be asked. modes: those of the nodes of all these rows,
    as the decision saw them: what counted then may be given up by now.
    """

    copies: BlobCopies
    add: Sequence[str | None] = ()
    doom: Sequence[int] = ()
    delete: Sequence[int] = ()
    modes: Mapping[str, NodeMode] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.add or self.doom or self.delete)
