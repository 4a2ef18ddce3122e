"""Clients at work while things break: uploads, overwrites, deletes, downloads at a steady rate, and what they saw."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cli.client.http import Client, Refused
from cli.drill.history import History, Operation, Told
from cli.drill.stage import Stage
from common.errors import BovedaError

UPLOADS_A_SECOND: Final = 20.0
BODY_BYTES: Final = 16 * 1024
_THREADS: Final = 5
_OPERATIONS_A_SECOND: Final = UPLOADS_A_SECOND / 0.8  # four of five operations are uploads
_REFUSALS: Final = (404, 503)  # they promise that nothing was changed


@dataclass(frozen=True, slots=True)
class Seen:
    """What clients saw in a time. `slowest` in seconds, of the answered ones."""

    requests: int
    refused: int
    broken: int
    slowest: float


class Load:
    """Threads that work until `stop`, but while `paused`. `write_copies` holds for the uploads to come."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._seed = seed
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._going = threading.Event()
        self._busy = 0
        self._next = 0
        self._sent: set[tuple[str, str]] = set()
        self._answers: list[tuple[float, float, Told]] = []
        self._latest = ("", 0.0)
        self._threads: list[threading.Thread] = []
        self.history = History()
        self.write_copies = 1
        self.wrong: list[str] = []

    def start(self) -> None:
        self._going.set()
        for number in range(_THREADS):
            thread = threading.Thread(target=self._work, args=(number,), name=f"drill-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._going.set()
        for thread in self._threads:
            thread.join()

    def pause(self) -> None:
        """Returns when the last request under way was answered."""
        self._going.clear()
        while True:
            with self._lock:
                if not self._busy:
                    return
            time.sleep(0.01)

    def resume(self) -> None:
        self._going.set()

    def acknowledged(self) -> int:
        return self.history.count(Told.DONE)

    def since(self, moment: float) -> Seen:
        with self._lock:
            found = [(seconds, told) for ended, seconds, told in self._answers if ended >= moment]
        told = [each for _, each in found]
        slowest = max((seconds for seconds, each in found if each is not Told.UNKNOWN), default=0.0)
        return Seen(len(found), told.count(Told.REFUSED), told.count(Told.UNKNOWN), slowest)

    def latest(self) -> tuple[str, float]:
        """The object that was acknowledged last, and when."""
        return self._latest

    def stored_keys(self) -> Sequence[str]:
        """Keys whose last operation stored something, and is acknowledged."""
        found = []
        for key in self.history:
            last = self.history.of(key)[-1]
            if last.told is Told.DONE and last.digest is not None:
                found.append(key)
        return found

    # -- inside

    def _work(self, number: int) -> None:
        chosen = random.Random(f"{self._seed}-{number}")  # noqa: S311 - repeatable, not secret
        client = self._stage.client()
        due = time.monotonic()
        while not self._stopping.is_set():
            self._going.wait()
            due = max(due + _THREADS / _OPERATIONS_A_SECOND, time.monotonic() - 1)
            self._stopping.wait(max(0.0, due - time.monotonic()))
            with self._lock:
                if not self._going.is_set() or self._stopping.is_set():
                    continue
                self._busy += 1
            try:
                self._one(client, chosen)
            finally:
                with self._lock:
                    self._busy -= 1

    def _one(self, client: Client, chosen: random.Random) -> None:
        action = chosen.random()
        if action < 0.7 or not self._next:
            self._put(client, self._fresh(), chosen.randbytes(BODY_BYTES))
        elif action < 0.8:
            self._put(client, self._known(chosen), chosen.randbytes(BODY_BYTES))
        elif action < 0.9:
            self._change(client, "DELETE", self._known(chosen), None, None)
        else:
            self._get(client, self._known(chosen))

    def _fresh(self) -> str:
        with self._lock:
            self._next += 1
            return f"o{self._next:06}"

    def _known(self, chosen: random.Random) -> str:
        return f"o{chosen.randint(1, self._next):06}"

    def _put(self, client: Client, key: str, body: bytes) -> None:
        digest = hashlib.sha256(body).hexdigest()
        with self._lock:
            self._sent.add((key, digest))
        self._change(client, "PUT", key, digest, body)

    def _change(self, client: Client, method: str, key: str, digest: str | None, body: bytes | None) -> None:
        headers = {} if body is None else {"Content-Length": str(len(body)), "X-Write-Copies": str(self.write_copies)}
        began = time.monotonic()
        status = 0
        try:
            client.json(method, self._stage.path(key), headers=headers, body=body)
            told = Told.DONE
        except Refused as error:
            status = error.status
            told = Told.REFUSED if status in _REFUSALS else Told.UNKNOWN
        except BovedaError:
            told = Told.UNKNOWN
        ended = time.monotonic()
        if told is Told.DONE and method == "PUT":
            self._latest = (key, ended)
        self.history.add(Operation(key, digest, began, ended, told))
        # A delete that finds nothing was answered: another one was quicker.
        self._note(ended, ended - began, Told.DONE if status == 404 else told)

    def _get(self, client: Client, key: str) -> None:
        began = time.monotonic()
        told = Told.DONE
        try:
            digest = read(client, self._stage.path(key))
            if digest is not None and (key, digest) not in self._sent:
                self._complain(f"{key} was read with bytes that nobody stored there")
        except Refused as error:
            told = Told.REFUSED
            if error.status != 503:
                self._complain(f"{key}: {error.detail}")
        except BovedaError:
            told = Told.UNKNOWN
        ended = time.monotonic()
        self._note(ended, ended - began, told)

    def _complain(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what)

    def _note(self, ended: float, seconds: float, told: Told) -> None:
        with self._lock:
            self._answers.append((ended, seconds, told))


def read(client: Client, path: str) -> str | None:
    """The digest of an object as a client gets it; None if there is none. BovedaError."""
    digest = hashlib.sha256()
    try:
        for chunk in client.chunks(client.send("GET", path)):
            digest.update(chunk)
    except Refused as error:
        if error.status == 404:
            return None
        raise
    return digest.hexdigest()
