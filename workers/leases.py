"""The leases this process holds, on copies and on names (jobs, scrubs), renewed by one thread.

Time left is counted on this process's own monotonic clock from before the claim, so it never says more than the
catalogue does; a process that was stopped finds its leases over when it goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Event, Lock, Thread

import structlog

from common.catalogue.access import Leases
from common.catalogue.copies import Copies
from common.errors import CatalogueUnavailable
from common.model.names import new_id
from common.model.work import Claim

LOG = structlog.get_logger(__name__)
_PAGE = 500


@dataclass(frozen=True, slots=True)
class _Named:
    owner: str
    until: float


class HeldLeases:
    """Safe across threads. `start` before claiming, `stop` at the end of the process."""

    def __init__(self, copies: Copies, leases: Leases, owner: str, seconds: float) -> None:
        self.owner = owner
        self.seconds = seconds
        self._copies = copies
        self._leases = leases
        self._lock = Lock()
        self._until: dict[tuple[int, int], tuple[Claim, float]] = {}
        self._names: dict[str, _Named] = {}
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

    # -- named ones

    def take(self, name: str) -> bool:
        """Acquire a named lease and keep it renewed; False while anybody else has it, a thread of this process too."""
        with self._lock:
            if name in self._names:
                return False
        # An owner of its own for each turn: what one thread gives back late is never what another has just taken.
        owner, before = new_id(), time.monotonic()
        if not self._leases.acquire(name, owner, self.seconds):
            return False
        with self._lock:
            self._names[name] = _Named(owner, before + self.seconds)
        return True

    def has(self, name: str) -> bool:
        with self._lock:
            held = self._names.get(name)
        return held is not None and held.until > time.monotonic()

    def holder(self, name: str) -> str:
        """As whom the lease is held: what a transaction compares that must not be late. Empty if it is not held."""
        with self._lock:
            held = self._names.get(name)
        return held.owner if held is not None else ""

    def give(self, name: str) -> None:
        """By who took it."""
        with self._lock:
            held = self._names.pop(name, None)
        if held is not None:
            self._leases.release(name, held.owner)

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
            names = [(name, named.owner) for name, named in self._names.items() if named.until > now]
        for start in range(0, len(held), _PAGE):
            self._renew_copies(held[start : start + _PAGE])
        for name, owner in names:
            self._renew_name(name, owner)

    def _renew_name(self, name: str, owner: str) -> None:
        before = time.monotonic()
        if not self._leases.acquire(name, owner, self.seconds):
            return
        with self._lock:
            held = self._names.get(name)
            if held is not None and held.owner == owner:
                self._names[name] = _Named(owner, before + self.seconds)
                return
        self._leases.release(name, owner)  # given back meanwhile, and taken again by this renewal

    def _renew_copies(self, claims: Sequence[Claim]) -> None:
        before = time.monotonic()
        renewed = self._copies.renew(claims, self.owner, self.seconds)
        self.drop(claim for claim in claims if (claim.copy_id, claim.fence) not in renewed)
        with self._lock:
            for claim in claims:
                key = claim.copy_id, claim.fence
                if key in self._until:
                    self._until[key] = claim, before + self.seconds
