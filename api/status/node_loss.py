"""What would become of the copies if nodes went: asked before an operator takes one away, and changing nothing.

Everything is read in pages; the store goes on meanwhile, so the counts are those of about now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from common.catalogue.base import Catalogue
from common.catalogue.nodes import NodeTotals
from common.model.nodes import Node
from common.model.relocation import BlobCopies
from common.placement import Candidate, order

LOOKED_AT_MOST = 10_000
NAMED_MOST = 100


@dataclass(frozen=True, slots=True)
class Preview:
    """What draining a node would move, and where to. estimated: `to` and `unplaced` were found by a sample."""

    copies: int
    bytes: int
    to: Mapping[str, int]
    unplaced: int
    estimated: bool


@dataclass(frozen=True, slots=True)
class Loss:
    """Objects that could not be read, or only from one copy, without the nodes; `named`: the first of the former."""

    unavailable: int
    at_one_copy: int
    named: Sequence[tuple[str, str]]


def preview_drain(catalogue: Catalogue, node: Node) -> Preview:
    totals = catalogue.nodes.totals().get(node.id) or NodeTotals(0, 0, 0)
    rows = {row.id: row for row in catalogue.nodes.all()}
    takers = [row for row in rows.values() if row.takes_new_copies and row.id != node.id]
    places = destinations(islice(_on_node(catalogue, node.id), LOOKED_AT_MOST), takers)
    looked_at, wanted = sum(places.values()), totals.copies + totals.missing
    estimated = looked_at == LOOKED_AT_MOST < wanted
    scale = wanted / looked_at if estimated else 1.0
    to = {rows[place].spec.name: round(count * scale) for place, count in places.items() if place is not None}
    return Preview(totals.copies, totals.bytes, to, round(places[None] * scale), estimated)


def preview_still(catalogue: Catalogue, node: Node) -> Preview:
    """A change of mode that moves nothing, and how much it is about."""
    totals = catalogue.nodes.totals().get(node.id) or NodeTotals(0, 0, 0)
    return Preview(totals.copies, totals.bytes, {}, 0, False)


def destinations(moved: Iterable[BlobCopies], takers: Sequence[Node]) -> Counter[str | None]:
    """How many blobs each node would get: the first in placement order without a row of it. None: no node can."""
    candidates = [Candidate(node.id, node.spec.zone, node.spec.weight) for node in takers]
    places: Counter[str | None] = Counter()
    for blob in moved:
        taken = {row.node_id for row in blob.rows}
        places[next((place for place in order(blob.version_id, candidates) if place not in taken), None)] += 1
    return places


def lost_with(catalogue: Catalogue, node_id: str) -> int:
    """How many blobs have a copy on this node and none on any other that was not given up."""
    lost, after = 0, 0
    while True:
        found, next_after = catalogue.topology.only_on(node_id, after)
        lost += found
        if next_after is None:
            return lost
        after = next_after


def loss_of(catalogue: Catalogue, without: Collection[str]) -> Loss:
    unavailable, at_one_copy, after = 0, 0, None
    named: list[tuple[str, str]] = []
    while True:
        page, after = catalogue.topology.remainders(without, after)
        gone = [(found.bucket, found.key) for found in page if found.left == 0]
        unavailable += len(gone)
        at_one_copy += sum(found.left == 1 for found in page)
        named += gone[: NAMED_MOST - len(named)]
        if after is None:
            return Loss(unavailable, at_one_copy, named)


def _on_node(catalogue: Catalogue, node_id: str) -> Iterator[BlobCopies]:
    after: int | None = 0
    while after is not None:
        page, after = catalogue.relocations.examine(node_id, after)
        yield from page
