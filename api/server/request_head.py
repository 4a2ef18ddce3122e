"""A request's head as gunicorn reads it, but for two things that it would refuse or lose in silence, and a bound.

A target with other than ASCII bytes is what `curl` makes of `…/descargar/año.txt`: it is taken as if each of these were
percent-encoded. A header with an underscore is dropped, because WSGI cannot tell it from a dash: one that was to be
stored is refused by name instead. Trailers may have no more bytes than a head, however many headers are allowed.
"""

from __future__ import annotations

import re
from typing import Any

from gunicorn.http import errors as http_errors
from gunicorn.http.message import Request

from api.server.unreader import HEAD_BYTES_MAX

_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_STORED = b"x-meta-"


class UnusableHeader(http_errors.ParseException):  # type: ignore[misc]
    """A header to be stored that cannot be; the message says which."""


class RequestHead(Request):  # type: ignore[misc]
    def parse_request_line(self, line_bytes: bytes) -> None:
        method, space, rest = line_bytes.partition(b" ")
        if not rest.isascii():
            target, last_space, version = rest.rpartition(b" ")
            target = _NOT_ASCII.sub(lambda byte: b"%%%02X" % ord(byte[0]), target)
            line_bytes = method + space + target + last_space + version
        super().parse_request_line(line_bytes)

    def set_body_reader(self) -> None:
        self.max_buffer_headers = HEAD_BYTES_MAX
        super().set_body_reader()

    def parse_headers(self, data: bytes, from_trailer: bool = False) -> Any:
        if b"_" in data and not from_trailer:
            for line in data.split(b"\r\n"):
                name = line.partition(b":")[0]
                if b"_" in name and name.lower().replace(b"_", b"-").startswith(_STORED):
                    raise UnusableHeader(f"{name.decode('latin-1')}: write it with dashes instead of underscores")
        return super().parse_headers(data, from_trailer)
