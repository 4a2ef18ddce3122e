"""The first chunk of a blob, from whichever copy opens it first.

1. The best copy is read on the request's own thread: while it answers in time, nothing else happens.
2. When its first byte is late (`late_after`: the node's own p99), a spare thread reads the next copy as well; when that
   one is late too, another one the one after; one that fails is followed by the next at once. Without a free thread
   the request waits as long as it would alone.
3. The first whose chunk opens has won and is read on. The others are cut and closed, which counts against no node.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Final

from prometheus_client import Counter

from api.fetch.copy_read import CopyRead
from api.spare_threads import SpareThreads
from common.errors import BlobStoreError, CallCut, IntegrityError

HEDGED: Final = Counter(
    "boveda_hedged_reads_total", "Reads of which a second copy was asked, by what came of it", ["result"]
)


class Race:
    """One race. `choose`: the best copy that is none of those already asked, None if there is no other.

    `lost`: node id → why its copy did not deliver. `late`: another copy won while the first had not begun its answer.
    """

    def __init__(
        self,
        choose: Callable[[Collection[str]], str | None],
        start: Callable[[str], CopyRead],
        late_after: Callable[[str], float],
        spare: SpareThreads,
    ) -> None:
        self.lost: dict[str, Exception] = {}
        self.late = False
        self._choose = choose
        self._start = start
        self._late_after = late_after
        self._spare = spare
        self._changed = threading.Condition()
        self._asked: list[str] = []
        self._running: list[CopyRead] = []
        self._winner: tuple[CopyRead, bytes] | None = None
        self._broken: BaseException | None = None
        self._over = False
        self._hedged = False

    def run(self) -> tuple[CopyRead, bytes] | None:
        """The winner with its first chunk; None if every copy there is failed."""
        try:
            while self._winner is None:
                copy = self._next()
                if copy is not None:
                    self._ask(copy)
                elif not self._await_others():
                    break
        finally:
            self._end()
        return self._winner

    def _next(self, watched: bool = False) -> CopyRead | None:
        """The next copy, now running."""
        with self._changed:
            node_id = None if self._over or self._winner else self._choose(self._asked)
            if node_id is None:
                return None
            self._asked.append(node_id)
            copy = self._start(node_id)
            self._running.append(copy)
        copy.deadline.when_late(self._late_after(node_id), self._hedge)
        if watched:
            copy.deadline.watch()
        return copy

    def _ask(self, copy: CopyRead) -> None:
        try:
            chunk = next(copy)
        except (BlobStoreError, IntegrityError) as error:
            self._failed(copy, error)
        else:
            self._delivered(copy, chunk)

    def _delivered(self, copy: CopyRead, chunk: bytes) -> None:
        with self._changed:
            self._running.remove(copy)
            late = self._over or self._winner is not None
            if not late:
                self._winner = copy, chunk
                copy.deadline.won()
                for other in self._running:
                    other.deadline.cut()
                self._changed.notify_all()
        if late:
            copy.close()

    def _failed(self, copy: CopyRead, error: Exception) -> None:
        with self._changed:
            self._running.remove(copy)
            if not isinstance(error, CallCut):
                self.lost[copy.node_id] = error
            elif copy.node_id == self._asked[0] and copy.deadline.began_at is None:
                self.late = True
            self._changed.notify_all()

    # -- the others

    def _hedge(self) -> None:
        """Called by whoever waits for a first byte that is late."""
        with self._changed:
            if self._over or self._winner or self._choose(self._asked) is None:
                return
        if self._spare.run(self._run_spare) is None:
            HEDGED.labels("no_thread").inc()
        else:
            self._hedged = True

    def _run_spare(self) -> None:
        """A spare thread: copy after copy, until one delivers."""
        try:
            while (copy := self._next(watched=True)) is not None:
                self._ask(copy)
        except BaseException as error:  # noqa: BLE001 - the edge of a thread: it is raised in the request's own
            with self._changed:
                self._broken = error
                self._changed.notify_all()

    def _await_others(self) -> bool:
        """Wait for the copies asked by spare threads; False if there is none."""
        with self._changed:
            if not self._running:
                return False
            self._changed.wait_for(lambda: self._winner or self._broken or not self._running)
            if self._broken is not None:
                raise self._broken
            return True

    def _end(self) -> None:
        with self._changed:
            self._over = True
            for other in self._running:
                other.deadline.cut()
        if self._hedged and self._winner is not None:
            HEDGED.labels("lost" if self._winner[0].node_id == self._asked[0] else "won").inc()
