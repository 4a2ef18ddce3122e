"""The blob as a law: what is split and sealed comes back joined, whole or in any part, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.crypto.envelope import CHUNK, OVERHEAD_HEADER, BlobOpener, BlobSealer, cipher_length, span
from common.errors import IntegrityError

DEK = bytes(range(32))
VERSION = "0198c0ffee00712ab1e50123456789ab"
BORDERS = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK)
SOURCE = bytes(range(251)) * (BORDERS[-1] // 251 + 1)
lengths = st.sampled_from(BORDERS) | st.integers(0, 3 * CHUNK)


def seal(plain: bytes | memoryview, number: int = 0) -> tuple[bytes, bytes]:
    """A blob and its salt."""
    out = bytearray(cipher_length(len(plain)))
    sealer = BlobSealer(DEK, VERSION, number, memoryview(out))
    for start in range(0, len(plain), CHUNK):
        sealer.write(plain[start : start + CHUNK])
    assert sealer.finish() == len(out)
    return bytes(out), sealer.salt


def read(blob: bytes, salt: bytes, plain_length: int, start: int, length: int) -> bytes:
    part = span(plain_length, start, length)
    opener = BlobOpener(DEK, VERSION, 0, salt, plain_length)
    sealed = memoryview(blob)[part.offset : part.offset + part.length]
    plain = b""
    for index in range(part.first, part.first + part.count):
        size = opener.sealed_size(index)
        plain += opener.open(index, sealed[:size])
        sealed = sealed[size:]
    assert not sealed
    return plain[part.skip : part.skip + length]


def read_whole(blob: bytes, salt: bytes, plain_length: int) -> bytes:
    BlobOpener(DEK, VERSION, 0, salt, plain_length).check_header(blob[:OVERHEAD_HEADER])
    return read(blob, salt, plain_length, 0, plain_length)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), plain_length=lengths)
def test_any_range_of_any_blob_comes_back_as_it_went_in(data: st.DataObject, plain_length: int) -> None:
    plain = memoryview(SOURCE)[:plain_length]
    blob, salt = seal(plain)
    start = data.draw(st.integers(0, plain_length), label="start")
    length = data.draw(st.integers(0, plain_length - start), label="length")

    assert read_whole(blob, salt, plain_length) == plain
    assert read(blob, salt, plain_length, start, length) == plain[start : start + length]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), plain_length=st.sampled_from(BORDERS) | st.integers(0, 1 << 40))
def test_a_span_covers_its_range_and_no_chunk_more(data: st.DataObject, plain_length: int) -> None:
    start = data.draw(st.integers(0, plain_length), label="start")
    length = data.draw(st.integers(0, plain_length - start), label="length")
    part = span(plain_length, start, length)

    assert part.count >= 1
    assert part.first * CHUNK + part.skip == start
    assert part.offset == OVERHEAD_HEADER + part.first * (CHUNK + 16)
    assert part.offset + part.length <= cipher_length(plain_length)
    end = (part.first + part.count) * CHUNK
    assert end >= start + length
    if start + length == plain_length:
        assert part.offset + part.length == cipher_length(plain_length)
    elif length:
        assert end - CHUNK < start + length


@settings(max_examples=60, deadline=None)
@given(data=st.data(), plain_length=st.sampled_from((0, 1, 100, CHUNK, CHUNK + 1)))
def test_no_changed_byte_of_a_blob_goes_unseen(data: st.DataObject, plain_length: int) -> None:
    blob, salt = seal(memoryview(SOURCE)[:plain_length])
    wrong = bytearray(blob)
    wrong[data.draw(st.integers(0, len(blob) - 1), label="offset")] ^= data.draw(st.integers(1, 255), label="mask")
    with pytest.raises(IntegrityError):
        read_whole(bytes(wrong), salt, plain_length)


def test_each_sealing_draws_its_own_salt_and_shares_no_byte_of_key_stream() -> None:
    first, second = seal(bytes(64)), seal(bytes(64))
    assert first[1] != second[1]
    assert first[0][OVERHEAD_HEADER:] != second[0][OVERHEAD_HEADER:]


@pytest.mark.parametrize("late", [b"", b"x", bytes(CHUNK)])
def test_nothing_is_sealed_behind_the_short_chunk(late: bytes) -> None:
    sealer = BlobSealer(DEK, VERSION, 0, memoryview(bytearray(3 * CHUNK)))
    sealer.write(b"short")
    with pytest.raises(ValueError, match="whole chunks"):
        sealer.write(late)
    assert sealer.finish() == cipher_length(5)


def test_a_chunk_that_is_too_long_or_does_not_fit_is_refused() -> None:
    out = bytearray(cipher_length(10))
    sealer = BlobSealer(DEK, VERSION, 0, memoryview(out))
    with pytest.raises(ValueError, match="whole chunks"):
        sealer.write(bytes(CHUNK + 1))
    with pytest.raises(ValueError, match="does not fit"):
        sealer.write(bytes(11))
    sealer.write(bytes(10))
    assert sealer.finish() == len(out)


def test_sealing_leaves_the_rest_of_a_larger_buffer_alone() -> None:
    out = bytearray(b"\xee" * (cipher_length(CHUNK) + 5))
    sealer = BlobSealer(DEK, VERSION, 0, memoryview(out))
    sealer.write(bytes(CHUNK))
    assert sealer.finish() == cipher_length(CHUNK)
    assert out[-5:] == b"\xee" * 5


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, 11), (11, 0), (10, 1), (0, -1)])
def test_a_range_outside_of_the_blob_is_refused(start: int, length: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        span(10, start, length)


@pytest.mark.parametrize("index", [-1, 1, 2])
def test_a_chunk_that_the_blob_does_not_have_is_refused(index: int) -> None:
    with pytest.raises(IntegrityError):
        BlobOpener(DEK, VERSION, 0, bytes(24), 10).open(index, bytes(26))


@pytest.mark.parametrize("size", [0, 71, 73])
def test_a_header_of_another_length_is_refused(size: int) -> None:
    blob, salt = seal(bytes(100))
    with pytest.raises(IntegrityError):
        BlobOpener(DEK, VERSION, 0, salt, 100).check_header(blob[:size])


@pytest.mark.parametrize("dek", [b"", bytes(16), bytes(31), bytes(33)])
def test_a_data_key_of_another_size_is_refused(dek: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        BlobSealer(dek, VERSION, 0, memoryview(bytearray(100)))
