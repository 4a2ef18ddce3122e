"""Ids in messages of a bounded size: a task is to end soon, and to hold little in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from common.queue.base import BATCH_BYTES, BATCH_IDS


def batches(rows: Sequence[tuple[int, str, int]]) -> Iterator[Sequence[tuple[int, str, int]]]:
    """Rows in messages of up to 64 ids or 16 MiB (a larger blob alone)."""
    batch: list[tuple[int, str, int]] = []
    size = 0
    for row in rows:
        if batch and (len(batch) >= BATCH_IDS or size + row[2] > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row[2]
    if batch:
        yield batch
