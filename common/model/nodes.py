"""Storage nodes: what was configured, what an operator asked for, and what was seen. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class NodeMode(StrEnum):
    """What an operator asked for."""

    ACTIVE = "active"
    DRAINING = "draining"
    PAUSED = "paused"
    RETIRED = "retired"


class NodeHealth(StrEnum):
    """What was seen."""

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node as configured: an S3 endpoint with scheme, a bucket, the *name* of its credentials file."""

    name: str
    endpoint: str
    bucket: str
    credentials: str
    region: str = "us-east-1"
    zone: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Node:
    """A node's row with the shared verdict of its health.

    identity: `new` (has none yet, gets one by itself), `known`, or `foreign` (remembered until accepted or seen right
    again). epoch: what the identity blob must at least say. since: when the health became what it is. writable_since:
    when `writable` did, None if it always was. unreachable_since: when it showed itself last, None while it does: what
    is shown, whatever the health says that guards the healing (nodes that fail together stay suspect).
    """

    id: str
    spec: NodeSpec
    mode: NodeMode
    mode_until: float | None
    writable: bool
    identity: str
    epoch: int
    health: NodeHealth
    since: float
    last_seen: float | None
    last_error: str | None
    writable_since: float | None = None
    unreachable_since: float | None = None

    @property
    def state(self) -> str:
        """What is shown: the mode unless it is active, else the health, or that nobody reaches it all the same."""
        if self.mode is not NodeMode.ACTIVE:
            return self.mode.value
        return "unreachable" if self.in_service and not self.reachable else self.health.value

    @property
    def reachable(self) -> bool:
        """Whether it shows itself now, as far as anybody knows."""
        return self.in_service and self.unreachable_since is None

    @property
    def in_service(self) -> bool:
        """By the verdict that guards the healing."""
        return self.health in (NodeHealth.UP, NodeHealth.SUSPECT)

    @property
    def takes_new_copies(self) -> bool:
        return self.mode is NodeMode.ACTIVE and self.in_service and self.writable

    @property
    def readable(self) -> bool:
        return self.mode is not NodeMode.RETIRED and self.in_service

    @property
    def deletable_from(self) -> bool:
        return self.mode is not NodeMode.PAUSED and self.in_service
