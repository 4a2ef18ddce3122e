"""Copies that should lie elsewhere: what the sweep does about nodes that were lost, are emptied, or came back.

Decisions are `policy.plan`'s; this goes through the blobs they may concern, a bounded number a pass:

1. Retired nodes: their doomed rows are deleted; a node without any row is removed.
2. **Rounds**: all blobs with a copy on a node that does not count (draining, retired, away for too long), and once more
   when it counts again, until no surplus is left. Of a node that was full for as long only the blobs it lacks. A round
   that found nothing to do is repeated only after a pause.
3. **Survey**: all blobs with more or fewer rows than wanted, whoever left them so. Seldom: its cursor is lost with the
   process, and nothing else depends on it.

What is planned is applied here; blobs whose keepers must be read first go to the queue (see `drop_surplus`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from common.catalogue.base import Catalogue
from common.model.nodes import Node, NodeMode
from common.model.relocation import BlobCopies, Relocation
from common.queue.base import QUEUE_LIMIT, QUEUE_OF, JobQueue, TaskName
from common.settings import Settings
from workers.copies.policy import Scene, plan
from workers.sweep.batches import batches

PAGE_BLOBS: Final = 500
SURVEY_BLOBS: Final = 1000
APPLY_MOVES: Final = 100
PAUSE_SECONDS: Final = 30.0
DRAIN_PAUSE_SECONDS: Final = 2.0
SURVEY_PAUSE_SECONDS: Final = 600.0
SEND_AGAIN_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class PageNeeds:
    """What a page needed. acted: something was changed or sent. waiting: something is not finished yet."""

    acted: bool = False
    waiting: bool = False

    def __or__(self, other: PageNeeds) -> PageNeeds:
        return PageNeeds(self.acted or other.acted, self.waiting or other.waiting)


@dataclass(slots=True)
class _Round:
    """needed: the node does not count, or it is full and only what is `missing` there matters; otherwise this is about
    its return."""

    needed: bool
    missing: bool = False
    after: int = 0
    found: PageNeeds = PageNeeds()
    resume_at: float = 0.0


class Relocating:
    def __init__(self, catalogue: Catalogue, queue: JobQueue, settings: Settings, in_time: Callable[[], bool]) -> None:
        self._catalogue = catalogue
        self._queue = queue
        self._reprotect_after = settings.reprotect_after
        self._in_time = in_time
        self._rounds: dict[str, _Round] = {}
        self._survey_after = ""
        self._survey_at = 0.0
        self._sent: dict[str, float] = {}

    def __call__(self) -> None:
        scene = Scene.of(self._catalogue.nodes.all(), self._catalogue.now(), self._reprotect_after)
        self._remove(scene.nodes.values())
        self._note(scene)
        if scene.braked:
            return
        for node_id, mine in list(self._rounds.items()):
            if self._in_time() and mine.resume_at <= scene.now:
                self._page(node_id, mine, scene)
        if self._in_time() and self._survey_at <= scene.now:
            self._survey(scene)

    # -- 1

    def _remove(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            if node.mode is NodeMode.RETIRED:
                while self._catalogue.relocations.clear(node.id) and self._in_time():
                    pass
                self._catalogue.relocations.remove(node.id)

    # -- 2

    def _note(self, scene: Scene) -> None:
        """A round for each node that needs one. Whether it came back or went, it begins anew."""
        self._rounds = {node_id: mine for node_id, mine in self._rounds.items() if node_id in scene.nodes}
        for node_id, node in scene.nodes.items():
            mine = self._rounds.get(node_id)
            if not scene.counts(node_id):
                if mine is None or not mine.needed or mine.missing:
                    self._rounds[node_id] = _Round(needed=True)
            elif mine is not None and mine.needed and not mine.missing:
                self._rounds[node_id] = _Round(needed=False)
            elif mine is None and scene.full(node):
                self._rounds[node_id] = _Round(needed=True, missing=True)
            elif mine is not None and mine.missing and not scene.full(node):
                del self._rounds[node_id]

    def _page(self, node_id: str, mine: _Round, scene: Scene) -> None:
        page, after = self._catalogue.relocations.examine(node_id, mine.after, PAGE_BLOBS, mine.missing)
        mine.found |= self._act(page, scene)
        if after is not None:
            mine.after = after
            return
        found, mine.after, mine.found = mine.found, 0, PageNeeds()
        if found.acted:
            return
        draining = scene.nodes[node_id].mode is NodeMode.DRAINING
        mine.resume_at = scene.now + (DRAIN_PAUSE_SECONDS if draining else PAUSE_SECONDS)
        if not mine.needed and not found.waiting:
            del self._rounds[node_id]

    # -- 3

    def _survey(self, scene: Scene) -> None:
        page, after = self._catalogue.relocations.uneven(self._survey_after, SURVEY_BLOBS)
        self._act(page, scene)
        self._survey_after = after or ""
        if after is None:
            self._survey_at = scene.now + SURVEY_PAUSE_SECONDS

    # -- blobs

    def _act(self, page: Sequence[BlobCopies], scene: Scene) -> PageNeeds:
        found = PageNeeds()
        moves: list[Relocation] = []
        unproven: list[BlobCopies] = []
        for copies in page:
            decision = plan(copies, scene)
            found |= PageNeeds(waiting=decision.waiting)
            if decision.move:
                moves.append(decision.move)
            elif decision.unproven:
                unproven.append(copies)
        for start in range(0, len(moves), APPLY_MOVES):
            self._catalogue.relocations.apply(moves[start : start + APPLY_MOVES])
        if unproven:
            self._send(unproven, scene.now)
        return found | PageNeeds(acted=bool(moves or unproven))

    def _send(self, unproven: Sequence[BlobCopies], now: float) -> None:
        """Into the queue what was not sent lately, as far as there is room; the rest is found again."""
        lately = now - SEND_AGAIN_SECONDS
        self._sent = {blob_id: at for blob_id, at in self._sent.items() if at > lately}
        fresh = [copies.blob for copies in unproven if copies.blob.id not in self._sent]
        if not fresh:
            return
        room = QUEUE_LIMIT - self._queue.depths().get(QUEUE_OF[TaskName.DROP_SURPLUS].value, 0)
        for batch in list(batches([(0, blob.id, blob.cipher_length) for blob in fresh]))[: max(0, room)]:
            ids = [blob_id for _, blob_id, _ in batch]
            self._queue.publish(TaskName.DROP_SURPLUS, ids)
            self._sent.update(dict.fromkeys(ids, now))
