"""Rows without a node get the next in placement order that takes new copies. A step of the sweep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from common.catalogue.base import Catalogue
from common.placement import Candidate, order

PAGE_ROWS: Final = 300


class Assigning:
    """Goes on where the pass before ended: rows that no node can take do not keep the others waiting."""

    def __init__(self, catalogue: Catalogue, in_time: Callable[[], bool]) -> None:
        self._catalogue = catalogue
        self._in_time = in_time
        self._after = 0

    def __call__(self) -> None:
        """Page through the rows until a page had nothing to assign, or all were seen, or time is over."""
        start = self._after
        while self._page() and self._after != start and self._in_time():
            pass

    def _page(self) -> bool:
        rows = self._catalogue.copies.unassigned(self._after, PAGE_ROWS)
        self._after = rows[-1][0] if len(rows) == PAGE_ROWS else 0
        if not rows:
            return False
        nodes = [
            Candidate(node.id, node.spec.zone, node.spec.weight)
            for node in self._catalogue.nodes.all()
            if node.takes_new_copies
        ]
        assigned = False
        for copy_id, fence, version_id, _, taken in rows:
            free = [node_id for node_id in order(version_id, nodes) if node_id not in taken]
            if free:
                assigned |= self._catalogue.copies.assign(copy_id, fence, free[0])
        return assigned
