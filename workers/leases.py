"""The leases this process holds, on copies and on jobs, renewed by one thread.

Time left is counted on this process's own monotonic clock from before the claim, so it never says more than the
catalogue does; a process that was stopped finds its leases over when it goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from threading import Event, Lock, Thread

import structlog

from common.catalogue.base import Leases
from common.catalogue.healing import Copies
from common.errors import CatalogueUnavailable
from common.work import Claim

LOG = structlog.get_logger(__name__)
_PAGE = 500


class HeldLeases:
    """Safe across threads. `start` before claiming, `stop` at the end of the process."""

    def __init__(self, copies: Copies, leases: Leases, owner: str, seconds: float) -> None:
        self.owner = owner
        self.seconds = seconds
        self._copies = copies
        self._leases = leases
        self._lock = Lock()
        self._until: dict[tuple[int, int], tuple[Claim, float]] = {}
        self._names: dict[str, float] = {}
        self._stopped = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._run, name="leases", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(5)

    # -- copies

    def hold(self, claims: Iterable[Claim], claimed_at: float) -> None:
        """Renew these from now on. `claimed_at`: the monotonic clock from before the claim."""
        with self._lock:
            for claim in claims:
                self._until[claim.copy_id, claim.fence] = claim, claimed_at + self.seconds

    def drop(self, claims: Iterable[Claim]) -> None:
        """No longer renewed: ended, or left to the sweep."""
        with self._lock:
            for claim in claims:
                self._until.pop((claim.copy_id, claim.fence), None)

    def left(self, claim: Claim) -> float:
        """Seconds for which the lease surely holds; 0 when it may be over."""
        with self._lock:
            _, until = self._until.get((claim.copy_id, claim.fence), (claim, 0.0))
        return max(0.0, until - time.monotonic())

    # -- jobs

    def take(self, name: str) -> bool:
        """Acquire a named lease and keep it renewed; False while another process has it."""
        before = time.monotonic()
        with self._lock:
            if name in self._names:
                return False
        if not self._leases.acquire(name, self.owner, self.seconds):
            return False
        with self._lock:
            if name in self._names:
                return False  # another thread of this process was quicker: the owner is the same, the work is not
            self._names[name] = before + self.seconds
        return True

    def has(self, name: str) -> bool:
        with self._lock:
            return self._names.get(name, 0.0) > time.monotonic()

    def give(self, name: str) -> None:
        with self._lock:
            self._names.pop(name, None)
        self._leases.release(name, self.owner)

    # -- the thread

    def _run(self) -> None:
        while not self._stopped.wait(self.seconds / 3):
            try:
                self.renew()
            except CatalogueUnavailable as error:
                LOG.warning("leases_not_renewed", detail=error.detail)
            except Exception:  # the edge of a thread that has to live as long as the process
                LOG.exception("leases_unexpected")

    def renew(self) -> None:
        """Prolong what still holds; what is over stays over."""
        now = time.monotonic()
        with self._lock:
            held = [claim for claim, until in self._until.values() if until > now]
            names = [name for name, until in self._names.items() if until > now]
        for start in range(0, len(held), _PAGE):
            self._renew_copies(held[start : start + _PAGE])
        for name in names:
            before = time.monotonic()
            if self._leases.acquire(name, self.owner, self.seconds):
                with self._lock:
                    if name in self._names:
                        self._names[name] = before + self.seconds

    def _renew_copies(self, claims: Sequence[Claim]) -> None:
        before = time.monotonic()
        self._copies.renew(claims, self.owner, self.seconds)
        with self._lock:
            for claim in claims:
                key = claim.copy_id, claim.fence
                if key in self._until:
                    self._until[key] = claim, before + self.seconds
