"""Where a pass over a node stands, as a value that survives its worker: the cursor of the `scrubs` table.

phase    what is done                                                          then
census   a node that was taken in anew: what its listing lacks is missing       weigh
weigh    the bytes there are counted, which set the rate                        fresh
fresh    copies that were never verified are read, by copy id                   rest
rest     copies that were not verified since the pass began are read            names
names    the node is listed: old names without a row are orphans                idle: the pass has ended
idle     nothing, until the next pass may begin                                 weigh
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from common.model.scrubbing import Scrub
from workers.audit import pace

MISSING, DAMAGED, ORPHANS = "missing", "damaged", "orphans"


class Phase(StrEnum):
    CENSUS = "census"
    WEIGH = "weigh"
    FRESH = "fresh"
    REST = "rest"
    NAMES = "names"
    IDLE = "idle"


_AFTER = {
    Phase.CENSUS: Phase.WEIGH,
    Phase.WEIGH: Phase.FRESH,
    Phase.FRESH: Phase.REST,
    Phase.REST: Phase.NAMES,
}


@dataclass
class Pass:
    """`after`: copy id, or the group of the census; `name`: of the listing; `credit`: bytes that may be read; `stuck`:
    a copy whose node failed while it was read; `orphans`: those counted so far by the listing that goes on."""

    scrub: Scrub
    phase: Phase = Phase.IDLE
    after: int = 0
    name: str = ""
    credit: float = 0.0
    stuck: int = 0
    orphans: int = 0
    blobs: int = 0
    bytes: int = 0
    total: int = 0
    found: dict[str, int] = field(default_factory=dict)

    @classmethod
    def resumed(cls, scrub: Scrub) -> Pass:
        cursor: Mapping[str, Any] = scrub.cursor
        return cls(
            scrub,
            Phase(cursor.get("phase", Phase.IDLE)),
            int(cursor.get("after", 0)),
            str(cursor.get("name", "")),
            float(cursor.get("credit", 0.0)),
            int(cursor.get("stuck", 0)),
            int(cursor.get("orphans", 0)),
            scrub.blobs,
            scrub.bytes,
            scrub.total,
            dict(scrub.found),
        )

    def checkpoint(self) -> Scrub:
        cursor = {
            "phase": self.phase.value,
            "after": self.after,
            "name": self.name,
            "credit": self.credit,
            "stuck": self.stuck,
            "orphans": self.orphans,
        }
        return replace(
            self.scrub, cursor=cursor, blobs=self.blobs, bytes=self.bytes, total=self.total, found=dict(self.found)
        )

    def begin(self, now: float) -> None:
        """A new pass; what was not read in the time before it is no credit. Orphans are shown as the last listing
        counted them until the next one has ended."""
        self.scrub = replace(self.scrub, started_at=now)
        self._turn_to(Phase.WEIGH)
        self.blobs = self.bytes = self.total = 0
        self.credit = 0.0
        self.found = {MISSING: 0, DAMAGED: 0, ORPHANS: self.found.get(ORPHANS, 0)}

    def advance(self, now: float) -> None:
        """The phase is done."""
        if self.phase is Phase.NAMES:
            self.found[ORPHANS] = self.orphans
            self.scrub = replace(self.scrub, finished_at=now, passes=self.scrub.passes + 1)
            self._turn_to(Phase.IDLE)
        elif self.phase is Phase.CENSUS:
            self.begin(now)
        else:
            self._turn_to(_AFTER[self.phase])

    def accrue(self, now: float, period: float) -> None:
        since = self.scrub.updated_at or now  # nothing accrued for a node that was never scrubbed
        self.credit = pace.accrued(self.credit, self.rate(now, period), now - since)

    def rate(self, now: float, period: float) -> float:
        return pace.rate(self.total, self.bytes, period, now - (self.scrub.started_at or now))

    def due(self, now: float, period: float) -> bool:
        """Whether a run has something to do."""
        if self.phase is Phase.CENSUS:
            return True
        if self.phase is Phase.IDLE:
            return self.scrub.started_at is None or now >= pace.next_pass(self.scrub.started_at, period)
        return now >= self.scrub.updated_at + pace.pause(self.rate(now, period), period)

    def _turn_to(self, phase: Phase) -> None:
        self.phase, self.after, self.name, self.stuck, self.orphans = phase, 0, "", 0, 0
