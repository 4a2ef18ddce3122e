"""An honest store of one object at a time by tus, on the stand-in, whose requests go wrong as a test says."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence

from tests.unit.cli.stand_in import Reply, Request, StandIn, document, problem

LOST = Reply(lost=True)
"""The request is done, and its connection ends before the answer came."""

CUT = Reply(lost=True, unread=True)
"""The connection ends within the request's body."""


class TusStore:
    """`script[n]` is what becomes of the n-th PATCH: a Reply, or (None, and after the script's end) what is right.

    `away`: what everything answers. `stored`: objects' bytes by `BUCKET/KEY`. `begun`: what each creation was told.
    """

    def __init__(self, api: StandIn, *script: Reply | None) -> None:
        self.api = api
        self.script: Sequence[Reply | None] = script
        self.away: Reply | None = None
        self.before_patch: Callable[[int], None] = lambda turn: None  # while its body comes
        self.on_patch: Callable[[int], None] = lambda turn: None
        self.readable = True
        self.uploads: dict[str, bytearray] = {}
        self.begun: list[dict[str, str]] = []
        self.ended: list[str] = []
        self.stored: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        api.answer = self.answer

    def of(self, method: str) -> list[Request]:
        return [request for request in self.api.requests if request.method == method]

    def offsets(self) -> list[int]:
        """Where each PATCH began."""
        return [int(request.headers["Upload-Offset"]) for request in self.of("PATCH")]

    def answer(self, request: Request) -> Reply:
        if self.away is not None:
            return self.away
        if request.method == "GET":
            return self._listing(request)
        assert request.headers["Tus-Resumable"] == "1.0.0"
        if request.method == "POST":
            return self._begin(request)
        name = request.path.rpartition("/")[2]
        if name not in self.uploads:
            return Reply(410) if request.method == "HEAD" else problem(410, "the upload is gone")
        if request.method == "HEAD":
            return self._standing(name, 200)
        if request.method == "DELETE":
            self.ended.append(name)
            del self.uploads[name]
            return Reply(204)
        turn = len(self.of("PATCH"))
        act = self.script[turn] if turn < len(self.script) else None
        if act is not None and act is not LOST:
            return act
        if not request.body:  # the stand-in asks before it has read the body, too
            self.before_patch(turn)
            return Reply()
        reply = self._append(name, request)
        self.on_patch(turn)
        return act or reply

    def _begin(self, request: Request) -> Reply:
        pairs = (pair.split(" ") for pair in request.headers["Upload-Metadata"].split(","))
        told = {name: base64.b64decode(value).decode() for name, value in pairs}
        self.begun.append({**told, **request.headers})
        name = f"u{len(self.begun)}"
        self.uploads[name] = bytearray()
        return Reply(201, headers={"Location": f"/v1/uploads/{name}"})

    def _append(self, name: str, request: Request) -> Reply:
        kept, told = self.uploads[name], self.begun[int(name[1:]) - 1]
        if int(request.headers["Upload-Offset"]) != len(kept):
            return problem(409, "the upload stands elsewhere")
        algorithm, _, digest = request.headers["Upload-Checksum"].partition(" ")
        if hashlib.new(algorithm, request.body).digest() != base64.b64decode(digest):
            return problem(460, "the bytes do not have the checksum of Upload-Checksum")
        kept += request.body
        if len(kept) == int(told["Upload-Length"]):
            self.stored[f"{told['bucket']}/{told['key']}"] = bytes(kept)
            self.etags[f"{told['bucket']}/{told['key']}"] = f'"v-{name}"'
        return self._standing(name, 204)

    def _standing(self, name: str, status: int) -> Reply:
        kept, length = self.uploads[name], int(self.begun[int(name[1:]) - 1]["Upload-Length"])
        return Reply(
            status,
            headers={"Upload-Offset": str(len(kept)), **({"ETag": f'"v-{name}"'} if len(kept) == length else {})},
        )

    def _listing(self, request: Request) -> Reply:
        if not self.readable:
            return problem(403, "this token may not read")
        bucket = request.path.split("/")[3]
        found = [
            {
                "bucket": bucket,
                "key": name.partition("/")[2],
                "size": len(body),
                "etag": self.etags[name],
                "copies": {"wanted": 3, "stored": 1},
            }
            for name, body in self.stored.items()
        ]
        return document({"objects": found, "prefixes": [], "next": None})
