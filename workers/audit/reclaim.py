"""Remove what lies on a node and belongs to nothing: orphans, strays, old evidence.

On each node:

1. A node that is paused, retired or away is left alone. The identity is read: another node's, an older one, or one of
   another generation of the catalogue stops it here, and so does a catalogue that was restored or rolled back, until a
   job says `force`.
2. The node is listed once, a page at a time: which old names have no row (orphans), which have rows but none here
   (strays). What is young by the node's own clock may belong to an upload in progress and is not looked at.
3. The brake: over a hundred orphans that are over one in a hundred of the node's names are more than crashes leave
   behind, and rather say that rows were lost. It stops and reports, until a job says `force`.
4. In batches: the identity is read; tombstones are inserted. **Commit point**: from here on a commit of these blobs is
   refused. Then the names are deleted, and the identity is read again.
5. Strays get a `doomed` row, and go as every doomed copy does.
6. Leftovers go: names of blobs whose copy lies here under another name. Names that were given up as locked are deleted
   once more, unless a row has come back to them; those that went are forgotten.
7. Evidence in quarantine for longer than a week goes by the time in its name; no brake holds that.

Broken off anywhere, it can begin anew: a name whose tombstone stands is an orphan still. Tombstones are dropped a day
later by the sweep; what a very late put leaves behind after that is the next run's orphan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
from prometheus_client import Counter

from common.blobstore.base import Deadline
from common.catalogue.base import Catalogue
from common.errors import BlobStoreError, BovedaError
from common.model.names import QUARANTINE, BlobName, quarantined_at
from common.model.nodes import Node, NodeMode
from common.model.scrubbing import NameStanding, Reclaimed
from common.nodes.watched_nodes import WatchedNodes
from workers.audit.listing import LIST_SECONDS, IdentityMismatch, NodeListing
from workers.leases import HeldLeases

LOG = structlog.get_logger(__name__)
RECLAIMED = Counter("boveda_reclaimed", "Names removed from nodes because nothing refers to them", ["node", "what"])

BRAKE_NAMES: Final = 100
BRAKE_SHARE: Final = 100  # one in so many
QUARANTINE_SECONDS: Final = 7 * 86400.0
BATCH: Final = 500
MOST: Final = 100_000  # held in memory; what is beyond is the next run's


class Stopped(BovedaError):
    """Nothing was removed, or no more: the reason in words an operator can act on."""


@dataclass
class Tally:
    """What was seen and done on a node, or on several."""

    names: int = 0
    orphans: int = 0
    strays: int = 0
    kept: int = 0
    young: int = 0
    unknown: int = 0
    reclaimed: int = 0
    quarantined: int = 0
    leftovers: int = 0
    locked: int = 0
    failed: int = 0


@dataclass
class _Found:
    orphans: list[BlobName] = field(default_factory=list)
    strays: list[BlobName] = field(default_factory=list)
    leftovers: list[BlobName] = field(default_factory=list)


def brakes(orphans: int, names: int) -> bool:
    """Whether so many orphans among so many names are too many to be removed unasked. Pure."""
    return orphans > BRAKE_NAMES and orphans * BRAKE_SHARE > names


def reclaimed_from(node: Node) -> bool:
    """Whether a node's names may be looked at and removed now."""
    return node.deletable_from and node.mode is not NodeMode.RETIRED


