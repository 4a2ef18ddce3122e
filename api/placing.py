"""Put one sealed blob on enough nodes: the first in placement order; one that fails is replaced by the next.

1. `start` (may be left out) hands the first `need` puts to spare threads, so that the caller can seal the next blob.
2. `finish` does what was not handed over itself, waits, and goes on with the next nodes until `need` of them have it.
A blob that got onto some nodes, but not enough, stays there without a row or with `missing` ones: an orphan.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from api.sealing import Sealed
from api.spare import SpareThreads
from common import placement
from common.blobstore.base import BlobStore, foreground
from common.errors import BlobStoreError, NotEnoughNodes
from common.placement import Candidate


class WritableNodes(Protocol):
    """What writing needs of `common.nodes.Nodes`."""

    def candidates(self) -> Sequence[Candidate]: ...

    def store(self, node_id: str) -> BlobStore: ...


class Placing:
    """One blob on its way to `need` of the nodes in `order`."""

    def __init__(self, nodes: WritableNodes, spare: SpareThreads, sealed: Sealed, order: Sequence[str], need: int):
        self._nodes = nodes
        self._spare = spare
        self._sealed = sealed
        self._need = need
        self._left = list(order)
        self._running: list[tuple[str, Future[bool]]] = []
        self._own: list[str] = []
        self._landed: list[str] = []

    def start(self) -> bool:
        """Begin putting without waiting; False if no spare thread takes the first one."""
        self._begin(own=0)
        return not self._own

    def finish(self) -> Sequence[str]:
        """The ids of the nodes that have the blob now. NotEnoughNodes."""
        if not self._running and not self._own:
            self._begin(own=1)
        while True:
            self._settle()
            if len(self._landed) >= self._need:
                return self._landed
            self._begin(own=1)

    def wait(self) -> None:
        """Only wait for what runs: the buffer is free afterwards."""
        for _, future in self._running:
            future.exception()

    def _begin(self, own: int) -> None:
        short = self._need - len(self._landed)
        if len(self._left) < short:
            raise NotEnoughNodes(f"{len(self._landed)} of {self._need} nodes took the data")
        chosen, self._left = self._left[:short], self._left[short:]
        self._own = chosen[:own]
        for node_id in chosen[own:]:
            future = self._spare.run(lambda node_id=node_id: self._put(node_id))  # type: ignore[misc]
            if future is None:
                self._own.append(node_id)
            else:
                self._running.append((node_id, future))

    def _settle(self) -> None:
        self._landed += [node_id for node_id in self._own if self._put(node_id)]
        self._landed += [node_id for node_id, future in self._running if future.result()]
        self._own, self._running = [], []

    def _put(self, node_id: str) -> bool:
        try:
            self._nodes.store(node_id).put(self._sealed.name, self._sealed.data, foreground(len(self._sealed.data)))
        except BlobStoreError:
            return False
        return True


def nodes_for(version_id: str, nodes: WritableNodes) -> list[str]:
    """The nodes that take copies now, best first for that version."""
    return list(placement.order(version_id, nodes.candidates()))


def wanted_nodes(order: Sequence[str], copies: int, landed: Sequence[str] = ()) -> Sequence[str | None]:
    """Where a blob's copies belong: the first of `order`, but every node that has it; None for nodes there are not."""
    chosen: list[str | None] = list(order[:copies])
    replaceable = [place for place, node_id in enumerate(chosen) if node_id not in landed]
    for node_id in landed:
        if node_id not in chosen:
            chosen[replaceable.pop()] = node_id
    return chosen + [None] * (copies - len(chosen))
