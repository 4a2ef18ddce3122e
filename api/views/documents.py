"""The JSON documents of the contract, built from the values of the store."""

from __future__ import annotations

from collections.abc import Mapping

from api.http.answers import Document
from api.status.node_loss import Preview
from common.catalogue.nodes import NodeTotals
from common.model.jobs import Job
from common.model.names import blob_name
from common.model.nodes import Node
from common.model.scrubbing import LockedName, Scrub
from common.model.times import rfc3339
from common.model.versions import Bucket, Protection, Version
from common.model.work import CopyDetail, DeadLetter, Failure


def copies_of(protection: Protection) -> Document:
    return {"wanted": protection.wanted, "stored": protection.stored}


def object_document(version: Version, protection: Protection) -> Document:
    return {
        "bucket": version.bucket,
        "key": version.key,
        "version": version.id,
        "size": version.size,
        "etag": version.etag,
        "content_type": version.headers.content_type,
        "metadata": dict(version.headers.metadata),
        "created_at": rfc3339(version.created_at),
        "copies": copies_of(protection),
        "state": protection.state.value,
    }


def bucket_document(bucket: Bucket) -> Document:
    return {
        "name": bucket.name,
        "copies": bucket.copies,
        "write_copies": bucket.write_copies,
        "created_at": rfc3339(bucket.created_at),
    }


def copy_document(copy: CopyDetail, names: Mapping[str, Node]) -> Document:
    node = names.get(copy.node_id) if copy.node_id is not None else None
    return {
        "blob": copy.blob.number,
        "blob_key": blob_name(copy.blob.id, copy.alias),
        "node": node.spec.name if node is not None else copy.node_id,
        "state": copy.state.value,
        "stored_at": rfc3339(copy.stored_at),
        "verified_at": rfc3339(copy.verified_at),
        "attempts": copy.attempts,
        "next_attempt_at": rfc3339(copy.next_attempt_at),
        "last_error": copy.last_error,
        "dead_at": rfc3339(copy.dead_at),
    }


def node_document(node: Node, totals: NodeTotals | None, empty: bool, locked: int, scrub: Scrub | None) -> Document:
    """`empty`: drained, and no copy row is left on it. `locked`: names there that were given up."""
    totals = totals or NodeTotals(0, 0, 0)
    return {
        "name": node.spec.name,
        "endpoint": node.spec.endpoint,
        "zone": node.spec.zone,
        "weight": node.spec.weight,
        "mode": node.mode.value,
        "mode_until": rfc3339(node.mode_until),
        "health": node.health.value,
        "state": node.state,
        "writable": node.writable,
        "copies": totals.copies,
        "bytes": totals.bytes,
        "missing": totals.missing,
        "last_seen": rfc3339(node.last_seen),
        "last_error": node.last_error,
        "unreachable_since": rfc3339(node.unreachable_since),
        "safe_to_remove": empty,
        "locked_names": locked,
        "scrub": _scrub_document(scrub or Scrub(node.id)),
    }


def _scrub_document(scrub: Scrub) -> Document:
    """`coverage`: the share of the node that the present pass has read; counts are its own, or the last one's."""
    return {
        "started_at": rfc3339(scrub.started_at),
        "finished_at": rfc3339(scrub.finished_at),
        "passes": scrub.passes,
        "coverage": round(scrub.coverage, 4),
        "bytes": scrub.bytes,
        "missing": scrub.found.get("missing", 0),
        "damaged": scrub.found.get("damaged", 0),
        "orphans": scrub.found.get("orphans", 0),
        "reclaimed_at": rfc3339(scrub.reclaimed.at),
        "reclaim_stopped": scrub.reclaimed.stopped or scrub.reclaimed.held,
    }


def locked_name_document(locked: LockedName) -> Document:
    return {"name": str(locked.name), "since": rfc3339(locked.since), "error": locked.error}


def preview_document(preview: Preview) -> Document:
    return {
        "copies": preview.copies,
        "bytes": preview.bytes,
        "to": dict(preview.to),
        "unplaced": preview.unplaced,
        "estimated": preview.estimated,
    }


def job_document(job: Job) -> Document:
    scope = {"bucket": job.scope.bucket, "prefix": job.scope.prefix, "key": job.scope.key, "node": job.scope.node}
    return {
        "id": job.id,
        "kind": job.kind.value,
        "scope": {name: value for name, value in scope.items() if value is not None},
        "dry_run": job.dry_run,
        "state": job.state.value,
        "progress": {"done": job.done, "total": job.total, "bytes": job.bytes},
        "report": dict(job.report),
        "created_at": rfc3339(job.created_at),
        "finished_at": rfc3339(job.finished_at),
        "error": job.error,
    }


def dead_letter_document(letter: DeadLetter) -> Document:
    return {
        "id": letter.copy_id,
        "bucket": letter.bucket,
        "key": letter.key,
        "blob": letter.blob_number,
        "blob_key": blob_name(letter.blob_id, letter.alias),
        "node": letter.node,
        "state": letter.state.value,
        "attempts": letter.attempts,
        "dead_since": rfc3339(letter.dead_at),
        "first_error": _failure(letter.first),
        "last_error": _failure(letter.last),
    }


def _failure(failure: Failure | None) -> Document | None:
    return None if failure is None else {"error": failure.error, "kind": failure.kind, "at": rfc3339(failure.at)}
