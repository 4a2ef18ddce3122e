"""The `uploading` row of a body that has more than one blob: its blobs, what is stored of them, and its expiry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.catalogue.base import Catalogue
from common.errors import CatalogueUnavailable
from common.model.versions import Blob, Bucket, NewBlob

ACTIVE_SECONDS = 3600.0
TOUCH_SECONDS = 60.0


class UploadRow:
    """Not there until `begin`. What it is told of stored copies is written with the next blob or by the commit."""

    def __init__(self, catalogue: Catalogue, version_id: str, clock: Callable[[], float]) -> None:
        self._catalogue = catalogue
        self._version_id = version_id
        self._clock = clock
        self._touch_at: float | None = None
        self.stored: list[tuple[str, str]] = []

    @property
    def begun(self) -> bool:
        return self._touch_at is not None

    def begin(self, bucket: Bucket, key: str) -> None:
        """NoSuchBucket."""
        until = self._catalogue.now() + ACTIVE_SECONDS
        self._catalogue.objects.begin(self._version_id, bucket.id, key, bucket.copies, until)
        self._touch_at = self._clock() + TOUCH_SECONDS

    def add_blob(self, new: NewBlob) -> None:
        """UploadSuperseded."""
        self._catalogue.objects.add_blob(self._version_id, new, self.stored, self._until())
        self.stored = []

    def landed(self, blob: Blob, node_ids: Sequence[str]) -> None:
        self.stored += [(blob.id, node_id) for node_id in node_ids]

    def beat(self) -> None:
        """Bytes came: keep the row from expiring. UploadSuperseded if it did."""
        if self._touch_at is not None and self._clock() >= self._touch_at:
            self._catalogue.objects.touch(self._version_id, self._until())

    def abandon(self) -> None:
        """Nothing of it is to become visible."""
        try:
            self._catalogue.objects.abandon(self._version_id)
        except CatalogueUnavailable:
            return  # it expires by itself, and there is another error to tell

    def _until(self) -> float:
        self._touch_at = self._clock() + TOUCH_SECONDS
        return self._catalogue.now() + ACTIVE_SECONDS
