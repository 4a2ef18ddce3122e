"""The composition root of the API process: every part is made and joined here, and nowhere else.

Nothing connects and no thread runs before `start`, which is called in each process after the fork.
"""

from __future__ import annotations

import os
import secrets
import socket
from functools import cache
from pathlib import Path

from api.fetch.fetch_object import FetchObject
from api.http.auth import Guard
from api.services import Services
from api.status.dependencies import Dependencies
from api.status.status_cache import StatusCache
from api.store.registered_keys import RegisteredKeys
from api.store.resumable_uploads import ResumableUploads
from api.store.store_object import StoreObject
from common.catalogue.sql import open_catalogue
from common.crypto.keyring import FileKeyring
from common.nodes.watched_nodes import WatchedNodes
from common.queue.buffered import BufferedEnqueuer
from common.queue.celery import CeleryQueue
from common.settings import Settings


@cache
def keyring(path: Path, passphrase_file: Path) -> FileKeyring:
    """One for this process and its forks: deriving its key takes a third of a second and 128 MiB."""
    return FileKeyring(path, passphrase_file)


def build(settings: Settings) -> Services:
    catalogue = open_catalogue(settings.database, copies=settings.copies, write_copies=settings.write_copies)
    nodes = WatchedNodes(catalogue.nodes, catalogue.leases, settings, owner_name())
    keys = RegisteredKeys(keyring(settings.keyring, settings.passphrase), catalogue.keks)
    queue = CeleryQueue(settings.redis_url.get_secret_value())
    enqueuer = BufferedEnqueuer(queue)
    store = StoreObject(catalogue, nodes, keys, enqueuer, settings)
    dependencies = Dependencies(queue, keys)
    fetch = FetchObject(catalogue, nodes, keys, enqueuer)
    guard = Guard(settings, catalogue.tokens)

    def start() -> None:
        guard.start()
        nodes.start()
        enqueuer.start()
        dependencies.start()

    def stop() -> None:
        dependencies.stop()
        nodes.stop()
        store.close()
        fetch.close()
        enqueuer.stop()
        catalogue.close()

    return Services(
        settings=settings,
        catalogue=catalogue,
        nodes=nodes,
        keys=keys,
        queue=queue,
        enqueuer=enqueuer,
        dependencies=dependencies,
        status_cache=StatusCache(catalogue.status),
        store=store,
        uploads=ResumableUploads(catalogue, nodes, keys, enqueuer, settings, store.buffers, store.spare),
        fetch=fetch,
        guard=guard,
        start=start,
        stop=stop,
    )


def owner_name() -> str:
    """A name no other process has, for leases; their columns hold 64 characters."""
    return f"api@{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"
