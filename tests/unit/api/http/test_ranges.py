"""Several ranges of an object, against a plain model of RFC 9110, 14."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from api.http.ranges import RANGES_MAX, ByteRanges, parse
from common.blobstore.memory import MemoryStore
from common.crypto.envelope import CHUNK
from common.errors import RangeNotSatisfiable
from tests.unit.api.conftest import MakeApi
from tests.unit.api.world import ApiWorld

PATH = "/v1/buckets/casa/objects/rangos"
DATA = b"0123456789"

numbers = st.integers(0, 25)
specs = st.one_of(
    st.builds("{}-{}".format, numbers, numbers),
    st.builds("{}-".format, numbers),
    st.builds("-{}".format, numbers),
)
commas = st.sampled_from([",", ", ", " ,\t", ",,"])


def parts_of(content_type: str, body: bytes) -> list[Message]:
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    assert not message.defects
    return list(message.iter_parts())


def split(response: TestResponse) -> list[tuple[str, bytes]]:
    """The parts of an answer: Content-Range and bytes."""
    assert response.headers["Content-Length"] == str(len(response.data))
    return [
        (str(part["Content-Range"]), part.get_payload(decode=True))  # type: ignore[misc]
        for part in parts_of(response.headers["Content-Type"], response.data)
    ]


def model(wanted: Sequence[str], data: bytes) -> list[bytes] | str:
    """What the header means, position by position."""
    if len(wanted) > RANGES_MAX:
        return "whole"
    found: list[list[int]] = []
    for spec in wanted:
        first, _, last = spec.partition("-")
        if not first and not data and int(last):
            return "whole"
        if first and last and int(last) < int(first):
            return "whole"
        span = range(int(first), int(last or 99) + 1) if first else range(max(len(data) - int(last), 0), len(data))
        if positions := [position for position in span if position < len(data)]:
            found.append(positions)
    if not found:
        return "unsatisfiable"
    every = [position for positions in found for position in positions]
    return [bytes(data[i] for i in positions) for positions in found] if len(every) == len(set(every)) else "whole"


@given(st.lists(specs, min_size=1, max_size=RANGES_MAX + 2), commas, st.binary(max_size=20))
def test_ranges_mean_what_the_plain_model_says(wanted: list[str], comma: str, data: bytes) -> None:
    try:
        ranges = parse("bytes=" + comma.join(wanted), len(data))
    except RangeNotSatisfiable:
        assert model(wanted, data) == "unsatisfiable"
        return
    meant = "whole" if ranges is None else [data[start : start + length] for start, length in ranges]
    assert meant == model(wanted, data)


@given(st.text(alphabet="bytes=0123-, \t", max_size=30), st.integers(0, 30))
def test_any_text_is_ranges_inside_the_object_or_the_whole(text: str, size: int) -> None:
    try:
        ranges = parse(text, size)
    except RangeNotSatisfiable:
        return
    assert sum(length for _, length in ranges or ()) <= size
    assert all(0 <= start < start + length <= size for start, length in ranges or ())


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 9)), min_size=1, max_size=5), st.integers(1, 9))
def test_the_framed_body_has_the_announced_length_and_comes_apart_again(
    ranges: list[tuple[int, int]], cut: int
) -> None:
    data = bytes(range(97, 107)) * 11
    chunks = [
        data[i : min(i + cut, start + length)] for start, length in ranges for i in range(start, start + length, cut)
    ]
    framed = ByteRanges(ranges, len(data), [("Content-Type", "text/plain")], "b" * 32)
    body = b"".join(framed.frame(chunks))
    assert len(body) == len(framed)
    parts = parts_of(framed.content_type, body)
    assert [part.get_payload(decode=True) for part in parts] == [data[start : start + n] for start, n in ranges]
    assert [part["Content-Range"] for part in parts] == [f"bytes {s}-{s + n - 1}/110" for s, n in ranges]


def test_several_ranges_come_as_parts_in_the_order_asked_for(api: ApiWorld) -> None:
    headers = {"Content-Type": "text/x-saludo", "Content-Encoding": "gzip", "X-Meta-A": "b"}
    etag = api.client.put(PATH, data=DATA, headers=headers).headers["ETag"]
    response = api.client.get(PATH, headers={"Range": "bytes=-1, 0-1,20-,4-5"})
    assert response.status_code == 206
    assert split(response) == [("bytes 9-9/10", b"9"), ("bytes 0-1/10", b"01"), ("bytes 4-5/10", b"45")]
    for part in parts_of(response.headers["Content-Type"], response.data):
        assert (part["Content-Type"], part["Content-Encoding"]) == ("text/x-saludo", "gzip")
    assert "Content-Range" not in response.headers
    assert "Content-Encoding" not in response.headers  # it is that of the parts
    assert (response.headers["ETag"], response.headers["X-Meta-A"]) == (etag, "b")


@pytest.mark.parametrize(
    "text",
    [",".join(f"{2 * i}-{2 * i}" for i in range(RANGES_MAX + 1)), "0-5,3-8", "0-," * 9, "0-3,-8", "0-0,0-0"],
    ids=["too many", "overlapping", "the whole nine times", "suffix", "twice"],
)
def test_nobody_is_sent_more_than_the_whole(api: ApiWorld, text: str) -> None:
    api.client.put(PATH, data=DATA * 10)
    response = api.client.get(PATH, headers={"Range": f"bytes={text}"})
    if text == "0-3,-8":
        assert [data for _, data in split(response)] == [DATA[:4], (DATA * 10)[-8:]]
    else:
        assert (response.status_code, response.data) == (200, DATA * 10)


def test_if_range_of_another_version_has_the_whole_sent(api: ApiWorld) -> None:
    etag = api.client.put(PATH, data=DATA).headers["ETag"]
    asked = {"Range": "bytes=0-1,4-5"}
    assert api.client.get(PATH, headers={**asked, "If-Range": etag}).status_code == 206
    assert api.client.get(PATH, headers={**asked, "If-Range": '"other"'}).data == DATA


def test_only_the_chunks_of_the_ranges_are_read(make_api: MakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api = make_api(blob_size=4 * CHUNK)
    data = b"".join(bytes([number]) * CHUNK for number in range(12))
    api.client.put(PATH, data=data)
    read: list[tuple[int, int | None]] = []
    get = MemoryStore.get

    def counted(self: MemoryStore, name: str, deadline: object, offset: int = 0, length: int | None = None) -> object:
        read.append((offset, length))
        return get(self, name, deadline, offset, length)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryStore, "get", counted)
    last = 9 * CHUNK
    response = api.client.get(PATH, headers={"Range": f"bytes=5-6,{CHUNK - 1}-{CHUNK},{last}-{last + 9}"})
    assert [body for _, body in split(response)] == [b"\0\0", b"\0\1", b"\t" * 10]
    assert [round((length or 0) / CHUNK) for _, length in read] == [1, 2, 1]
