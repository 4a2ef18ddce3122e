"""Any position of a version is found, whatever the lengths of its blobs, in few look-ups."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.fetch.blob_index import PAGE, BlobIndex
from api.fetch.version_source import Superseded
from common.catalogue.base import Catalogue
from common.catalogue.objects import Found
from common.model.versions import Blob, StoredBlob


class Rows:
    """The blobs of one version as the catalogue pages them; `asked` counts pages."""

    def __init__(self, lengths: Sequence[int]) -> None:
        offsets = [0, *accumulate(lengths)]
        self.blobs_of_it = [
            StoredBlob(Blob(f"{number:032x}", number, offset, length, 0, b"", b""), ())
            for number, (offset, length) in enumerate(zip(offsets, lengths, strict=False))
        ]
        self.size = offsets[-1]
        self.asked = 0
        self.gone = False

    def blobs(self, version_id: str, first: int, limit: int = PAGE) -> Sequence[StoredBlob]:
        self.asked += 1
        return [] if self.gone else self.blobs_of_it[first : first + limit]

    def index(self) -> BlobIndex:
        version: Any = SimpleNamespace(id="v", size=self.size, blob_count=len(self.blobs_of_it))
        found: Any = SimpleNamespace(version=version, blobs=self.blobs_of_it[:PAGE])
        return BlobIndex(cast(Catalogue, SimpleNamespace(objects=self)), cast(Found, found))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=200).filter(any), st.data())
def test_every_position_is_in_the_blob_that_is_found(lengths: list[int], data: st.DataObject) -> None:
    rows = Rows(lengths)
    index = rows.index()
    for position in data.draw(st.lists(st.integers(0, rows.size - 1), max_size=5)):
        blob = index.at(position).blob
        assert blob.offset <= position < blob.offset + blob.length


def test_reading_on_asks_once_a_page() -> None:
    rows = Rows([10] * 160 + [3])
    index = rows.index()
    for position in range(rows.size):
        index.at(position)
    assert rows.asked == 10


def test_a_far_position_of_equal_blobs_is_found_at_the_first_try() -> None:
    rows = Rows([8 << 20] * 100_000)
    assert rows.index().at(70_000 * (8 << 20) + 5).blob.number == 70_000
    assert rows.asked == 1


def test_a_far_position_of_unequal_blobs_takes_a_handful_of_tries() -> None:
    rows = Rows([1] * 50_000 + [1000] * 50_000)
    assert rows.index().at(50_000 + 1000 * 49_000 + 5).blob.number == 99_000
    assert rows.asked <= 16


def test_rows_that_are_gone_say_that_the_version_is() -> None:
    rows = Rows([10] * 100)
    index = rows.index()
    rows.gone = True
    assert index.at(5).blob.number == 0
    with pytest.raises(Superseded):
        index.at(500)
