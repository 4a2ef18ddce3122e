"""How long a node that came back takes until it has every copy it should have had by then.

Rows that are written after the return are not waited for: while there are uploads, some copy is always on its way. What
is measured is lost with the process; nothing depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prometheus_client import Gauge, Histogram

from common.catalogue.base import Catalogue
from common.model.nodes import NodeHealth

CONVERGED: Final = Histogram(
    "boveda_return_to_convergence_seconds",
    "Time from a node's return to the last copy it was owed then",
    ["node"],
    buckets=(5, 10, 15, 30, 60, 120, 300, 900, 3600, 21600),
)
CONVERGING: Final = Gauge("boveda_returned_not_converged", "1 while a node that came back is owed copies", ["node"])
AWAY: Final = (NodeHealth.DOWN, NodeHealth.FOREIGN)


@dataclass(frozen=True, slots=True)
class Recovery:
    """Up since `since`, by the catalogue's clock; `newest`: the copy rows there were then."""

    since: float
    newest: int


class RecoveryTimes:
    """Called at each sweep by whoever sweeps, one at a time."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._away: set[str] = set()
        self._returned: dict[str, Recovery] = {}

    def __call__(self) -> None:
        for node in self._catalogue.nodes.all():
            if node.health in AWAY:
                self._away.add(node.id)
                self._returned.pop(node.id, None)
            elif node.health is NodeHealth.UP and node.id in self._away:
                self._away.remove(node.id)
                self._returned[node.id] = Recovery(node.since, self._catalogue.copies.newest())
            back = self._returned.get(node.id)
            if back is not None and not self._catalogue.copies.owed(node.id, back.newest):
                CONVERGED.labels(node.spec.name).observe(max(0.0, self._catalogue.now() - back.since))
                del self._returned[node.id]
            CONVERGING.labels(node.spec.name).set(node.id in self._returned)
