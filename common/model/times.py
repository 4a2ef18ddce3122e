"""Times as text (RFC 3339). Inside, they are seconds since the epoch, UTC (float)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def rfc3339(when: float | None) -> str | None:
    return None if when is None else datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> float:
    """Seconds since the epoch of a time as in RFC 3339, with its offset; ValueError."""
    if not _RFC3339.fullmatch(text):
        raise ValueError("not a time as in RFC 3339")
    return datetime.fromisoformat(text.upper()).timestamp()
