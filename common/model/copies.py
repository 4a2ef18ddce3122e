"""A wanted copy of a blob, and the states it goes through. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CopyState(StrEnum):
    """`missing → stored`; `stored → suspect → stored | missing`; any `→ doomed →` row deleted."""

    MISSING = "missing"
    STORED = "stored"
    SUSPECT = "suspect"
    DOOMED = "doomed"


@dataclass(frozen=True, slots=True)
class Placed:
    """A wanted copy of a blob as the catalogue holds it. `node_id` None: no node can hold it yet. `alias`: see
    `blob_name`."""

    node_id: str | None
    state: CopyState
    alias: str | None = None
