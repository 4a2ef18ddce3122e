"""Dead letters over HTTP: copies whose attempts are exhausted, to be looked at, tried again, or acknowledged."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field

from api.http.answers import answer, nothing
from api.http.bodies import read_query
from api.http.openapi import documented
from api.http.schemas import DeadLetterList, Retried
from api.services import services
from api.views.documents import dead_letter_document
from common.errors import Malformed, NoSuchDeadLetter
from common.model.work import CopyAction, DeadLetter
from common.queue.base import TASK_OF

blueprint = Blueprint("dead_letters", __name__)

_ID = re.compile(r"[0-9]{1,18}")
_AFTER = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,17})?)-([0-9]{1,18})")


class PageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: str = ""
    limit: int = Field(100, ge=1, le=1000)


@blueprint.get("/v1/dead-letters")
@documented("List dead letters", tag="dead letters", query=PageQuery, answers={200: DeadLetterList})
def list_letters() -> Response:
    """Copies whose attempts are exhausted and that nobody acknowledged, oldest first."""
    query = read_query(request, PageQuery)
    found = services().catalogue.dead_letters.page(_place(query.after), query.limit)
    more = _after(found[-1]) if len(found) == query.limit else None
    return answer({"dead_letters": [dead_letter_document(letter) for letter in found], "next": more})


@blueprint.post("/v1/dead-letters/retry")
@documented("Try every dead letter again", tag="dead letters", answers={202: Retried})
def retry_all() -> Response:
    """Those that are listed now, not those that die while this runs."""
    letters, now, count = services().catalogue.dead_letters, services().catalogue.now(), 0
    while (page := letters.retry_all(now)) is not None:
        _enqueue(page)
        count += len(page)
    return answer({"retried": count}, 202)


@blueprint.post("/v1/dead-letters/<letter_id>/retry")
@documented("Try one dead letter again", tag="dead letters", answers={202: Retried})
def retry(letter_id: str) -> Response:
    _enqueue([services().catalogue.dead_letters.retry(_id(letter_id))])
    return answer({"retried": 1}, 202)


@blueprint.delete("/v1/dead-letters/<letter_id>")
@documented("Acknowledge a dead letter", tag="dead letters", answers={204: None})
def acknowledge(letter_id: str) -> Response:
    """It leaves the list and the alarm. The copy stays wanted: its node's return or a repair has it tried again."""
    services().catalogue.dead_letters.acknowledge(_id(letter_id))
    return nothing()


def _enqueue(revived: Sequence[tuple[CopyAction, str]]) -> None:
    for action, task in TASK_OF.items():
        ids = [blob_id for of, blob_id in revived if of is action]
        if ids:
            services().enqueuer.enqueue(task, ids)


def _id(text: str) -> int:
    if not _ID.fullmatch(text):
        raise NoSuchDeadLetter("there is no such dead letter")
    return int(text)


def _after(letter: DeadLetter) -> str:
    return f"{letter.dead_at!r}-{letter.copy_id}"


def _place(after: str) -> tuple[float, int] | None:
    if not after:
        return None
    found = _AFTER.fullmatch(after)
    if found is None:
        raise Malformed("after", "must be the `next` of a page")
    return float(found[1]), int(found[2])
