"""Delete an object: one small transaction dooms its version. Its copies follow, on every node, by the sweep.

If the answer to COMMIT is lost, the catalogue looks what became of it; OutcomeUnknown if it cannot tell in time.
"""

from __future__ import annotations

from common.catalogue.base import Catalogue
from common.model.versions import Preconditions


class DeleteObject:
    """The use case; safe across threads."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def __call__(self, bucket: str, key: str, preconditions: Preconditions = Preconditions()) -> None:  # noqa: B008
        """NoSuchBucket, NoSuchObject, PreconditionFailed, OutcomeUnknown."""
        self._catalogue.objects.delete(bucket, key, preconditions)
