"""Presigned addresses (SigV4, UNSIGNED-PAYLOAD) of one S3 service, as minio-py makes them.

The key that signs depends on the day alone; minio-py derives it anew for each address, which with its parsing of what
was joined just before is most of what an address costs.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from hashlib import sha256

from minio.credentials.credentials import Credentials
from minio.helpers import queryencode
from minio.signer import get_credential_string


class Signer:
    """Safe across threads. `authority`: host and port as the Host header names them."""

    def __init__(self, credentials: Credentials, region: str, authority: str, expires: int) -> None:
        self._credentials = credentials
        self._region = region
        self._authority = authority
        self._expires = expires
        self._today: tuple[str, bytes, str, str] = ("", b"", "", "")  # day, its key, its scope, query up to the time

    def target(
        self, method: str, path: str, query: str, now: datetime | None = None, header: tuple[str, str] | None = None
    ) -> str:
        """The request target: path, `query` (encoded parameters, each with its `=`), and the signature over them.

        `header`: one that is sent beside Host and signed too, its name in lower case and behind "host" in order.
        """
        date = now or datetime.now(UTC)
        moment = f"{date:%Y%m%dT%H%M%SZ}"
        day, key, scope, front = self._today
        if day != moment[:8]:
            day, key, scope, front = self._today = self._of_day(moment[:8], date)
        lines, names, quoted = f"host:{self._authority}\n", "host", "host"
        if header is not None:
            lines, names, quoted = f"{lines}{header[0]}:{header[1]}\n", f"host;{header[0]}", f"host%3B{header[0]}"
        own = f"{front}&X-Amz-Date={moment}&X-Amz-Expires={self._expires}&X-Amz-SignedHeaders={quoted}"
        asked = f"{query}&{own}" if query else own
        canonical = "&".join(sorted(asked.split("&"))) if query else own
        request = f"{method}\n{path}\n{canonical}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
        digest = sha256(request.encode()).hexdigest()
        signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}".encode(), "sha256").hex()
        return f"{path}?{asked}&X-Amz-Signature={signature}"

    def _of_day(self, day: str, date: datetime) -> tuple[str, bytes, str, str]:
        credential = get_credential_string(self._credentials.access_key, date, self._region)
        scope = credential.removeprefix(f"{self._credentials.access_key}/")
        key = f"AWS4{self._credentials.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return day, key, scope, f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={queryencode(credential)}"
