"""The Range header (RFC 9110, 14): one range of bytes. Pure."""

from __future__ import annotations

import re

from common.errors import RangeNotSatisfiable

_SINGLE = re.compile(r"\s*bytes\s*=[\s,]*(?:(\d{1,100})\s*-\s*(\d{0,100})|-\s*(\d{1,100}))[\s,]*", re.IGNORECASE)


def parse(text: str | None, size: int) -> tuple[int, int] | None:
    """(start, length) of the range asked for, or None where the whole is to be sent.

    The whole: no header, another unit, a syntax error, last before first, several ranges, and a suffix of an empty
    object (which no Content-Range can express). RangeNotSatisfiable: it starts behind the end, or asks for the last 0.
    """
    found = _SINGLE.fullmatch(text) if text is not None else None
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        length = min(int(suffix), size)
        if int(suffix) == 0:
            raise RangeNotSatisfiable(size)
        return (size - length, length) if length else None
    start = int(first)
    end = int(last) if last else size - 1
    if last and end < start:
        return None
    if start >= size:
        raise RangeNotSatisfiable(size)
    return start, min(end, size - 1) - start + 1
