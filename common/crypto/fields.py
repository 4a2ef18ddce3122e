"""Several values as one byte string that can be read in one way only: each field behind its length. Pure."""

from __future__ import annotations


def fields(*values: str | bytes | int) -> bytes:
    """Each value as a 32-bit big-endian length and its bytes: text in UTF-8, a number as 64 bits big-endian.

    Strings of different fields are always different, so what is authenticated under one meaning cannot pass for
    another. OverflowError for a number that is negative or does not fit.
    """
    encoded = [_encode(value) for value in values]
    return b"".join(len(value).to_bytes(4) + value for value in encoded)


def _encode(value: str | bytes | int) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return value.to_bytes(8) if isinstance(value, int) else value
