"""What every BlobStore does, whatever stands behind it. A test module gives the `store` fixture and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from common.blobstore.base import BlobStore, Deadline, background
from common.errors import BlobMissing, BlobTooLong, CallCut, NodeTimeout
from common.model.names import blob_name, new_id

MIB = 1024 * 1024
LIMIT = 16 * MIB  # bytes that a read may give


def soon() -> Deadline:
    """Long enough for a busy machine: what is tested here is not speed."""
    return background(8 * MIB)


def fresh() -> str:
    return blob_name(new_id())


class BlobStoreContract:
    """Names are fresh in each test, so that all can share one bucket."""

    @pytest.mark.parametrize("size", [0, 1, 16 * 1024, 300 * 1024, 8 * MIB])
    def test_a_blob_is_read_back_as_it_was_put(self, store: BlobStore, size: int) -> None:
        name, data = fresh(), bytes(range(251)) * (size // 251 + 1)
        store.put(name, data[:size], soon())
        assert store.read(name, soon(), LIMIT) == data[:size]
        assert store.stat(name, soon()).size == size

    def test_a_blob_longer_than_it_may_be_is_not_read(self, store: BlobStore) -> None:
        name, data = fresh(), bytes(300 * 1024)
        store.put(name, data, soon())
        assert store.read(name, soon(), len(data)) == data
        with pytest.raises(BlobTooLong, match="307200"):
            store.read(name, soon(), len(data) - 1)
        assert store.read(name, soon(), LIMIT) == data

    @pytest.mark.parametrize("wrap", [bytearray, memoryview])
    def test_any_buffer_can_be_put(self, store: BlobStore, wrap: type) -> None:
        name = fresh()
        store.put(name, wrap(b"seven b"), soon())
        assert store.read(name, soon(), LIMIT) == b"seven b"

    def test_a_put_replaces_what_was_there(self, store: BlobStore) -> None:
        name = fresh()
        for data in (b"first", b"the second, longer", b"3"):
            store.put(name, data, soon())
            assert store.read(name, soon(), LIMIT) == data

    def test_putting_the_same_again_changes_nothing(self, store: BlobStore) -> None:
        name = fresh()
        for _ in range(2):
            store.put(name, b"same", soon())
        assert store.read(name, soon(), LIMIT) == b"same"
        assert [blob.size for blob in store.list(name, soon()).blobs] == [4]

    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [
            (0, None, b"0123456789"),
            (0, 1, b"0"),
            (3, 4, b"3456"),
            (9, 1, b"9"),
            (4, None, b"456789"),
            (8, 100, b"89"),
            (0, 100, b"0123456789"),
        ],
    )
    def test_a_range_gives_its_bytes_cut_at_the_end(
        self, store: BlobStore, offset: int, length: int | None, expected: bytes
    ) -> None:
        name = fresh()
        store.put(name, b"0123456789", soon())
        with store.get(name, soon(), offset, length) as reader:
            assert reader.size == len(expected)
            assert b"".join(reader.chunks(4)) == expected

    @pytest.mark.parametrize("offset", [10, 11, 1000])
    def test_a_range_behind_the_end_is_missing(self, store: BlobStore, offset: int) -> None:
        name = fresh()
        store.put(name, b"0123456789", soon())
        with pytest.raises(BlobMissing), store.get(name, soon(), offset, 5):
            pass
        with pytest.raises(BlobMissing), store.get(name, soon(), offset):
            pass

    def test_an_empty_blob_has_no_range(self, store: BlobStore) -> None:
        name = fresh()
        store.put(name, b"", soon())
        with store.get(name, soon()) as reader:
            assert list(reader.chunks(10)) == []
        with pytest.raises(BlobMissing), store.get(name, soon(), 0, 1):
            pass

    def test_an_answer_is_read_piece_by_piece(self, store: BlobStore) -> None:
        name, data = fresh(), bytes(range(256)) * 1024
        store.put(name, data, soon())
        got = bytearray(len(data))
        view = memoryview(got)
        with store.get(name, soon()) as reader:
            reader.readinto(view[:1])
            reader.readinto(view[1:100_000])
            rest = b"".join(reader.chunks(50_000))
        assert bytes(view[:100_000]) + rest == data

    def test_an_answer_left_midway_does_not_disturb_the_next(self, store: BlobStore) -> None:
        first, second = fresh(), fresh()
        store.put(first, b"a" * MIB, soon())
        store.put(second, b"b" * 1000, soon())
        for _ in range(5):
            with store.get(first, soon()) as reader:
                reader.readinto(memoryview(bytearray(10)))
            assert store.read(second, soon(), LIMIT) == b"b" * 1000

    def test_what_was_never_put_is_missing(self, store: BlobStore) -> None:
        with pytest.raises(BlobMissing):
            store.read(fresh(), soon(), LIMIT)
        with pytest.raises(BlobMissing):
            store.stat(fresh(), soon())
        with pytest.raises(BlobMissing), store.get(fresh(), soon(), 5, 5):
            pass

    def test_a_deleted_blob_is_missing_and_deleting_it_again_succeeds(self, store: BlobStore) -> None:
        name = fresh()
        store.put(name, b"x", soon())
        for _ in range(2):
            store.delete(name, soon())
            with pytest.raises(BlobMissing):
                store.read(name, soon(), LIMIT)

    def test_many_are_deleted_in_one_call_and_absent_ones_are_no_failure(self, store: BlobStore) -> None:
        names = [fresh() for _ in range(5)]
        for name in names[:3]:
            store.put(name, b"x", soon())
        assert store.delete_many(names[1:], soon()) == {}
        assert store.read(names[0], soon(), LIMIT) == b"x"
        for name in names[1:3]:
            with pytest.raises(BlobMissing):
                store.stat(name, soon())

    def test_a_listing_pages_through_all_names_in_byte_order(self, store: BlobStore) -> None:
        folder = f"many/{new_id()}/"
        names = [f"{folder}{number:04x}" for number in range(1030)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: store.put(name, name.encode(), soon()), names))
        first = store.list(folder, soon())
        assert [blob.name for blob in first.blobs] == names[:1000]
        assert first.next == names[999]
        second = store.list(folder, soon(), after=first.next)
        assert [blob.name for blob in second.blobs] == names[1000:]
        assert second.next is None
        assert {blob.size for blob in second.blobs} == {len(names[0])}
        assert store.delete_many(names[:1000], soon()) == {}
        assert [blob.name for blob in store.list(folder, soon()).blobs] == names[1000:]

    def test_small_pages_join_without_gap_or_repetition(self, store: BlobStore) -> None:
        folder = f"few/{new_id()}/"
        names = sorted(folder + tail for tail in ("00/a", "00/b", "01/a", "0a/z", "ff/0"))
        for name in reversed(names):
            store.put(name, b"", soon())
        seen: list[str] = []
        after: str | None = ""
        while after is not None:
            page = store.list(folder, soon(), after=after, limit=2)
            seen += [blob.name for blob in page.blobs]
            after = page.next
        assert seen == names
        assert list(store.list(f"{folder}99", soon()).blobs) == []
        assert [blob.name for blob in store.list(f"{folder}00/", soon()).blobs] == names[:2]

    def test_times_are_those_of_the_nodes_clock(self, store: BlobStore) -> None:
        name = fresh()
        before = store.clock(soon())
        store.put(name, b"x", soon())
        after = store.clock(soon())
        assert abs(before - time.time()) < 60
        assert before - 1 <= store.stat(name, soon()).modified <= after + 1
        assert before - 1 <= store.list(name, soon()).blobs[0].modified <= after + 1

    def test_making_the_bucket_again_keeps_what_is_in_it(self, store: BlobStore) -> None:
        name = fresh()
        store.put(name, b"kept", soon())
        store.create(soon())
        assert store.read(name, soon(), LIMIT) == b"kept"

    def test_a_deadline_that_is_over_stops_every_call(self, store: BlobStore) -> None:
        name = fresh()
        store.put(name, b"x", soon())
        over = Deadline(0)
        calls: list[Callable[[], object]] = [
            lambda: store.put(name, b"y", over),
            lambda: store.read(name, over, LIMIT),
            lambda: store.stat(name, over),
            lambda: store.delete(name, over),
            lambda: store.delete_many([name], over),
            lambda: store.list("", over),
            lambda: store.clock(over),
        ]
        for call in calls:
            with pytest.raises(NodeTimeout):
                call()
        assert store.read(name, soon(), LIMIT) == b"x"

    def test_a_call_that_was_cut_ends_so_and_leaves_the_store_usable(self, store: BlobStore) -> None:
        name = fresh()
        store.put(name, b"x", soon())
        cut = soon()
        cut.cut()
        with pytest.raises(CallCut):
            store.read(name, cut, LIMIT)
        with pytest.raises(CallCut), store.get(name, cut):
            pass
        assert store.read(name, soon(), LIMIT) == b"x"

    def test_when_an_answer_began_is_noted_and_nothing_is_late_before_its_time(self, store: BlobStore) -> None:
        name = fresh()
        late: list[int] = []
        store.put(name, b"x", soon())
        deadline = soon()
        deadline.when_late(5, lambda: late.append(1))
        before = time.monotonic()
        assert store.read(name, deadline, LIMIT) == b"x"
        assert deadline.began_at is not None
        assert (before <= deadline.began_at <= time.monotonic(), late) == (True, [])

    def test_sixteen_threads_get_each_their_own_bytes(self, store: BlobStore) -> None:
        def work(number: int) -> None:
            for turn in range(6):
                name, data = fresh(), f"{number}/{turn}".encode() * 5000
                store.put(name, data, soon())
                assert store.read(name, soon(), LIMIT) == data
                with store.get(name, soon(), 3, 7) as reader:
                    assert b"".join(reader.chunks(100)) == data[3:10]
                store.delete(name, soon())

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(work, range(16)))

    def test_closing_leaves_it_usable(self, store: BlobStore) -> None:
        name = fresh()
        store.put(name, b"x", soon())
        store.close()
        assert store.read(name, soon(), LIMIT) == b"x"
