"""Nodes in memory, as a process of the API sees them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from common.blobstore.base import background
from common.blobstore.memory import MemoryStore
from common.errors import NodeBusy
from common.model.nodes import Node
from common.placement import Candidate


class SeenNodes:
    """What a test sets is what is seen of a node, by its id.

    `down`: known to be down. `busy`: may not be used right now. `silent`: answers no probe. `returning`: shows itself
    when it is looked at again. `late`: seconds after which a first byte is late. `proved`, `accepted`: what was told.
    """

    def __init__(self, ids: Iterable[str], rows: Iterable[Node] = ()) -> None:
        self.rows = {row.id: row for row in rows}
        self.stores = {node_id: MemoryStore() for node_id in ids}
        self.down: set[str] = set()
        self.busy: set[str] = set()
        self.silent: set[str] = set()
        self.returning: set[str] = set()
        self.late = 60.0
        self.proved: list[str] = []
        self.accepted: list[str] = []

    def all(self) -> Mapping[str, Node]:
        return self.rows

    def candidates(self) -> Sequence[Candidate]:
        return [Candidate(node_id, "", 1.0) for node_id in self.stores if node_id not in self.down]

    def answering(self) -> Collection[str]:
        return [candidate.id for candidate in self.candidates() if candidate.id not in self.silent]

    def accept(self, node_id: str) -> int:
        self.accepted.append(node_id)
        return 0

    def read_order(self, node_ids: Iterable[str]) -> Sequence[str]:
        return sorted(node_id for node_id in node_ids if node_id in self.stores and node_id not in self.down)

    def authenticated(self, node_id: str) -> None:
        self.proved.append(node_id)

    def late_after(self, node_id: str) -> float:
        return self.late

    def look_again(self, node_ids: Collection[str]) -> bool:
        back = self.down & self.returning & set(node_ids)
        self.down -= back
        return bool(back)

    def store(self, node_id: str) -> MemoryStore:
        if node_id in self.busy | self.down:
            raise NodeBusy("the node may not be used now")
        return self.stores[node_id]

    def blobs(self) -> list[tuple[MemoryStore, str]]:
        """Every blob on every node."""
        return [
            (store, blob.name) for store in self.stores.values() for blob in store.list("blobs/", background(0)).blobs
        ]
