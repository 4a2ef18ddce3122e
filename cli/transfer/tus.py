"""The requests of an upload over several (docs/uploads.md), each sent once, and what their answers mean."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from urllib3.response import BaseHTTPResponse

from cli.client.address import Address
from cli.client.http import Client, Foreign
from cli.transfer.streams import UploadBody

UPLOAD = re.compile(r"/v1/uploads/[A-Za-z0-9-]{1,64}")
GONE = (404, 410)
HELD = 409  # by another request, or it stands elsewhere than was said
CHECKSUM = 460  # the bytes that came are not those of the checksum
_VERSION = {"Tus-Resumable": "1.0.0"}


@dataclass(frozen=True, slots=True)
class UploadState:
    """What the store has: so many bytes, and with all of them the object of this ETag."""

    offset: int
    etag: str | None


class Tus:
    """Uploads of `length` bytes. All of it raises what `Client` does."""

    def __init__(self, client: Client, length: int) -> None:
        self._client = client
        self._length = length

    def begin(self, target: Address, headers: Mapping[str, str]) -> str:
        """A new upload's address. `headers` are those of a PUT of the same object."""
        values = {"bucket": target.bucket, "key": target.key, "content_type": headers["Content-Type"]}
        names = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in values.items())
        sent = {name: value for name, value in headers.items() if name != "Content-Type"}
        sent |= {**_VERSION, "Upload-Length": str(self._length), "Upload-Metadata": names}
        answer = self._client.send("POST", "/v1/uploads", headers=sent)
        self._finish(answer)
        found = UPLOAD.search(answer.headers.get("Location", ""))
        if found is None:
            raise self._foreign("no address of the upload")
        return found[0]

    def look(self, upload: str) -> UploadState:
        return self._state(self._client.send("HEAD", upload, headers=_VERSION))

    def append(self, upload: str, offset: int, length: int, checksum: str, body: UploadBody) -> UploadState:
        """Send these bytes; none of them counts if this raises, and any may if the answer was lost."""
        headers = {
            **_VERSION,
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(length),
            "Upload-Offset": str(offset),
            "Upload-Checksum": checksum,
        }
        now = self._state(self._client.send("PATCH", upload, headers=headers, body=body))
        if now.offset != offset + length:
            raise self._foreign("it took another number of bytes than it was sent")
        return now

    def end(self, upload: str) -> None:
        self._finish(self._client.send("DELETE", upload, headers=_VERSION))

    def _state(self, answer: BaseHTTPResponse) -> UploadState:
        self._finish(answer)
        offset, etag = answer.headers.get("Upload-Offset", ""), answer.headers.get("ETag")
        if not (offset.isascii() and offset.isdigit()) or (int(offset) < self._length) != (etag is None):
            raise self._foreign("no offset of the upload, or with all bytes no version of the object")
        return UploadState(int(offset), etag)

    def _finish(self, answer: BaseHTTPResponse) -> None:
        for _ in self._client.chunks(answer):
            continue

    def _foreign(self, what: str) -> Foreign:
        return Foreign(f"what answers at {self._client.url} is not a Bóveda API ({what})")
