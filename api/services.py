"""What the blueprints may use: the parts of the process as `api/wiring.py` joined them, or as a test did."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from flask import current_app

from api.status.dependencies import Dependencies
from api.status.status_cache import StatusCache
from common.catalogue.base import Catalogue
from common.crypto.keyring import KeyProvider
from common.model.nodes import Node
from common.placement import Candidate
from common.queue.base import Enqueuer, JobQueue
from common.settings import Settings

if TYPE_CHECKING:
    from api.fetch.fetch_object import FetchObject
    from api.http.auth import Guard
    from api.store.resumable_uploads import ResumableUploads
    from api.store.store_object import StoreObject

EXTENSION = "boveda"


class SeenNodes(Protocol):
    """What the routes ask of `common.nodes.watched_nodes.WatchedNodes`."""

    def all(self) -> Mapping[str, Node]: ...

    def candidates(self) -> Sequence[Candidate]: ...

    def answering(self) -> Collection[str]: ...

    def accept(self, node_id: str) -> int: ...


@dataclass(frozen=True)
class Services:
    """`start` and `stop` begin and end the threads of the process; both are called after the fork, once."""

    settings: Settings
    catalogue: Catalogue
    nodes: SeenNodes
    keys: KeyProvider
    queue: JobQueue
    enqueuer: Enqueuer
    dependencies: Dependencies
    status_cache: StatusCache
    store: StoreObject
    uploads: ResumableUploads
    fetch: FetchObject
    guard: Guard
    start: Callable[[], None] = field(default=lambda: None)
    stop: Callable[[], None] = field(default=lambda: None)


def services() -> Services:
    return cast(Services, current_app.extensions[EXTENSION])
