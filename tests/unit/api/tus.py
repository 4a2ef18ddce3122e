"""A client of tus that says exactly what it is told to."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

UPLOADS = "/v1/uploads"
BYTES = "application/offset+octet-stream"
Given = Mapping[str, str] | None


def metadata(**values: str) -> str:
    return ",".join(f"{name} {b64encode(value.encode()).decode()}" for name, value in values.items())


class Tus:
    def __init__(self, client: FlaskClient, **headers: str) -> None:
        self._client = client
        self._headers = {"Tus-Resumable": "1.0.0", **headers}

    def create(
        self, length: int, key: str = "a", *, data: bytes = b"", headers: Given = None, **more: str
    ) -> TestResponse:
        given = {"Upload-Length": str(length), "Upload-Metadata": metadata(bucket="casa", key=key)}
        if data:
            given["Content-Type"] = BYTES
        return self.ask("POST", UPLOADS, data=data, headers={**given, **_dashed(more), **(headers or {})})

    def begin(self, length: int, key: str = "a", *, headers: Given = None, **more: str) -> str:
        """The address of a new upload."""
        created = self.create(length, key, headers={**_dashed(more), **(headers or {})})
        assert created.status_code == 201, created.data
        return str(created.headers["Location"])

    def patch(self, url: str, offset: int, data: Any = b"", **headers: str) -> TestResponse:
        given = {"Upload-Offset": str(offset), "Content-Type": BYTES}
        return self.ask("PATCH", url, data=data, headers=given | _dashed(headers))

    def head(self, url: str) -> TestResponse:
        return self.ask("HEAD", url)

    def offset(self, url: str) -> int:
        answer = self.head(url)
        assert answer.status_code == 200, answer.status
        return int(answer.headers["Upload-Offset"])

    def delete(self, url: str) -> TestResponse:
        return self.ask("DELETE", url)

    def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> TestResponse:
        return self._client.open(path, method=method, headers=self._headers | (headers or {}), **options)


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
