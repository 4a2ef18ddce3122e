"""Buckets over HTTP."""

from __future__ import annotations

from flask import Blueprint, Response, g, request
from pydantic import BaseModel, ConfigDict, Field

from api.http.answers import answer, nothing
from api.http.auth import visible_buckets
from api.http.bodies import read_json
from api.http.openapi import documented
from api.http.schemas import BucketDocument, BucketList
from api.services import services
from api.views.documents import bucket_document
from common.errors import Conflict

blueprint = Blueprint("buckets", __name__)

BUCKET = "/v1/buckets/<bucket>"


class BucketSettings(BaseModel):
    """`copies` wanted of each blob, and how many of them before an upload is acknowledged."""

    model_config = ConfigDict(extra="forbid")

    copies: int | None = Field(None, ge=1, le=16)
    write_copies: int | None = Field(None, ge=1, le=16)


@blueprint.put(BUCKET)
@documented(
    "Create a bucket, or change its settings",
    tag="buckets",
    body=BucketSettings,
    answers={201: BucketDocument, 200: BucketDocument},
)
def put_bucket(bucket: str) -> Response:
    """201 when it is new, 200 when it was there: the settings then count for new versions."""
    wanted = read_json(request, BucketSettings)
    row, created = services().catalogue.buckets.put(bucket, wanted.copies, wanted.write_copies)
    return answer(bucket_document(row), 201 if created else 200, {"Location": f"/v1/buckets/{bucket}"})


@blueprint.get("/v1/buckets")
@documented("List the buckets", tag="buckets", answers={200: BucketList})
def list_buckets() -> Response:
    visible = visible_buckets(g.token)
    rows = services().catalogue.buckets.all()
    return answer({"buckets": [bucket_document(row) for row in rows if visible is None or row.name in visible]})


@blueprint.get(BUCKET)
@documented("Settings and totals of a bucket", tag="buckets", answers={200: BucketDocument})
def get_bucket(bucket: str) -> Response:
    buckets = services().catalogue.buckets
    row = buckets.get(bucket)
    totals = buckets.totals(row.id)
    return answer(bucket_document(row) | {"objects": totals.objects, "bytes": totals.bytes})


@blueprint.delete(BUCKET)
@documented("Delete an empty bucket", tag="buckets", answers={204: None}, raises=(Conflict,))
def delete_bucket(bucket: str) -> Response:
    services().catalogue.buckets.delete(bucket)
    return nothing()
