"""One file out of a multipart form, streamed: its bytes go straight to the store, never to a disk.

The store must not commit before the form has ended properly, so the end of the file is told only after the closing
boundary was seen and the body was read to its end: a form that is cut off anywhere raises instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from urllib.parse import unquote_to_bytes

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from api.http.bodies import READ_BYTES, RequestBody
from common.errors import BodyCut, Malformed, TooLarge

FORM_OVERHEAD_BYTES = 1 << 20
PARTS_MAX = 64
_PART_HEADERS_MAX = 64 * 1024
_FILENAME = re.compile(r';\s*filename="((?:[^"\\]|\\"|\\)*)"', re.IGNORECASE)
_EXTENDED = re.compile(r";\s*filename\*=\s*\"?(utf-8|iso-8859-1)'[^']*'([^\";\s]+)", re.IGNORECASE)
_WORDS = re.compile(r"(=\?[^?\s]+\?[BQbq]\?[^?\s]*\?=\s*)+")
_BOUNDARY = re.compile(r"[ -~]{0,69}[!-~]")


class FormFile:
    """The file of field `field`, as the body of an upload. Opening it reads up to the file's first byte.

    Malformed: no multipart, no such field, more than one, no file name; in the language of the only door that takes
    forms. Other fields are read and ignored.
    """

    def __init__(self, request: Request, field: str, limit: int) -> None:
        self._field = field
        self._limit = limit
        self._size = 0
        self._body = RequestBody(request, limit + FORM_OVERHEAD_BYTES)
        decoder = MultipartDecoder(_boundary(request), READ_BYTES + _PART_HEADERS_MAX, max_parts=PARTS_MAX)
        self._events = self._decode(decoder)
        self.filename, self.content_type = self._find()
        self._data = b""
        self._more = True

    def readinto(self, buffer: memoryview) -> int:
        """Bytes of the file; 0 only once the whole form was read to its proper end."""
        while not self._data and self._more:
            self._next()
        count = min(len(buffer), len(self._data))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count

    def _next(self) -> None:
        event = next(self._events)
        assert isinstance(event, Data)
        self._size += len(event.data)
        if self._size > self._limit:
            raise TooLarge(f"an object has at most {self._limit} bytes")
        self._data = event.data
        if not event.more_data:
            self._more = False
            self._finish()

    def _find(self) -> tuple[str, str | None]:
        for event in self._events:
            if isinstance(event, File | Field) and event.name == self._field:
                if not isinstance(event, File) or not event.filename:
                    raise Malformed(self._field, "tiene que ser un archivo con nombre")
                return _filename(event), event.headers.get("Content-Type")
        raise Malformed(self._field, "falta este campo en el formulario")

    def _finish(self) -> None:
        for event in self._events:
            if isinstance(event, File | Field) and event.name == self._field:
                raise Malformed(self._field, "está más de una vez")

    def _decode(self, decoder: MultipartDecoder) -> Iterator[Event]:
        """All events up to the closing boundary, and then the rest of the body, which is ignored."""
        try:
            while True:
                event = decoder.next_event()
                if isinstance(event, NeedData):
                    data = self._body.read(READ_BYTES)
                    decoder.receive_data(data or None)
                    continue
                if isinstance(event, Epilogue):
                    return
                yield event
        except RequestEntityTooLarge:
            raise Malformed("body", "the form has too many parts, or too large part headers") from None
        except ValueError as error:
            if decoder.complete:
                raise BodyCut("the form ends before its closing boundary") from error
            raise Malformed("body", "is not a well-formed multipart form") from None


def _filename(event: File) -> str:
    """The name as it was meant.

    `filename*` (RFC 5987) is meant to win, wherever it stands. In `filename` browsers and curl escape only quotes, so a
    backslash is one of its characters; .NET writes an encoded word (RFC 2047) there, which is never a name.
    """
    disposition = event.headers["Content-Disposition"]
    extended = _EXTENDED.search(disposition)
    if extended is not None:
        return _decoded(extended[1].lower(), extended[2])
    found = _FILENAME.search(disposition)
    if found is None:
        return event.filename
    name = found[1].replace('\\"', '"').replace("%22", '"')
    return _unworded(name) if _WORDS.fullmatch(name) else name


def _decoded(charset: str, value: str) -> str:
    try:
        return unquote_to_bytes(value).decode(charset)
    except UnicodeError:
        raise Malformed("filename*", f"no es un nombre en {charset}") from None


def _unworded(name: str) -> str:
    try:
        return str(make_header(decode_header(name)))
    except (HeaderParseError, UnicodeError, LookupError):
        raise Malformed("filename", "no es un nombre que se pueda descifrar") from None


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.environ.get("CONTENT_TYPE", ""))
    if kind.lower() != "multipart/form-data":
        raise Malformed("Content-Type", "must be multipart/form-data")
    boundary = options.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise Malformed("Content-Type", "needs a boundary of 1 to 70 characters")
    return boundary.encode("ascii")
