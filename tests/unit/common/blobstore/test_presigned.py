"""Addresses against those of minio-py's own signer."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import SplitResult, quote

import pytest
from minio.credentials.credentials import Credentials
from minio.signer import presign_v4

from common.blobstore.presigned import Signer

CREDENTIALS = Credentials("an access+key", "a secret/key")
AUTHORITY = "127.0.0.1:9000"
MOMENTS = [
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2027, 1, 1, 0, 0, 0, tzinfo=UTC),
    datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC),
]


def by_minio(method: str, path: str, query: str, now: datetime, region: str) -> str:
    url = presign_v4(
        method=method,
        url=SplitResult("http", AUTHORITY, path, query, ""),
        region=region,
        credentials=CREDENTIALS,
        date=now,
        expires=900,
    )
    return f"{url.path}?{url.query}"


@pytest.mark.parametrize("region", ["us-east-1", "eu west"])
@pytest.mark.parametrize("query", ["", "delete=", f"list-type=2&max-keys=10&prefix={quote('a/b c', safe='')}"])
@pytest.mark.parametrize("path", ["/blobs", "/blobs/ab/cd", "/blobs/a%20name"])
def test_an_address_is_the_one_of_minio_py_on_every_day(path: str, query: str, region: str) -> None:
    signer = Signer(CREDENTIALS, region, AUTHORITY, 900)
    for method in ("GET", "PUT"):
        for now in MOMENTS:
            assert signer.target(method, path, query, now) == by_minio(method, path, query, now, region)


def test_without_a_moment_it_is_now() -> None:
    before = datetime.now(UTC)
    target = Signer(CREDENTIALS, "us-east-1", AUTHORITY, 900).target("GET", "/blobs/x", "")
    signed_at = target.partition("X-Amz-Date=")[2][:16]
    assert f"{before:%Y%m%dT%H%M%SZ}" <= signed_at <= f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
