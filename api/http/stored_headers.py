"""The headers that are stored with an object and returned with it: Content-*, Cache-Control, X-Meta-*."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Request

from common.errors import Malformed, NotAllowed
from common.model.versions import METADATA_BYTES_MAX, Headers

_META = "HTTP_X_META_"
_STORED = {
    "content_type": ("CONTENT_TYPE", "Content-Type"),
    "content_encoding": ("HTTP_CONTENT_ENCODING", "Content-Encoding"),
    "content_language": ("HTTP_CONTENT_LANGUAGE", "Content-Language"),
    "content_disposition": ("HTTP_CONTENT_DISPOSITION", "Content-Disposition"),
    "cache_control": ("HTTP_CACHE_CONTROL", "Cache-Control"),
}
STORED = tuple(name for _, name in _STORED.values())
_DEFAULT = Headers()


def headers_of(request: Request) -> Headers:
    """What the client says about the body. WSGI's latin-1 is turned into the UTF-8 that was meant."""
    environ = request.environ
    values: dict[str, str] = {}
    for field, (variable, name) in _STORED.items():
        value = environ.get(variable)
        if value:
            values[field] = _text(name, value)
    return stored_headers(values, metadata_of(request))


def metadata_of(request: Request) -> dict[str, str]:
    """The X-Meta-* by their names behind the dash."""
    metadata = {}
    for variable, value in request.environ.items():
        if variable.startswith(_META):
            name = variable[len(_META) :].replace("_", "-").lower()
            if not name:
                raise NotAllowed("X-Meta-", "needs a name behind the dash")
            metadata[name] = _text(f"X-Meta-{name}", value)
    return metadata


def stored_headers(values: Mapping[str, str], metadata: Mapping[str, str]) -> Headers:
    """`values` by their fields in `Headers`. NotAllowed if all that is too much."""
    if not values and not metadata:
        return _DEFAULT
    _check_size(values, metadata)
    return Headers(**values, metadata=metadata)


def as_headers(headers: Headers) -> list[tuple[str, str]]:
    """The stored ones as the answer's headers, Content-Type first."""
    pairs = [("Content-Type", _wire(headers.content_type))]
    for field, (_variable, name) in _STORED.items():
        if field != "content_type" and (value := getattr(headers, field)) is not None:
            pairs.append((name, _wire(value)))
    pairs += [(f"X-Meta-{name}", _wire(value)) for name, value in headers.metadata.items()]
    return pairs


def _check_size(values: Mapping[str, str], metadata: Mapping[str, str]) -> None:
    size = sum(len(value.encode()) for value in values.values())
    size += sum(len(name) + len(value.encode()) for name, value in metadata.items())
    if size > METADATA_BYTES_MAX:
        field = "X-Meta-*" if metadata else "Content-Type"
        raise NotAllowed(field, f"stored headers may have {METADATA_BYTES_MAX} bytes in all, these have {size}")


def _text(field: str, value: str) -> str:
    try:
        text = value.encode("latin-1").decode()
    except UnicodeError:
        raise Malformed(field, "must be UTF-8") from None
    return check_text(field, text)


def check_text(field: str, text: str) -> str:
    if any((ord(character) < 32 and character != "\t") or ord(character) == 127 for character in text):
        raise Malformed(field, "must not contain control characters")
    return text


def _wire(value: str) -> str:
    return value.encode().decode("latin-1")
