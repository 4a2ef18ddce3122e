"""The composition root of a worker process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

from common.catalogue.base import Catalogue
from common.catalogue.sql import open_catalogue
from common.model.actors import Actor
from common.model.jobs import JobKind
from common.model.names import new_id
from common.nodes.watched_nodes import WatchedNodes
from common.queue.base import JobQueue
from common.queue.buffered import BufferedEnqueuer
from common.queue.celery import CeleryQueue
from common.settings import Settings
from workers.audit.doubt import Doubt
from workers.audit.listing import NodeListing
from workers.audit.reclaim import ReclaimNode
from workers.audit.scrub import ScrubNode
from workers.copies.check import CopyCheck
from workers.copies.claims import Claims
from workers.copies.copy_writer import CopyWriter
from workers.copies.delete import Delete
from workers.copies.drop_surplus import DropSurplus
from workers.copies.outcomes import OutcomeWriter, observed
from workers.copies.replicate import Replicate
from workers.copies.slots import WorkerSlots
from workers.copies.sources import Sources
from workers.copies.verify import Verify
from workers.jobs.rebalance import Rebalance
from workers.jobs.reclaim_job import Reclaim
from workers.jobs.repair import Repair
from workers.jobs.run_job import RunJob, RunsJob
from workers.jobs.scrub_job import ScrubJob
from workers.leases import HeldLeases
from workers.sweep.sweep import Sweep
from workers.use_cases import DEFAULT_THREADS, UseCases

PUT_THREADS = 32


def owner_name() -> str:
    """Names this process as the holder of leases (64 characters at most); never the same again after a restart."""
    return f"{socket.gethostname()[:32]}:{os.getpid()}:{new_id()[-8:]}"


def assemble(
    settings: Settings,
    catalogue: Catalogue,
    nodes: WatchedNodes,
    queue: JobQueue,
    owner: str,
    threads: int = DEFAULT_THREADS,
) -> UseCases:
    """The use cases over these parts, with their threads started. Tests call it with parts of their own."""
    leaving = Event()
    held = HeldLeases(catalogue.copies, catalogue.leases, owner, settings.lease_seconds)
    outcomes = OutcomeWriter(observed(catalogue.copies.end, lambda: catalogue.last_ends.ended(Actor.COPIES)))
    enqueuer = BufferedEnqueuer(queue)
    # Its threads are bounded by the nodes' shares; idle ones cost nothing.
    pool = ThreadPoolExecutor(PUT_THREADS, thread_name_prefix="put")
    slots = WorkerSlots.of(threads)
    claims = Claims(catalogue, nodes, held, outcomes, settings)
    check_copy = CopyCheck(nodes, slots.threads)
    sources = Sources(catalogue, nodes, check_copy, enqueuer, claims)
    writer = CopyWriter(claims, nodes)
    replicate = Replicate(claims, sources, check_copy, writer, slots, pool)
    verify = Verify(claims, sources, check_copy, writer, nodes, slots.threads)
    drop_surplus = DropSurplus(catalogue, sources, check_copy, settings)
    listing = NodeListing(catalogue, nodes, settings.orphan_grace)
    reclaim = ReclaimNode(catalogue, nodes, listing, held)
    jobs: dict[JobKind, RunsJob] = {
        JobKind.REPAIR: Repair(catalogue, nodes, check_copy, (verify, lambda blob_ids: replicate(blob_ids, None))),
        JobKind.SCRUB: ScrubJob(catalogue, nodes, check_copy, listing, enqueuer),
        JobKind.RECLAIM: Reclaim(nodes, reclaim),
        JobKind.REBALANCE: Rebalance(
            catalogue, nodes, (lambda blob_ids: replicate(blob_ids, None), drop_surplus), settings
        ),
    }

    def going() -> bool:
        return not leaving.is_set()

    def noted(actor: Actor, run: Callable[[str], bool]) -> Callable[[str], None]:
        def on(node_id: str) -> None:
            if run(node_id):
                catalogue.last_ends.ended(actor)

        return on

    for part in (held, outcomes, enqueuer):
        part.start()

    def stop() -> None:
        leaving.set()
        pool.shutdown(wait=True, cancel_futures=True)
        for part in (enqueuer, outcomes, held):
            part.stop()

    return UseCases(
        replicate=replicate,
        verify=verify,
        doubt=Doubt(catalogue, check_copy, verify),
        delete=Delete(claims, nodes, slots.threads),
        drop_surplus=drop_surplus,
        run_job=RunJob(catalogue, held, jobs, going),
        scrub=noted(Actor.SCRUB, ScrubNode(catalogue, nodes, check_copy, listing, held, enqueuer, settings, going)),
        reclaim=noted(Actor.RECLAIM, lambda node_id: reclaim.unasked(node_id, going)),
        sweep=Sweep(catalogue, queue, settings),
        leave=leaving.set,
        stop=stop,
    )


def build(settings: Settings, threads: int) -> UseCases:
    """A worker process on the real parts."""
    owner = owner_name()
    catalogue = open_catalogue(settings.database)
    nodes = WatchedNodes(catalogue.nodes, catalogue.leases, settings, owner)
    queue = CeleryQueue(settings.redis_url.get_secret_value())
    nodes.start()
    worker = assemble(settings, catalogue, nodes, queue, owner, threads)

    def stop() -> None:
        worker.stop()
        nodes.stop()
        queue.close()
        catalogue.close()

    return replace(worker, stop=stop)
