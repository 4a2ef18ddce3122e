"""Bodies of requests: streamed ones counted byte by byte, JSON ones read whole and validated.

A body cut short of its Content-Length looks like a clean end of file to WSGI, so the bytes are counted here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from flask import Request
from gunicorn.http.errors import ParseException
from pydantic import BaseModel, ValidationError

from api.http.routing import decode_name
from common.errors import BodyCut, BodyTimeout, Malformed, NotAllowed, TooLarge

READ_BYTES = 256 * 1024
JSON_BYTES_MAX = 64 * 1024
_LENGTH = re.compile(r"\d{1,18}")
_COUNT = re.compile(r"-?\d{1,9}")

Model = TypeVar("Model", bound=BaseModel)
T = TypeVar("T")


class RequestBody:
    """The body as `api/store/store_object.py` reads it. `length` None: chunked, its end is seen only when it comes.

    TooLarge at once when the announced length is over `limit`.
    """

    def __init__(self, request: Request, limit: int) -> None:
        self._stream = request.stream
        self._exchange = getattr(request.stream, "exchange", None)
        self._limit = limit
        self.length = announced_length(request)
        self.received = 0
        if self.length is not None and self.length > limit:
            raise TooLarge(f"the body may have at most {limit} bytes")

    def readinto(self, buffer: memoryview) -> int:
        """How many bytes were put there, 0 at the end. BodyCut, BodyTimeout, TooLarge."""
        if self._exchange is not None and len(buffer):
            count = self._receive(partial(self._exchange.readinto, buffer))
            if count is not None:
                return self._counted(count, 1)
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, most: int) -> bytes:
        """Up to `most` bytes, b"" at the end. BodyCut, BodyTimeout, TooLarge."""
        most = min(most, READ_BYTES)
        if self.length is not None:
            most = min(most, self.length - self.received)
        if most == 0:
            return b""
        data = self._receive(partial(self._stream.read, most))
        self._counted(len(data), most)
        return data

    def _counted(self, count: int, least: int) -> int:
        """`least`: fewer of an announced body are a cut one, unless it is all there."""
        self.received += count
        if self.length is not None and count < least and self.received < self.length:
            raise BodyCut(f"the body ended after {self.received} of {self.length} bytes")
        if self.received > self._limit:
            raise TooLarge(f"the body may have at most {self._limit} bytes")
        return count

    def _receive(self, receive: Callable[[], T]) -> T:
        try:
            return receive()
        except TimeoutError as error:
            raise BodyTimeout(str(error)) from None
        except (OSError, ParseException):  # reset, or a chunked body that ends or goes wrong midway
            raise BodyCut("the body was cut off") from None


def announced_length(request: Request) -> int | None:
    """The Content-Length; None for a chunked body; without either there is no body (RFC 9112, 6.3)."""
    text = request.environ.get("CONTENT_LENGTH", "")
    if text:
        if not _LENGTH.fullmatch(text):
            raise Malformed("Content-Length", "must be a number")
        return int(text)
    coding = request.environ.get("HTTP_TRANSFER_ENCODING")
    if coding is None:
        return 0
    if coding.strip().lower() != "chunked":
        raise Malformed("Transfer-Encoding", "can only be chunked")  # what else it names would be stored as it came
    return None


def write_copies(request: Request) -> int | None:
    """X-Write-Copies: on how many nodes the body is to be before it is acknowledged."""
    text = request.environ.get("HTTP_X_WRITE_COPIES")
    if text is None:
        return None
    if not _COUNT.fullmatch(text):
        raise Malformed("X-Write-Copies", "must be a number")
    if int(text) < 1:
        raise NotAllowed("X-Write-Copies", "must be at least 1")
    return int(text)


def read_json(request: Request, model: type[Model]) -> Model:
    """The body as a model. No body counts as `{}`. Malformed if it is no JSON, NotAllowed naming the first field."""
    body = RequestBody(request, JSON_BYTES_MAX)
    pieces = []
    while data := body.read(READ_BYTES):
        pieces.append(data)
    try:
        return model.model_validate_json(b"".join(pieces) or b"{}", strict=True)
    except ValidationError as error:
        raise _first(error, "body") from None


def read_query(request: Request, model: type[Model]) -> Model:
    """The query string as a model, with strict UTF-8 and no parameter twice."""
    values: dict[str, str] = {}
    for name, value in _pairs(request.environ.get("QUERY_STRING", "")):
        if name in values:
            raise NotAllowed(name, "is there more than once")
        values[name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _first(error, "query") from None


def _pairs(query: str) -> list[tuple[str, str]]:
    pairs = []
    for part in filter(None, query.split("&")):
        name, value = (text.replace("+", " ") for text in part.partition("=")[::2])
        field = unquote_to_bytes(name).decode("ascii", "replace")
        pairs.append((decode_name(field, name), decode_name(field, value)))
    return pairs


def _first(error: ValidationError, whole: str) -> Malformed | NotAllowed:
    item = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in item["loc"]) or whole
    kind = item["type"]
    if kind == "json_invalid":
        return Malformed(whole, "is not valid JSON")
    message = "is not known here" if kind == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
    return Malformed(field, message) if kind in ("int_parsing", "float_parsing") else NotAllowed(field, message)
