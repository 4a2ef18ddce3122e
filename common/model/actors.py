"""Those without whom the store does not heal, and when each last did what it is there for. Pure, like
`common.model.versions`.

Whether one stands still is told by the catalogue's clock alone, from what each wrote at its end and what the sweep
wrote down as waited for: a process that hangs or was never started cannot say so itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Actor(StrEnum):
    """sweep: a pass came to its end. health: the shared verdict of the nodes was written. scrub, reclaim: a run over
    some node ended. copies: some copy became good."""

    SWEEP = "sweep"
    HEALTH = "health"
    SCRUB = "scrub"
    RECLAIM = "reclaim"
    COPIES = "copies"


ALWAYS_AWAITED = (Actor.SWEEP, Actor.HEALTH)


@dataclass(frozen=True, slots=True)
class LastEnd:
    """ended_at: of the last one, None if there was none yet. awaited_since: since when there is something to do."""

    ended_at: float | None = None
    awaited_since: float | None = None

    def late(self, actor: Actor, now: float) -> float:
        """For how many seconds it has been waited for in vain; 0 while it is not."""
        if self.awaited_since is None and actor not in ALWAYS_AWAITED:
            return 0.0
        began = max(self.ended_at or 0.0, self.awaited_since or 0.0)
        return max(0.0, now - began) if began else 0.0
