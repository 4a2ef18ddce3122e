"""Counts over the whole catalogue.

The errors and the clock are those of `common.catalogue.base`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from common.model.actors import Actor, LastEnd


@dataclass(frozen=True, slots=True)
class StatusCounts:
    """objects: how many in each shown state. oldest_unprotected: age in seconds of the oldest one not protected.
    dead_letters: those nobody acknowledged; dead_since: when the oldest of them became one. counted_at: when the
    objects were counted; the rest is of now.
    """

    objects: Mapping[str, int]
    copies_missing: int
    copies_suspect: int
    copies_doomed: int
    oldest_unprotected: float | None
    dead_letters: int
    dead_since: float | None
    jobs_open: int
    counted_at: float


class LastEnds(Protocol):
    """Of those without whom the store does not heal (`common.model.actors`)."""

    def all(self) -> Mapping[Actor, LastEnd]:
        """Of every actor."""

    def ended(self, actor: Actor) -> None:
        """It came to an end just now, and is not waited for until somebody says so again."""

    def wait_for(self, actors: Mapping[Actor, bool]) -> None:
        """Whether each has something to do: since now if it had not yet, or not any more."""
