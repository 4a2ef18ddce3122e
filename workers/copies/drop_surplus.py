"""Let surplus copies go, once those that stay were read whole and right.

1. Read the blobs' rows and the nodes; plan: which keepers are not proven.
2. Read each of these whole. An absent or wrong one is suspect from here on, and its blob keeps all its copies.
3. Write `verified_at` (the time before the reading) to the rows that have not changed since.
4. Read the rows again, plan again, and apply what follows: a copy is given up only on what the rows say then.

It may be lost or come twice: the sweep finds the surplus again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from common.blobstore.base import background
from common.catalogue.base import Catalogue
from common.errors import BlobMissing, BlobStoreError
from common.model.relocation import BlobCopies, CopyRow
from common.model.versions import Blob
from common.settings import Settings
from workers.copies.check import CopyCheck, WrongBytes
from workers.copies.policy import Scene, plan
from workers.copies.sources import Sources

BLOBS_AT_A_TIME: Final = 64


class DropSurplus:
    def __init__(self, catalogue: Catalogue, sources: Sources, check_copy: CopyCheck, settings: Settings) -> None:
        self._catalogue = catalogue
        self._sources = sources
        self._check_copy = check_copy
        self._reprotect_after = settings.reprotect_after

    def __call__(self, blob_ids: Sequence[str]) -> int:
        """How many of these blobs had their rows changed."""
        changed = 0
        for start in range(0, len(blob_ids), BLOBS_AT_A_TIME):
            page = blob_ids[start : start + BLOBS_AT_A_TIME]
            self._prove(self._catalogue.relocations.of(page))
            scene = self._scene()
            plans = [plan(copies, scene).move for copies in self._catalogue.relocations.of(page)]
            changed += len(self._catalogue.relocations.apply([move for move in plans if move]))
        return changed

    def _scene(self) -> Scene:
        return Scene.of(self._catalogue.nodes.all(), self._catalogue.now(), self._reprotect_after)

    def _prove(self, blobs: Sequence[BlobCopies]) -> None:
        scene = self._scene()
        proven: list[tuple[int, int]] = []
        for copies in blobs:
            for row in plan(copies, scene).unproven:
                if not self._right(copies.blob, row):
                    break
                proven.append((row.id, row.fence))
        # The scene's time is later than what its rows say, and earlier than the reading.
        self._catalogue.relocations.verified(proven, scene.now)

    def _right(self, blob: Blob, row: CopyRow) -> bool:
        node_id = row.node_id or ""
        try:
            self._check_copy.through(node_id, blob, row.alias, background(blob.cipher_length))
        except (BlobMissing, WrongBytes) as error:
            self._sources.blame(blob, node_id, error)
            return False
        except BlobStoreError:
            return False
        return True
