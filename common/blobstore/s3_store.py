"""A node over core S3: MinIO, SeaweedFS, Ceph, AWS. Path-style addresses, one bucket.

Every request is a presigned address (`presigned`), sent by `http.Transport`: no body is hashed for it, since a blob
carries its own authentication and digest. A put has a CRC-32 beside it, which the node compares with what came: bits
that were changed on the way are not acknowledged. It costs a sixth of what Content-MD5 would.
"""

from __future__ import annotations

import base64
import hashlib
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

from minio.credentials.credentials import Credentials

from common.blobstore import s3_documents
from common.blobstore.base import BlobInfo, Bytes, Deadline, Page, check_length
from common.blobstore.credentials import read_credentials
from common.blobstore.http import Answer, Transport
from common.blobstore.presigned import Signer
from common.errors import BlobMissing, BlobStoreError, BucketMissing, ConfigurationError, NodeError, NodeRefused
from common.model.nodes import NodeSpec

CHECKSUM = "x-amz-checksum-crc32"
EXPIRES = 900  # seconds; also how far a node's clock may be ahead of ours, which is what S3 servers allow anyway


def open_store(spec: NodeSpec, credentials: Path) -> S3Store:
    """The store of a node whose credentials file (JSON: access_key, secret_key) is given. ConfigurationError."""
    try:
        return S3Store(spec, *read_credentials(credentials))
    except ConfigurationError as error:
        raise ConfigurationError(f"node {spec.name}: {error.detail}") from None
    except ValueError:
        raise ConfigurationError(f"node {spec.name}: its endpoint is no http(s)://host:port") from None


class S3Store:
    """BlobStore over S3."""

    def __init__(self, spec: NodeSpec, access_key: str, secret_key: str) -> None:
        self._transport = Transport(spec.endpoint)
        self._region = spec.region
        self._signer = Signer(Credentials(access_key, secret_key), spec.region, self._transport.authority, EXPIRES)
        self._bucket = f"/{quote(spec.bucket)}"

    def put(self, name: str, data: Bytes, deadline: Deadline) -> None:
        checksum = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        self._done("PUT", self._path(name), deadline, data, (CHECKSUM, checksum))

    @contextmanager
    def get(self, name: str, deadline: Deadline, offset: int = 0, length: int | None = None) -> Iterator[Answer]:
        ranged = offset > 0 or length is not None
        last = "" if length is None else str(offset + length - 1)
        headers = f"Range: bytes={offset}-{last}\r\n" if ranged else ""
        with self._send("GET", self._path(name), deadline, headers=headers) as answer:
            if answer.size < 0:
                raise NodeError("the node did not say how long its answer is", answered=True)
            if ranged:
                s3_documents.check_range(answer.headers.get("content-range", ""), offset, length, answer.size)
            yield answer

    def read(self, name: str, deadline: Deadline, limit: int) -> bytes:
        with self.get(name, deadline) as reader:
            check_length(reader.size, limit)
            return reader.body(limit)

    def stat(self, name: str, deadline: Deadline) -> BlobInfo:
        try:
            with self._send("HEAD", self._path(name), deadline) as answer:
                size, modified = answer.headers.get("content-length"), answer.headers.get("last-modified")
        except BlobMissing:
            self.clock(deadline)  # an answer to HEAD has no words: without its bucket the node refuses here
            raise
        return BlobInfo(name, s3_documents.size(size), s3_documents.http_date(modified))

    def delete(self, name: str, deadline: Deadline) -> None:
        try:
            self._done("DELETE", self._path(name), deadline)
        except BlobMissing:
            return

    def delete_many(self, names: Sequence[str], deadline: Deadline) -> Mapping[str, str]:
        items = "".join(f"<Object><Key>{escape(name)}</Key></Object>" for name in names)
        body = f"<Delete><Quiet>true</Quiet>{items}</Delete>".encode()
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        headers = f"Content-MD5: {md5}\r\nContent-Type: application/xml\r\n"
        with self._send("POST", self._bucket, deadline, body, headers, "delete=") as answer:
            failed = s3_documents.delete_errors(answer.body(s3_documents.DOCUMENT_MAX), names)
        return {name: code for name, code in failed.items() if not self._deleted_alone(name, deadline)}

    def _deleted_alone(self, name: str, deadline: Deadline) -> bool:
        """MinIO says of an object with an empty `xl.meta` that it is gone if asked for it alone, and fails in bulk."""
        try:
            self.delete(name, deadline)
        except BlobStoreError:
            return False
        return True

    def list(self, prefix: str, deadline: Deadline, after: str = "", limit: int = 1000) -> Page:
        query = f"list-type=2&max-keys={limit}&prefix={quote(prefix, safe='')}"
        if after:
            query += f"&start-after={quote(after, safe='')}"
        with self._send("GET", self._bucket, deadline, query=query) as answer:
            return s3_documents.page(answer.body(s3_documents.DOCUMENT_MAX), prefix, after, limit)

    def clock(self, deadline: Deadline) -> float:
        try:
            with self._send("HEAD", self._bucket, deadline) as answer:
                return s3_documents.http_date(answer.headers.get("date"))
        except BlobMissing:
            raise BucketMissing("the node has no such bucket") from None

    def create(self, deadline: Deadline) -> None:
        body = s3_documents.bucket_configuration(self._region)
        try:
            self._done("PUT", self._bucket, deadline, body)
        except NodeRefused:
            self.clock(deadline)  # there already, and ours: fine

    def close(self) -> None:
        self._transport.close()

    def _path(self, name: str) -> str:
        return f"{self._bucket}/{quote(name)}"

    def _done(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: Bytes | None = None,
        signed: tuple[str, str] | None = None,
    ) -> None:
        with self._send(method, path, deadline, body, signed=signed) as answer:
            answer.body(s3_documents.DOCUMENT_MAX)

    def _send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: Bytes | None = None,
        headers: str = "",
        query: str = "",
        signed: tuple[str, str] | None = None,
    ) -> Answer:
        """The answer if it is a success; otherwise the error its status and words stand for. `signed`: a header."""
        target = self._signer.target(method, path, query, header=signed)
        if signed is not None:
            headers += f"{signed[0]}: {signed[1]}\r\n"
        answer = self._transport.request(method, target, deadline, body, headers)
        if 200 <= answer.status < 300:
            return answer
        with answer:
            body, date = answer.body(s3_documents.DOCUMENT_MAX), answer.headers.get("date")
            raise s3_documents.failure(method, answer.status, body, date, time.time())
