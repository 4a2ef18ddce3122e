"""What probes and traffic say about a node: a small state machine, and the identity blob it is fed from. Pure.

    up ──1 failure──► suspect ──3 failures, the last a probe's──► down
    suspect, down ──2 successes in a row, more after falls──► up
    any ──2 wrong identities in a row──► foreign ──2 right ones in a row──► up

Successes needed double with each earlier fall (to down) of the last 10 minutes, up to 5, so that a flapping node is
not trusted at once. If all nodes that are not down begin to fail within a second they stay suspect: it is the process
that cannot be trusted. Times are those of an injected monotonic clock.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from common.objects import NodeHealth

DOWN_AFTER = 3
UP_AFTER = 2
UP_AFTER_MAX = 5
FALLS_COUNT_FOR = 600.0
WRONG_AFTER = 2
TRAFFIC_EVERY = 1.0
TOGETHER = 1.0
IDENTITY_MAX = 4096


@dataclass(frozen=True, slots=True)
class Identity:
    """What a node's identity blob says: it is this node of this cluster, under this generation of the catalogue."""

    cluster: str
    node: str
    generation: str
    epoch: int

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @staticmethod
    def decode(data: bytes) -> Identity | None:
        """None if the bytes are no identity."""
        try:
            value = json.loads(data)
            found = Identity(str(value["cluster"]), str(value["node"]), str(value["generation"]), int(value["epoch"]))
        except (ValueError, KeyError, TypeError):
            return None
        return found

    def objection(self, seen: Identity | None) -> str | None:
        """Why what was seen is not this node; None if it is. A newer epoch than ours is right."""
        if seen is None:
            return "its identity is absent"
        if (seen.cluster, seen.node) != (self.cluster, self.node):
            return "it has the identity of another node"
        if seen.generation != self.generation:
            return "its identity is of another generation of the catalogue"
        return "its identity is older than the catalogue's" if seen.epoch < self.epoch else None


class Verdict:
    """One node's health. `first`: what is believed before the first probe, whose success counts at once.

    `failing_since`: start of the first of the probes that now fail without a success between them.
    """

    def __init__(self, first: NodeHealth) -> None:
        self.health = first
        self.failing_since: float | None = None
        self._probed = False
        self._failures = 0
        self._successes = 0
        self._wrong = 0
        self._falls: deque[float] = deque()
        self._traffic_at = -TRAFFIC_EVERY

    def probe_right(self, now: float) -> None:
        """The node showed the right identity."""
        first = not self._probed and self.health is not NodeHealth.FOREIGN
        self._probed = True
        self.failing_since, self._wrong = None, 0
        self._succeed(now, first)

    def probe_failed(self, started: float, now: float) -> None:
        """The node refused, broke off, or did not answer in time."""
        self._probed = True
        self._wrong = 0
        if self.failing_since is None:
            self.failing_since = started
        self._fail()

    def fall(self, now: float) -> None:
        """After a failed probe, unless all nodes fail together: down once there are enough failures."""
        if self.health is NodeHealth.SUSPECT and self._failures >= DOWN_AFTER and self.failing_since is not None:
            self.health = NodeHealth.DOWN
            self._falls.append(now)

    def probe_wrong(self) -> None:
        """The node answered with no identity, another one, or an older one."""
        self._probed = True
        self.failing_since = None
        self._successes = 0
        self._wrong += 1
        if self._wrong >= WRONG_AFTER:
            self.health = NodeHealth.FOREIGN
        elif self.health is NodeHealth.UP:
            self.health = NodeHealth.SUSPECT

    def traffic_failed(self, now: float) -> None:
        """A call of a request or task failed; at most one a second counts, and alone it never brings `down`."""
        if now - self._traffic_at >= TRAFFIC_EVERY:
            self._traffic_at = now
            self._fail()

    def traffic_right(self, now: float) -> None:
        """Bytes of the node were authenticated; at most one a second counts."""
        if self.health is NodeHealth.SUSPECT and not self._wrong and now - self._traffic_at >= TRAFFIC_EVERY:
            self._traffic_at = now
            self._succeed(now, False)

    def vouched(self) -> None:
        """Others see it up, and its identity was right just now: it is asked after the others until probes decide."""
        if self.health is NodeHealth.DOWN:
            self.health, self._failures, self.failing_since = NodeHealth.SUSPECT, 0, None

    def accepted(self) -> None:
        """An operator took the node in anew: what was wrong is forgotten, the next probes decide."""
        self._wrong = 0
        if self.health is NodeHealth.FOREIGN:
            self.health, self._successes = NodeHealth.SUSPECT, 0

    def needed(self, now: float) -> int:
        """Successes in a row that bring the node up."""
        while self._falls and now - self._falls[0] > FALLS_COUNT_FOR:
            self._falls.popleft()
        return min(UP_AFTER_MAX, UP_AFTER << min(8, max(0, len(self._falls) - 1)))

    def _succeed(self, now: float, at_once: bool) -> None:
        self._failures = 0
        self._successes += 1
        if at_once or self._successes >= self.needed(now):
            self.health = NodeHealth.UP

    def _fail(self) -> None:
        self._successes = 0
        self._failures += 1
        if self.health is NodeHealth.UP:
            self.health = NodeHealth.SUSPECT


def all_fail_together(verdicts: Iterable[Verdict]) -> bool:
    """Whether all nodes (two at least) that are not down yet began to fail their probes within a second."""
    since = [verdict.failing_since for verdict in verdicts if verdict.health is not NodeHealth.DOWN]
    starts = [start for start in since if start is not None]
    return len(since) >= 2 and len(starts) == len(since) and max(starts) - min(starts) <= TOGETHER
