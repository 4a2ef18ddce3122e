"""Where the copies of a node would go, with literal rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from api.status.node_loss import destinations
from common.model.copies import CopyState
from common.model.nodes import Node, NodeHealth, NodeMode, NodeSpec
from common.model.relocation import BlobCopies, CopyRow
from common.model.versions import Blob
from common.placement import Candidate, order

NODE = Node(
    id="a", spec=NodeSpec("a", "http://a", "b", "a"), mode=NodeMode.ACTIVE, mode_until=None, writable=True,
    identity="known", epoch=1, health=NodeHealth.UP, since=0.0, last_seen=None, last_error=None,
)  # fmt: skip
TAKERS = [replace(NODE, id=name) for name in "bcd"]
FIRST, SECOND, THIRD = order("v1", [Candidate(node.id, "", 1.0) for node in TAKERS])


def blob(**rows: CopyState) -> BlobCopies:
    """A blob with a stored copy on `a`, and these rows; `nowhere` is a row without a node."""
    placed = [("a", CopyState.STORED), *((None if name == "nowhere" else name, state) for name, state in rows.items())]
    made = [CopyRow(number, 0, node_id, state, None, None) for number, (node_id, state) in enumerate(placed)]
    return BlobCopies(Blob("x", 0, 0, 1, 89, b"d", b"s"), "v1", 3, made)


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ({}, FIRST),
        ({FIRST: CopyState.STORED}, SECOND),
        ({FIRST: CopyState.MISSING, SECOND: CopyState.SUSPECT}, THIRD),
        ({FIRST: CopyState.DOOMED}, SECOND),
        ({"nowhere": CopyState.MISSING}, FIRST),
        (dict.fromkeys("bcd", CopyState.STORED), None),
    ],
)
def test_a_copy_goes_to_the_next_node_in_placement_order_without_a_row(
    rows: dict[str, CopyState], place: str | None
) -> None:
    assert destinations([blob(**rows)] * 2, TAKERS) == {place: 2}


def test_without_a_node_that_takes_copies_they_fit_nowhere() -> None:
    assert destinations([blob()], []) == {None: 1}
