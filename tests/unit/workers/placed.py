"""Objects on the first three of four nodes, and where their copies lie."""

from __future__ import annotations

from tests.unit.workers.rig import Rig


def put(rig: Rig, key: str, stored: int = 3, blobs: int = 1, nodes: list[int] | None = None) -> list[bytes]:
    return rig.put(key, stored, blobs, nodes=[rig.ids[number] for number in nodes or (0, 1, 2)])


def holders(rig: Rig, key: str) -> list[int]:
    """Nodes that have the right bytes of the key's first blob, looked at directly."""
    return [number for number, data in enumerate(rig.on_nodes(rig.blob_ids(key)[0])) if data is not None]


def rows(rig: Rig, key: str) -> dict[int | None, str]:
    """States of the first blob's rows by node, doomed ones too."""
    (copies,) = rig.catalogue.relocations.of(rig.blob_ids(key)[:1])
    return {None if row.node_id is None else rig.ids.index(row.node_id): row.state.value for row in copies.rows}
