"""The catalogue's transactions by which nodes come and go, and what would go with them.

The errors and the clock are those of `common.catalogue.base`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.model.nodes import Node, NodeSpec


@dataclass(frozen=True, slots=True)
class Remainder:
    """left: the least number, over the object's blobs, of copies that could be read without the nodes in question."""

    bucket: str
    key: str
    left: int


class Topology(Protocol):
    """Adding, removing, giving up nodes. Asking changes nothing, and goes in pages."""

    def add(self, spec: NodeSpec) -> Node:
        """A `new` node. Conflict if its name, or its endpoint and bucket, are in use."""

    def remove(self, name: str) -> None:
        """Delete the row of a draining node that has no copy row left. NoSuchNode; Conflict, and nothing changes.

        A commit that goes on meanwhile is waited for and counted; a later one does not find the node.
        """

    def retire(self, name: str) -> Node:
        """Declare the node gone: what it has counts no more. Commits are waited for as in `remove`. NoSuchNode."""

    def empty(self) -> Collection[str]:
        """Ids of the draining nodes that have no copy row left, doomed ones included."""

    def only_on(self, node_id: str, after: int, limit: int = 1000) -> tuple[int, int | None]:
        """Of a page of the copy rows on a node: how many are a blob's last, stored or suspect, of a current version.

        Copies on retired nodes count as none. `after`: 0 first; then the next one that comes back, None at the end.
        """

    def remainders(
        self, without: Collection[str], after: tuple[str, str] | None, limit: int = 500
    ) -> tuple[Sequence[Remainder], tuple[str, str] | None]:
        """A page of all objects, in order of (bucket id, key), if these nodes went away; the next `after`."""
