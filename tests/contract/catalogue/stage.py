"""What most tests of the catalogue start from: a bucket, a key, three nodes that are up; and short ways to act."""

from __future__ import annotations

from collections.abc import Sequence

from common.catalogue.objects import Committed
from common.catalogue.sql import SqlCatalogue
from common.model.copies import CopyState, Placed
from common.model.names import new_id
from common.model.nodes import NodeHealth, NodeSpec
from common.model.versions import Blob, Headers, NewBlob, NewVersion, Preconditions
from common.model.work import Claim, CopyAction, Outcome

KEK = "kek-1"


class Stage:
    def __init__(self, catalogue: SqlCatalogue) -> None:
        self.catalogue = catalogue
        self.bucket, _ = catalogue.buckets.put("papers", 3, 1)
        catalogue.keks.ensure(KEK)
        catalogue.nodes.register([node_spec(number) for number in (1, 2, 3)])
        self.nodes = [node.id for node in catalogue.nodes.all()]
        self.see(*[NodeHealth.UP] * 3)

    def see(self, *health: NodeHealth) -> None:
        """Write the shared verdict of the nodes in order."""
        assert self.catalogue.leases.acquire("health", "test", 60)
        now = self.catalogue.now()
        verdicts = {node: (state, now, None) for node, state in zip(self.nodes, health, strict=True)}
        assert self.catalogue.nodes.write_health(verdicts, "test")

    def blob(self, number: int = 0, length: int = 5) -> Blob:
        return Blob(new_id(), number, number * length, length, length + 88, b"d" * 32, b"s" * 24)

    def new_blob(self, blob: Blob | None = None, stored: int = 1) -> NewBlob:
        """A blob wanted on every node and stored on the first `stored` of them."""
        states = [CopyState.STORED] * stored + [CopyState.MISSING] * (len(self.nodes) - stored)
        return NewBlob(blob or self.blob(), [Placed(*pair) for pair in zip(self.nodes, states, strict=True)])

    def version(self, key: str, version_id: str | None = None, blobs: int = 1, size: int = 5) -> NewVersion:
        headers = Headers("text/plain", metadata={"colour": "blue"})
        return NewVersion(version_id or new_id(), self.bucket, key, size, blobs, 3, headers, KEK, b"wrapped", b"sha")

    def put(self, key: str, stored: int = 1, preconditions: Preconditions | None = None) -> tuple[str, str, Committed]:
        """Commit a version of one blob: version id, blob id, what the commit said."""
        version, blob = self.version(key), self.new_blob(stored=stored)
        committed = self.catalogue.objects.commit(version, [blob], preconditions or Preconditions())
        return version.id, blob.blob.id, committed

    def claim(
        self, blob_ids: Sequence[str], action: CopyAction = CopyAction.REPLICATE, owner: str = "w", lease: float = 60
    ) -> Sequence[Claim]:
        return self.catalogue.copies.claim(action, blob_ids, self.nodes, owner, lease)

    def replicate(self, blob_id: str) -> None:
        claims = self.claim([blob_id])
        outcomes = [Outcome(claim.copy_id, claim.fence, CopyState.STORED) for claim in claims]
        assert len(self.catalogue.copies.end(outcomes).copy_ids) == len(claims)

    def state(self, key: str) -> str:
        return self.catalogue.objects.find("papers", key).protection.state.value


def node_spec(number: int) -> NodeSpec:
    return NodeSpec(f"node{number}", f"http://127.0.0.1:{9000 + number}", "boveda", f"node{number}")
