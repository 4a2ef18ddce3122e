"""The rows of the storage nodes, as a contract.

The errors and the clock are those of `common.catalogue.base`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.model.nodes import Node, NodeHealth, NodeSpec


@dataclass(frozen=True, slots=True)
class NodeTotals:
    """`copies` stored or suspect on the node, `bytes` of ciphertext in them, `missing` ones wanted there."""

    copies: int
    bytes: int
    missing: int


class Nodes(Protocol):
    def all(self) -> Sequence[Node]: ...

    def register(self, specs: Sequence[NodeSpec]) -> Sequence[str]:
        """Insert names that are not there yet as `new`; a known name may have moved to another endpoint, where its
        identity shows that it is the same. Nothing else changes. Conflict: endpoint and bucket in use.

        A node that was removed is left out at its endpoint until somebody adds it (`topology.add`); the names of these.
        """

    def totals(self) -> Mapping[str, NodeTotals]:
        """By node id. Exact; costs the same at any size."""

    def write_health(
        self,
        verdicts: Mapping[str, tuple[NodeHealth, float | None, str | None]],
        owner: str,
        unseen: Mapping[str, float] = ...,
    ) -> bool:
        """The holder of the `health` lease writes (health, last_seen, last_error); False if `owner` lost the lease.

        A change of health sets `since`; a node that is up again has its waiting rows made due (see `returned`).
        `unseen`: of nodes that do not show themselves, for how many seconds; 0 of those that do. It sets
        `unreachable_since`, by which nobody heals. What is not named stays.
        """

    def returned(self) -> Mapping[str, bool]:
        """Nodes that came up and whose waiting rows were not woken yet: id → whether it was down or foreign before.

        One that was but suspect is no return: what the work towards it ended in stays.
        """

    def woken(self, node_id: str, since: float) -> None:
        """The rows of that return are due. Nothing happens if its health changed since."""

    def set_identity(self, node_id: str, identity: str, epoch: int) -> None:
        """`new → known`, `known → foreign`, `foreign → known`; the epoch never goes down.

        A node that says more than one epoch more than its row does has seen a later catalogue than this one: nothing is
        reclaimed on it before a job says `force`. With `new → known` the catalogue's generation is noted as the one
        whose rows reclaim may trust there.
        """

    def taken_in(self, node_id: str, epoch: int) -> None:
        """An operator accepted it: `known`, of that epoch, and its scrub begins anew with a listing."""

    def set_writable(self, node_id: str, writable: bool) -> None:
        """What is written already stays since when it was."""

    def set_mode(self, name: str, mode: str, until: float | None) -> Node:
        """NoSuchNode; Conflict where it is retired and is not to become active."""

    def end_pause(self, node_id: str, until: float) -> bool:
        """paused → active, if it still is paused until that very time: an operator may have decided anew meanwhile."""

    def doubt(self, node_id: str, since: float | None = None, limit: int = 1000) -> int:
        """For a page of the rows on a node whose disk was, or may be, another one: how many, 0 when none is left.

        `stored → suspect`, with `since` only what was stored or verified from then on; and so are the `missing` rows of
        uploads in progress, which may have put that copy already. Rows that a worker holds are taken from it, and due.
        """

    def cluster(self) -> tuple[str, str]:
        """Cluster id and catalogue generation."""
