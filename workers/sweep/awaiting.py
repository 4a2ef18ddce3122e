"""What the sweep finds waited for is written down, so that whoever is asked can tell what stands still."""

from __future__ import annotations

from collections.abc import Sequence

from common.catalogue.base import Catalogue
from common.model.actors import Actor
from common.model.nodes import Node
from common.model.work import CopyAction
from common.settings import Settings
from workers.audit.reclaim import reclaimed_from
from workers.audit.scrub import is_due, scrubbed
from workers.copies.targets import takes


class Awaiting:
    """Called at each sweep. It writes only what changed."""

    def __init__(self, catalogue: Catalogue, settings: Settings) -> None:
        self._catalogue = catalogue
        self._period = settings.scrub_period

    def __call__(self) -> None:
        nodes = self._catalogue.nodes.all()
        found = {Actor.COPIES: self._copies(nodes), Actor.SCRUB: self._scrub(nodes)}
        if not any(reclaimed_from(node) for node in nodes):
            found[Actor.RECLAIM] = False  # it is asked for where it is sent for (`rounds`)
        known = self._catalogue.last_ends.all()
        changed = {
            actor: awaits for actor, awaits in found.items() if awaits != (known[actor].awaited_since is not None)
        }
        if changed:
            self._catalogue.last_ends.wait_for(changed)

    def _copies(self, nodes: Sequence[Node]) -> bool:
        """Whether a node that takes copies lacks one. What a node lacks that is away or paused waits for the node."""
        newest = self._catalogue.copies.newest()
        taking = [node.id for node in nodes if takes(node, CopyAction.REPLICATE)]
        return any(self._catalogue.copies.owed(node_id, newest) for node_id in taking)

    def _scrub(self, nodes: Sequence[Node]) -> bool:
        scrubs, now = self._catalogue.scrubs.all(), self._catalogue.now()
        return any(
            node.id not in scrubs or is_due(scrubs[node.id], now, self._period) for node in nodes if scrubbed(node)
        )
