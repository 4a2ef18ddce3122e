"""Which blob holds a position of a version: rows in pages, by guess and bisection, as blobs may have any length."""

from __future__ import annotations

from api.fetch.version_source import Superseded
from common.catalogue.base import Catalogue
from common.catalogue.objects import Found
from common.errors import ObjectDamaged
from common.model.versions import StoredBlob

PAGE = 16


class BlobIndex:
    """The blobs of one version; keeps one page of rows."""

    def __init__(self, catalogue: Catalogue, found: Found) -> None:
        self._catalogue = catalogue
        self._version = found.version
        self._page = found.blobs
        self._usual = max(1, found.blobs[0].blob.length) if found.blobs else 1

    def at(self, position: int) -> StoredBlob:
        """The blob with that byte. Superseded if the rows are gone. An empty object has one blob, at position 0."""
        return self._on_page(position) or self._look_up(position)

    def _on_page(self, position: int) -> StoredBlob | None:
        for stored in self._page:
            blob = stored.blob
            if blob.offset <= position < blob.offset + blob.length or blob.length == self._version.size == 0:
                return stored
        return None

    def _look_up(self, position: int) -> StoredBlob:
        low, high = 0, self._version.blob_count - 1
        guess = self._guess(position)
        while low <= high:
            self._page = self._catalogue.objects.blobs(self._version.id, min(max(guess, low), high), PAGE)
            if not self._page:
                raise Superseded("the object was replaced or deleted")
            stored = self._on_page(position)
            if stored is not None:
                return stored
            if position < self._page[0].blob.offset:
                high = self._page[0].blob.number - 1
            else:
                low = self._page[-1].blob.number + 1
            guess = (low + high) // 2
        raise ObjectDamaged("a part of this object is not in the catalogue")

    def _guess(self, position: int) -> int:
        """The next blob when reading on, else where it would be if all were as long as the first."""
        if self._page:
            last = self._page[-1].blob
            if last.offset + last.length == position:
                return last.number + 1
        return position // self._usual
