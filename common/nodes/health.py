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
from typing import TypeGuard

from common.model.nodes import NodeHealth

DOWN_AFTER = 3
UP_AFTER = 2
UP_AFTER_MAX = 5
FALLS_COUNT_FOR = 600.0
WRONG_AFTER = 2
TRAFFIC_EVERY = 1.0
TOGETHER = 1.0
IDENTITY_MAX = 4096
WORD_MAX = 128
EPOCH_MAX = (1 << 63) - 1  # what the row holds
AHEAD_MAX = 1_000_000  # a catalogue is put back from a backup of at most nineteen years: epochs are ten minutes apart


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
        """None if the bytes are no identity. They are a node's word: each part is of its own type and within bounds."""
        try:
            value = json.loads(data.decode())
        except (ValueError, RecursionError):  # not UTF-8, not JSON, a number or a nesting without end
            return None
        if not isinstance(value, dict):
            return None
        cluster, node, generation, epoch = (value.get(name) for name in ("cluster", "node", "generation", "epoch"))
        if not (_is_word(cluster) and _is_word(node) and _is_word(generation) and _is_epoch(epoch)):
            return None
        return Identity(cluster, node, generation, epoch)

    def objection(self, seen: Identity | None) -> str | None:
        """Why what was seen is not this node; None if it is.

        A newer epoch than ours is right (the catalogue was put back from a backup), unless no backup is as old as that:
        a node must not raise its own row to where it can be raised no more.
        """
        if seen is None:
            return "its identity is absent"
        if (seen.cluster, seen.node) != (self.cluster, self.node):
            return "it has the identity of another node"
        if seen.generation != self.generation:
            return "its identity is of another generation of the catalogue"
        if seen.epoch < self.epoch:
            return "its identity is older than the catalogue's"
        return "its identity is newer than any could be" if seen.epoch > self.epoch + AHEAD_MAX else None


def next_epoch(ours: int, seen: Identity | None) -> int:
    """One more than ours and than what the node says, if that can be believed."""
    believed = seen.epoch if seen is not None and seen.epoch <= ours + AHEAD_MAX else 0
    return min(EPOCH_MAX, max(ours, believed) + 1)


def _is_word(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= WORD_MAX


def _is_epoch(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= EPOCH_MAX


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
