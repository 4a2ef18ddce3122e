"""Look at blobs that a reader could not read from a node which answered: is it the copy, or the node?

1. Read the rows of these blobs.
2. Look at each stored copy that can be read now (`check` tells the two apart).
3. What is absent or wrong is suspect from here on, and is repaired at once.

A message may be lost or come twice: the next reader doubts again, and the scrub needs no message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from common.catalogue.base import Catalogue
from common.model.copies import CopyState
from common.model.relocation import BlobCopies
from workers.copies.check import BAD, CopyCheck

LOG = structlog.get_logger(__name__)


class Doubt:
    """`verify`: what repairs suspect copies, given blob ids."""

    def __init__(self, catalogue: Catalogue, check_copy: CopyCheck, verify: Callable[[Sequence[str]], int]) -> None:
        self._catalogue = catalogue
        self._check_copy = check_copy
        self._verify = verify

    def __call__(self, blob_ids: Sequence[str]) -> None:
        bad = [copies.blob.id for copies in self._catalogue.relocations.of(blob_ids) if self._blame(copies)]
        if bad:
            self._verify(bad)

    def _blame(self, copies: BlobCopies) -> bool:
        """Whether a copy of this blob became suspect."""
        found = False
        for row in copies.rows:
            if row.node_id is None or row.state is not CopyState.STORED:
                continue
            finding = self._check_copy(row.node_id, copies.blob, row.alias)
            if finding.kind in BAD and self._catalogue.copies.suspect(copies.blob.id, row.node_id, finding.detail):
                LOG.warning("doubt_confirmed", blob=copies.blob.id, node=row.node_id, detail=finding.detail)
                found = True
        return found
