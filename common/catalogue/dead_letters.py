"""Copies whose attempts are exhausted, as a contract.

The errors and the clock are those of `common.catalogue.base`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from common.model.work import CopyAction, DeadLetter


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
