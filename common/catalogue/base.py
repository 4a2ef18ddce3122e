"""The catalogue as a contract: few transactions, each named by its intent.

Every method is one transaction unless it says otherwise. CatalogueUnavailable: the database could not be reached, was
locked for over 2 s, or failed to serialise 10 times; nothing was changed. What is asked for through the API (a version,
a bucket, a job, a node's mode, a dead letter) is looked after for up to 5 s when the answer to its COMMIT is lost:
success, CatalogueUnavailable (surely not changed) or OutcomeUnknown; the rest is told as CatalogueUnavailable then, and
doing it again does no harm. Times are seconds since the epoch, by the database's clock (`now`). No transaction changes
more than 1,000 rows; methods with `limit` are called until they return less.
"""

from __future__ import annotations

from typing import Protocol

from common.catalogue.access import Keks, Leases, Tokens
from common.catalogue.buckets import Buckets
from common.catalogue.copies import Copies
from common.catalogue.dead_letters import DeadLetters
from common.catalogue.jobs import Jobs
from common.catalogue.nodes import Nodes
from common.catalogue.objects import Objects
from common.catalogue.orphans import LockedNames, Orphans
from common.catalogue.relocations import Relocations
from common.catalogue.scrubs import Scrubs
from common.catalogue.status import LastEnds, StatusCounts
from common.catalogue.topology import Topology
from common.catalogue.uploads import Uploads


class Catalogue(Protocol):
    """The whole of it. `ready` raises CatalogueUnavailable unless a statement runs and the schema is current."""

    @property
    def buckets(self) -> Buckets: ...

    @property
    def objects(self) -> Objects: ...

    @property
    def uploads(self) -> Uploads: ...

    @property
    def copies(self) -> Copies: ...

    @property
    def dead_letters(self) -> DeadLetters: ...

    @property
    def relocations(self) -> Relocations: ...

    @property
    def scrubs(self) -> Scrubs: ...

    @property
    def orphans(self) -> Orphans: ...

    @property
    def locked_names(self) -> LockedNames: ...

    @property
    def nodes(self) -> Nodes: ...

    @property
    def topology(self) -> Topology: ...

    @property
    def jobs(self) -> Jobs: ...

    @property
    def leases(self) -> Leases: ...

    @property
    def last_ends(self) -> LastEnds: ...

    @property
    def keks(self) -> Keks: ...

    @property
    def tokens(self) -> Tokens: ...

    def now(self) -> float: ...

    def ready(self) -> None: ...

    def status(self, kept: StatusCounts | None = None) -> StatusCounts:
        """With `kept`, objects are not counted again: that may be dear while a node is down."""

    def fold_totals(self, limit: int = 500) -> int:
        """Add up what writers noted beside the totals, `limit` rows of each table; how many. No total changes."""

    def close(self) -> None: ...
