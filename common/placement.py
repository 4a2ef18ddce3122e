"""Where the copies of a version belong: weighted rendezvous hashing, distinct zones first. Pure.

Every process computes the same order from the version id and the nodes, without state; adding or removing one node
moves only the copies that change (Thaler and Ravishankar, 1998; the logarithmic weights are those of the
"Weighted Distributed Hash Tables" paper of Schindelhauer and Schomaker, 2005).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, log

from blake3 import blake3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that takes new copies. An empty zone is a zone of its own."""

    id: str
    zone: str
    weight: float


def score(version_id: str, node: Candidate) -> float:
    """Higher is preferred. 53 bits of the hash give a uniform number in (0, 1); a weight of 0 is last."""
    digest = blake3(f"{version_id}/{node.id}".encode()).digest(length=8)
    uniform = ((int.from_bytes(digest) >> 11) + 0.5) / (1 << 53)
    return -node.weight / log(uniform) if node.weight > 0 else -inf


def order(version_id: str, nodes: Iterable[Candidate]) -> Sequence[str]:
    """All node ids, best first; the first ones are of distinct zones as far as there are zones."""
    ranked = sorted(nodes, key=lambda node: (score(version_id, node), node.id), reverse=True)
    seen: set[str] = set()
    first: list[str] = []
    rest: list[str] = []
    for node in ranked:
        zone = node.zone or node.id
        (rest if zone in seen else first).append(node.id)
        seen.add(zone)
    return first + rest
