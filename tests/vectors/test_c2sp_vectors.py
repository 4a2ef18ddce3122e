"""The public vectors of the chunked-encryption construction, through the code that seals production blobs.

They lie outside of the repository, in ../shared/vectors; where that folder is not there, these tests skip.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from hashlib import sha512

import pytest

from common.crypto.stream import COMMITMENT, HEADER, SALT, ChunkCipher, Construction, Reader
from common.errors import IntegrityError
from tests.vectors.sources import SHARED, Json, c2sp, c2sp_case

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the folder ../shared/vectors is not there")

CONSTRUCTIONS = {
    bits: Construction(f"AEAD_AES_{bits}_GCM", bits // 8, 16 * 1024, b"c2sp.org/chunked-encryption@v1+")
    for bits in (128, 256)
}
CASES = 35
VALID = 10  # they come first


@pytest.fixture(params=range(1, CASES + 1))
def number(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=(128, 256))
def bits(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def case(bits: int, number: int) -> Json:
    return c2sp_case(bits, number)


@pytest.fixture(params=range(1, VALID + 1))
def valid(request: pytest.FixtureRequest, bits: int) -> Json:
    return c2sp_case(bits, request.param)


@pytest.fixture
def construction(bits: int) -> Construction:
    return CONSTRUCTIONS[bits]


def test_no_case_is_left_out(bits: int) -> None:
    (group,) = c2sp(bits)["testGroups"]
    results = [case["result"] for case in group["tests"]]
    assert [case["tcId"] for case in group["tests"]] == list(range(1, CASES + 1))
    assert results == ["valid"] * VALID + ["invalid"] * (CASES - VALID)
    assert group["aead"] == CONSTRUCTIONS[bits].aead
    assert group["sha"] == "SHA-512"


def opened(construction: Construction, case: Json) -> Reader:
    return Reader(construction, case["key"], case["ctx"], io.BytesIO(case["ct"]).read)


def chunks(reader: Reader) -> Iterator[bytes]:
    while (chunk := reader.read()) is not None:
        yield chunk


def test_streaming_releases_the_valid_front_and_nothing_else(construction: Construction, case: Json) -> None:
    released = sha512()
    length = 0
    try:
        for chunk in chunks(opened(construction, case)):
            released.update(chunk)
            length += len(chunk)
        failed = False
    except (IntegrityError, ValueError):
        failed = True

    assert failed == (case["result"] == "invalid")
    assert length == case.get("msgLength", 0)
    assert released.digest() == case.get("msgSha512", sha512().digest())


def test_a_failed_stream_keeps_failing(construction: Construction, case: Json) -> None:
    if case["result"] == "valid":
        reader = opened(construction, case)
        assert list(chunks(reader))
        assert reader.read() is None
    elif "HeaderFailure" in case["flags"]:
        with pytest.raises((IntegrityError, ValueError)):
            opened(construction, case)
    else:
        reader = opened(construction, case)
        with pytest.raises(IntegrityError):
            list(chunks(reader))
        for _ in range(2):
            with pytest.raises(IntegrityError):
                reader.read()


def test_the_header_alone_refuses_what_a_header_can_show(construction: Construction, case: Json) -> None:
    refused = False
    try:
        opened(construction, case)
    except (IntegrityError, ValueError):
        refused = True
    assert refused == ("HeaderFailure" in case["flags"])


class RandomAccess:
    """Reads any chunk of a sealed message by its place, as a range request does."""

    def __init__(self, construction: Construction, case: Json) -> None:
        sealed: bytes = case["ct"]
        if len(sealed) < HEADER:
            raise IntegrityError("the header is cut off")
        self.construction = construction
        self.cipher = construction.derive(case["key"], sealed[:SALT], case["ctx"])
        self.cipher.check(sealed[SALT:HEADER])
        self.body = memoryview(sealed)[HEADER:]

    def length(self) -> int:
        """The plaintext's length, proved by its last chunk."""
        length = self.construction.plain_length(len(self.body))
        last = self.chunk(self.construction.last(length))
        assert len(last) == length % self.construction.chunk
        return length

    def chunk(self, index: int) -> bytes:
        start = index * self.construction.sealed_chunk
        return self.cipher.open(index, self.body[start : start + self.construction.sealed_chunk])

    def whole(self) -> bytes:
        """Back to front, so that nothing can depend on the order."""
        last = self.construction.last(self.length())
        return b"".join(reversed([self.chunk(index) for index in range(last, -1, -1)]))


def test_random_access_reads_all_of_a_valid_message_and_none_of_another(construction: Construction, case: Json) -> None:
    if case["result"] == "valid":
        assert sha512(RandomAccess(construction, case).whole()).digest() == case["msgSha512"]
    else:
        with pytest.raises((IntegrityError, ValueError)):
            RandomAccess(construction, case).whole()


def test_random_access_proves_the_length_where_the_last_chunk_is_good(construction: Construction, case: Json) -> None:
    if case["result"] == "valid":
        assert RandomAccess(construction, case).length() == case["msgLength"]
    elif "ValidFinalChunk" in case["flags"]:
        RandomAccess(construction, case).length()
    else:
        with pytest.raises((IntegrityError, ValueError)):
            RandomAccess(construction, case).length()


def test_random_access_reads_the_good_chunks_of_a_message_that_is_bad_elsewhere(bits: int) -> None:
    partial = 0
    for number in range(VALID + 1, CASES + 1):
        case = c2sp_case(bits, number)
        if "PartialPlaintext" not in case["flags"]:
            continue
        partial += 1
        reader = RandomAccess(CONSTRUCTIONS[bits], case)
        good = [reader.chunk(index) for index in range(case["msgLength"] // reader.construction.chunk)]
        assert sha512(b"".join(good)).digest() == case["msgSha512"]
    assert partial == 9


def seal(construction: Construction, cipher: ChunkCipher, plain: bytes) -> bytes:
    out = memoryview(bytearray(construction.body_length(len(plain))))
    at = 0
    for index in range(construction.last(len(plain)) + 1):
        chunk = plain[index * construction.chunk : (index + 1) * construction.chunk]
        at += cipher.seal(index, chunk, out[at:])
    assert at == len(out)
    return bytes(out)


def test_sealing_a_valid_message_again_gives_the_same_bytes(construction: Construction, valid: Json) -> None:
    reader = RandomAccess(construction, valid)
    salt = valid["ct"][:SALT]
    body = seal(construction, reader.cipher, reader.whole())
    assert salt + reader.cipher.commitment + body == valid["ct"]


def test_the_derived_keys_are_those_of_the_vectors(construction: Construction, valid: Json) -> None:
    """The vectors name AEAD key and base nonce: with these instead of derived ones, the chunks are the same."""
    raw = ChunkCipher(valid["aeadKey"], valid["baseNonce"], bytes(COMMITMENT))
    plain = RandomAccess(construction, valid).whole()
    assert seal(construction, raw, plain) == valid["ct"][HEADER:]
