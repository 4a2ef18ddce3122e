"""Taking in a node whose identity is absent, old, or lost: an empty or changed disk behind a known name.

1. Conflict if the bucket has the identity of another node, or takes no writes (restart the node).
2. Its `stored` copies become suspect, in pages, and so do those that uploads in progress may have put; what workers
   hold there is taken from them: none of that is believed to be on this disk. `missing` and `doomed` ones stay. A node
   with very many copies takes longer than a request should: Unavailable then; the next call goes on from there.
3. The identity is written with the next epoch.
4. **Commit point**: the row is `known` again, and its scrub starts anew with a listing: a worker compares that with the
   suspect rows, and those whose blob is not there become `missing` at once (see `workers/audit/scrub.py`).

Broken off before 4 the node is foreign as before: nothing there was trusted meanwhile, and it can be accepted again.
"""

from __future__ import annotations

import time

from common.blobstore.base import BlobStore, Deadline
from common.catalogue.nodes import Nodes
from common.errors import BlobStoreError, Conflict, Unavailable
from common.model.nodes import Node
from common.nodes.health import next_epoch
from common.nodes.watch import NOBODY, TRIAL, TRIAL_NAME, read_identity, write_identity

NODE_SECONDS = 5.0
DOUBT_SECONDS = 15.0


def accept(node: Node, store: BlobStore, rows: Nodes, patience: float = DOUBT_SECONDS) -> int:
    """How many of its copies became suspect."""
    until = time.monotonic() + patience
    deadline = Deadline(NODE_SECONDS)
    try:
        present = read_identity(store, deadline)
        if present is not None and present.node not in (NOBODY.node, node.id):
            raise Conflict(f"the bucket of node {node.spec.name} has the identity of another node")
        store.create(deadline)
        store.put(TRIAL_NAME, TRIAL, deadline)
        changed = _doubt(node, rows, until)
        epoch = next_epoch(node.epoch, present)
        write_identity(store, rows.cluster(), node.id, epoch, Deadline(NODE_SECONDS))
    except BlobStoreError as error:
        raise Conflict(f"node {node.spec.name} cannot be taken in ({error.detail}); restart it and try again") from None
    rows.taken_in(node.id, epoch)
    return changed


def _doubt(node: Node, rows: Nodes, until: float) -> int:
    changed = 0
    while (page := rows.doubt(node.id)) > 0:
        changed += page
        if time.monotonic() > until:
            raise Unavailable(f"node {node.spec.name} has many copies; {changed} more are marked, accept it once more")
    return changed
