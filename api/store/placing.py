"""Put one sealed blob on enough nodes: the first in placement order; one that fails is replaced by the next.

1. The first `need` nodes are given it: one put is the caller's own, the others run beside it on spare threads, as far
   as those are free.
2. For each that failed the next node is tried, until `need` of them have it.
A blob that got onto some nodes, but not enough, stays there without a row or with `missing` ones: an orphan.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import wait
from functools import partial
from typing import Protocol

from api.spare_threads import SpareThreads
from api.store.sealing import Sealed
from common import placement
from common.blobstore.base import BlobStore, foreground
from common.errors import BlobStoreError, NotEnoughNodes
from common.placement import Candidate


class WritableNodes(Protocol):
    """What writing needs of `common.nodes.watched_nodes.WatchedNodes`."""

    def candidates(self) -> Sequence[Candidate]: ...

    def store(self, node_id: str) -> BlobStore: ...


def place(nodes: WritableNodes, spare: SpareThreads, sealed: Sealed, order: Sequence[str], need: int) -> Sequence[str]:
    """The ids of the nodes that have the blob now. NotEnoughNodes. Afterwards nothing uses its buffer any more."""
    left, landed = list(order), list[str]()
    while (short := need - len(landed)) > 0:
        if len(left) < short:
            raise NotEnoughNodes(f"{len(landed)} of {need} nodes took the data")
        chosen, left = left[:short], left[short:]
        begun = {node_id: spare.run(partial(_put, nodes, sealed, node_id)) for node_id in chosen[1:]}
        beside = {node_id: future for node_id, future in begun.items() if future is not None}
        try:
            landed += [node_id for node_id in chosen if node_id not in beside and _put(nodes, sealed, node_id)]
        finally:
            wait(beside.values())
        landed += [node_id for node_id, future in beside.items() if future.result()]
    return landed


def _put(nodes: WritableNodes, sealed: Sealed, node_id: str) -> bool:
    try:
        nodes.store(node_id).put(sealed.name, sealed.data, foreground(len(sealed.data)))
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
