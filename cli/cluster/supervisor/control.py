"""The supervisor's control socket: one line of JSON asks, one answers, and the connection ends."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from common.errors import NotAllowed, Unavailable

Action = Literal["stop", "start", "kill", "add", "remove"]
ACTIONS: Final[tuple[Action, ...]] = ("stop", "start", "kill", "add", "remove")
_ANSWER_SECONDS, _REQUEST_SECONDS = 5.0, 0.5
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Request:
    action: str
    name: str


class Listener:
    """The supervisor's end. `handle` returns an error in words, or nothing when it was done."""

    def __init__(self, path: Path, handle: Callable[[Request], str]) -> None:
        self._path = path
        self._own_folder = path.parent if path.parent.name.startswith("boveda-") else None
        self._handle = handle
        path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self.socket.bind(str(path))
        finally:
            os.umask(before)
        self.socket.listen(8)
        self.socket.setblocking(False)

    def serve(self) -> None:
        """Answer one request that waits. A client that breaks off or sends nonsense is let go."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            connection, _ = self.socket.accept()
            with connection:
                connection.settimeout(_REQUEST_SECONDS)
                asked = json.loads(_line(connection))
                error = self._handle(Request(str(asked["action"]), str(asked["name"])))
                connection.sendall(json.dumps({"error": error}).encode() + b"\n")

    def close(self) -> None:
        self.socket.close()
        self._path.unlink(missing_ok=True)
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)


def ask(path: str, action: str, name: str) -> None:
    """Have the supervisor do it. Unavailable if none answers, NotAllowed with its words if it refuses."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(path)
            connection.sendall(json.dumps({"action": action, "name": name}).encode() + b"\n")
            answer = json.loads(_line(connection))
    except (OSError, ValueError):
        raise Unavailable("no cluster runs here (`boveda up` starts one)") from None
    if answer["error"]:
        raise NotAllowed("NAME", answer["error"])


def _line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and len(data) < _LONGEST:
        part = connection.recv(_LONGEST)
        if not part:
            break
        data += part
    return data
