"""A node of a running cluster, looked at and damaged directly, behind Bóveda's back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from minio import Minio
from minio.error import S3Error


class DirectNode:
    """One row of `boveda cluster --json`, as an S3 client sees it."""

    def __init__(self, process: dict[str, Any]) -> None:
        keys = json.loads(Path(process["credentials"]).read_text())
        host = process["endpoint"].split("://")[1]
        self._client = Minio(host, keys["access_key"], keys["secret_key"], secure=False, region="us-east-1")
        self._bucket = process["bucket"]

    def names(self, prefix: str = "blobs/") -> set[str]:
        found = self._client.list_objects(self._bucket, prefix, recursive=True)
        return {str(item.object_name) for item in found}

    def read(self, name: str) -> bytes | None:
        """None if it is not there."""
        try:
            answer = self._client.get_object(self._bucket, name)
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()

    def write(self, name: str, data: bytes) -> None:
        self._client.put_object(self._bucket, name, io.BytesIO(data), len(data))

    def remove(self, name: str) -> None:
        self._client.remove_object(self._bucket, name)

    def flip(self, name: str, offset: int = -1) -> bytes:
        """Change one byte of a blob; what was there before."""
        before = self.read(name)
        assert before is not None
        damaged = bytearray(before)
        damaged[offset] ^= 1
        self.write(name, bytes(damaged))
        return before