class ReclaimNode:
    def __init__(self, catalogue: Catalogue, nodes: WatchedNodes, listing: NodeListing, held: HeldLeases) -> None:
        self._catalogue = catalogue
        self._nodes = nodes
        self._listing = listing
        self._held = held

    def unasked(self, node_id: str, going: Callable[[], bool]) -> bool:
        """What the sweep sends for. A stop is noted with the node and logged; it is no error of the task.

        False where the node is not to be looked at, or another one does.
        """
        lease = f"reclaim:{node_id}"
        node = self._nodes.all().get(node_id)
        if node is None or not reclaimed_from(node) or not self._held.take(lease):
            return False
        try:
            self(node_id, Tally(), False, False, lambda: going() and self._held.has(lease))
        except (Stopped, IdentityMismatch) as error:
            LOG.error("reclaim_stopped", node=node_id, detail=error.detail)
        except BlobStoreError as error:
            LOG.warning("reclaim_left_node", node=node_id, detail=error.detail)
        finally:
            self._held.give(lease)
        return True

    def __call__(self, node_id: str, tally: Tally, dry_run: bool, force: bool, going: Callable[[], bool]) -> None:
        """Stopped, IdentityMismatch, or what the node raises; `tally` says how far it came.

        Broken off, because `going` says False, it notes nothing: a hold or a stop that is shown stays.
        """
        node = self._nodes.all().get(node_id)
        if node is not None and not reclaimed_from(node):
            away = node.mode if node.mode in (NodeMode.PAUSED, NodeMode.RETIRED) else node.health
            raise Stopped(f"the node is {away.value}")
        generation = self._catalogue.nodes.cluster()[1]
        found, before = _Found(), Reclaimed()
        try:
            self._listing.check(node_id)
            # Read after the identity: who learns from it that the catalogue is an old one has noted that already.
            before = self._catalogue.scrubs.get(node_id).reclaimed
            if not dry_run:
                self._quarantine(node_id, tally, going)
            count = self._list(node_id, found, tally, going)
            if not going():
                return
            if not force:
                self._may(before, generation, len(found.orphans), count)
        except (Stopped, IdentityMismatch) as error:
            if not dry_run:
                since = before.at if before.stopped is not None else None
                orphans = len(found.orphans)
                self._note(node_id, replace(before, at=since, orphans=orphans, stopped=error.detail), False)
            raise
        if not dry_run:
            left = len(found.orphans) - self._remove(node_id, found.orphans, tally, going)
            if not going():
                return
            tally.strays += self._catalogue.orphans.doom(node_id, found.strays)
            self._leftovers(node_id, found.leftovers, tally, going)
            self._locked(node_id, tally, going)
            self._note(node_id, Reclaimed(generation=generation, orphans=left), force)

    def _note(self, node_id: str, result: Reclaimed, lifts: bool) -> None:
        """`result.at` stays where a stop goes on."""
        at = result.at if result.at is not None else self._catalogue.now()
        self._catalogue.scrubs.reclaimed(node_id, replace(result, at=at), lifts)

    # -- 1, 3

    @staticmethod
    def _may(before: Reclaimed, generation: str, orphans: int, names: int) -> None:
        if before.held is not None:
            raise Stopped(f"{before.held}; a reclaim job with force removes what has no row")
        if before.generation not in (None, generation):
            raise Stopped("the catalogue was restored; a reclaim job with force removes what has no row")
        if brakes(orphans, names):
            raise Stopped(f"{orphans} of {names} blobs have no row, more than one in {BRAKE_SHARE}; look before force")

    # -- 2

    def _list(self, node_id: str, found: _Found, tally: Tally, going: Callable[[], bool]) -> int:
        count = 0
        for names in self._listing.pages(node_id):
            if not going() or len(found.orphans) > MOST:
                break
            standings = self._catalogue.orphans.sort(node_id, names.old)
            orphans = [name for name, standing in standings.items() if standing is NameStanding.ORPHAN]
            found.orphans += orphans
            found.strays += [name for name, standing in standings.items() if standing is NameStanding.STRAY]
            found.leftovers += [name for name, standing in standings.items() if standing is NameStanding.LEFTOVER]
            count += names.count
            tally.names += names.count
            tally.orphans += len(orphans)
            tally.kept += sum(1 for standing in standings.values() if standing is NameStanding.KEPT)
            tally.young += names.young
            tally.unknown += names.unknown
        return count

    # -- 4

    def _remove(self, node_id: str, orphans: Sequence[BlobName], tally: Tally, going: Callable[[], bool]) -> int:
        removed = 0
        for start in range(0, len(orphans), BATCH):
            if not going():
                break
            self._listing.check(node_id)
            batch = orphans[start : start + BATCH]
            buried = self._catalogue.orphans.bury({name.blob_id for name in batch})
            names = sorted(str(name) for name in batch if name.blob_id in buried)
            removed += len(self._delete(node_id, names, "orphan", tally))
            self._listing.check(node_id)
        tally.reclaimed += removed
        return removed

    # -- 6

    def _leftovers(self, node_id: str, names: Sequence[BlobName], tally: Tally, going: Callable[[], bool]) -> None:
        for start in range(0, len(names), BATCH):
            if not going():
                return
            self._listing.check(node_id)
            standings = self._catalogue.orphans.sort(node_id, names[start : start + BATCH])
            still = [str(name) for name, standing in standings.items() if standing is NameStanding.LEFTOVER]
            tally.leftovers += len(self._delete(node_id, still, "leftover", tally))
            self._listing.check(node_id)

    def _locked(self, node_id: str, tally: Tally, going: Callable[[], bool]) -> None:
        """One look at each name that was given up: a node that was mended may let it go now."""
        if not going():
            return
        names = {
            str(locked.name): locked.name for locked in self._catalogue.locked_names.of(node_id, BATCH, unused=True)
        }
        gone = self._delete(node_id, list(names), "locked", tally)
        self._catalogue.locked_names.forget(node_id, [names[name] for name in gone])
        tally.locked += len(names) - len(gone)

    def _delete(self, node_id: str, names: Sequence[str], what: str, tally: Tally) -> Sequence[str]:
        """Those that are gone."""
        if not names:
            return []
        failed = self._nodes.store(node_id).delete_many(names, Deadline(LIST_SECONDS))
        gone = [name for name in names if name not in failed]
        tally.failed += len(failed)
        RECLAIMED.labels(node_id, what).inc(len(gone))
        LOG.info("names_reclaimed", node=node_id, what=what, count=len(gone))
        return gone

    # -- 7

    def _quarantine(self, node_id: str, tally: Tally, going: Callable[[], bool]) -> None:
        """Names sort by time: the first one that is young enough ends it."""
        store = self._nodes.store(node_id)
        after: str | None = ""
        while after is not None and going():
            page = store.list(QUARANTINE, Deadline(LIST_SECONDS), after, BATCH)
            limit = store.clock(Deadline(LIST_SECONDS)) - QUARANTINE_SECONDS
            times = {blob.name: quarantined_at(blob.name) for blob in page.blobs}
            old = [name for name, when in times.items() if when is not None and when < limit]
            tally.quarantined += len(self._delete(node_id, old, "evidence", tally))
            young = any(when is not None and when >= limit for when in times.values())
            after = None if young else page.next
