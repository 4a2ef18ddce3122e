"""Which nodes take which work now. Pure. Work towards any other node is parked: not enqueued, no attempt counted."""

from __future__ import annotations

from collections.abc import Iterable

from common.model.nodes import Node, NodeMode
from common.model.work import CopyAction


def takes(node: Node, action: CopyAction) -> bool:
    if action is CopyAction.REPLICATE:
        return node.takes_new_copies
    if action is CopyAction.VERIFY:
        return node.readable and node.mode is not NodeMode.PAUSED
    return node.deletable_from


def taking(nodes: Iterable[Node], action: CopyAction) -> set[str]:
    """Ids of the nodes that take this work."""
    return {node.id for node in nodes if takes(node, action)}
