"""The Range header (RFC 9110, 14): which parts of an object are asked for, and how several are framed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from common.errors import RangeNotSatisfiable

RANGES_MAX = 16
Range = tuple[int, int]  # start, length

_UNIT = re.compile(r"\s*bytes\s*=", re.IGNORECASE)
_SPEC = re.compile(r"(\d{1,100})\s*-\s*(\d{0,100})|-\s*(\d{1,100})")


def parse(text: str, size: int) -> Sequence[Range] | None:
    """The ranges asked for, in their order, or None where the whole is to be sent.

    The whole: another unit, a syntax error, last before first, more than RANGES_MAX, ranges that overlap (nobody is to
    be sent more than the object), and a suffix of an empty object (which no Content-Range can express). Of several,
    those behind the end are left out. RangeNotSatisfiable: every one starts behind the end, or asks for the last 0.
    """
    unit = _UNIT.match(text)
    specs = [spec for part in text[unit.end() :].split(",") if (spec := part.strip())] if unit else []
    if not 1 <= len(specs) <= RANGES_MAX:
        return None
    ranges: list[Range] = []
    for spec in specs:
        found = _SPEC.fullmatch(spec)
        if found is None:
            return None
        first, last, suffix = found.groups()
        if suffix is not None:
            start, end = max(size - int(suffix), 0), size
            if size == 0 < int(suffix):
                return None
        else:
            start, end = int(first), min(int(last) + 1, size) if last else size
            if last and int(last) < start:
                return None
        if start < end:
            ranges.append((start, end - start))
    if not ranges:
        raise RangeNotSatisfiable(size)
    return None if _overlap(ranges) else ranges


def _overlap(ranges: Sequence[Range]) -> bool:
    ordered = sorted(ranges)
    return any(start + length > after for (start, length), (after, _) in pairwise(ordered))


def content_range(part: Range, size: int) -> str:
    start, length = part
    return f"bytes {start}-{start + length - 1}/{size}"


class ByteRanges:
    """Several ranges as multipart/byteranges (RFC 9110, 14.6). `headers`: what each part says of itself.

    `boundary` must not occur in the bytes.
    """

    def __init__(self, ranges: Sequence[Range], size: int, headers: Sequence[tuple[str, str]], boundary: str) -> None:
        self.content_type = f"multipart/byteranges; boundary={boundary}"
        self._ranges = ranges
        self._heads = [
            _head(f"\r\n--{boundary}", (*headers, ("Content-Range", content_range(part, size)))) for part in ranges
        ]
        self._end = f"\r\n--{boundary}--\r\n".encode()

    def __len__(self) -> int:
        return sum(map(len, self._heads)) + sum(length for _, length in self._ranges) + len(self._end)

    def frame(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The body around the ranges' bytes, of which no chunk reaches over a range's border."""
        following = iter(chunks)
        for head, (_, left) in zip(self._heads, self._ranges, strict=True):
            yield head
            while left:
                chunk = next(following)
                left -= len(chunk)
                yield chunk
        yield self._end


def _head(line: str, headers: Iterable[tuple[str, str]]) -> bytes:
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("latin-1")
