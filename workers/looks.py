"""A look at a copy: read whole and compared, whatever for. What was found is evidence about the copy or the node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from common.blobstore.base import background
from common.errors import BlobMissing, BlobStoreError
from common.nodes import Nodes
from common.objects import Blob
from workers.share import NodeShare
from workers.sources import WrongBytes, read_through

GOOD: Final = "good"
MISSING: Final = "missing"
DAMAGED: Final = "damaged"
UNREACHABLE: Final = "unreachable"
FINDINGS: Final = (GOOD, MISSING, DAMAGED, UNREACHABLE)
BAD: Final = (MISSING, DAMAGED)


@dataclass(frozen=True, slots=True)
class Finding:
    kind: str
    detail: str = ""


class Looks:
    """Safe across threads."""

    def __init__(self, nodes: Nodes, share: NodeShare) -> None:
        self._nodes = nodes
        self._share = share

    def __call__(self, node_id: str, blob: Blob) -> Finding:
        if node_id not in self._nodes.readable():
            return Finding(UNREACHABLE, "the node cannot be read now")
        try:
            with self._share.slot(node_id):
                read_through(self._nodes.store(node_id), blob, background(blob.cipher_length))
        except BlobMissing as error:
            return Finding(MISSING, error.detail)
        except WrongBytes as error:
            return Finding(DAMAGED, error.detail)
        except BlobStoreError as error:
            return Finding(UNREACHABLE, error.detail)
        self._nodes.authenticated(node_id)
        return Finding(GOOD)
