"""The reclaim job: on one node or on all, dry or for real, and with `force` past the brake.

Each node is one step: a job that was broken off lists the node it was at once more. One that is
cancelled stops before the next batch. A node that stops it does not keep
the others from their turn; the job has failed then, in that node's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from common.errors import BlobStoreError, NotAllowed
from common.model.jobs import Job
from common.model.nodes import Node
from common.nodes.watched_nodes import WatchedNodes
from workers.audit.listing import IdentityMismatch
from workers.audit.reclaim import ReclaimNode, Stopped, Tally
from workers.jobs.run_job import JobTurn


class Reclaim:
    def __init__(self, nodes: WatchedNodes, reclaim: ReclaimNode) -> None:
        self._nodes = nodes
        self._reclaim = reclaim

    def __call__(self, job: Job, going: JobTurn) -> None:
        if job.scope.bucket is not None:
            raise NotAllowed("scope.bucket", "reclaim is about nodes: what it removes is in no bucket")
        nodes = [node for node in self._nodes.all().values() if job.scope.node in (None, node.spec.name)]
        report: dict[str, Any] = {**asdict(Tally()), "stopped": {}, **job.report}
        done = _names((job.cursor or {}).get("done"))
        for node in sorted(nodes, key=lambda node: node.spec.name):
            if node.spec.name in done:
                continue
            if not going():
                return
            self._node(node, job, going, report)
            if not going():
                return
            done.append(node.spec.name)
            if not going.progress(report["names"], report["names"], 0, report, {"done": done}):
                return
        stopped = report["stopped"]
        going.finish(report, "; ".join(f"{name}: {why}" for name, why in stopped.items()) if stopped else None)

    def _node(self, node: Node, job: Job, going: JobTurn, report: dict[str, Any]) -> None:
        tally = Tally()
        try:
            self._reclaim(node.id, tally, job.dry_run, job.force, going.open)
        except (Stopped, IdentityMismatch, BlobStoreError) as error:
            report["stopped"] = {**_reasons(report["stopped"]), node.spec.name: error.detail}
        for name, count in asdict(tally).items():
            report[name] += count


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def _reasons(value: object) -> Mapping[str, str]:
    return value if isinstance(value, dict) else {}
