"""Whether an upload may begin, before its body is read: bucket, preconditions, key, and nodes that take copies."""

from __future__ import annotations

from dataclasses import dataclass

from api.store.placing import WritableNodes
from common.catalogue.base import Catalogue
from common.crypto.keyring import KeyProvider
from common.errors import NoSuchObject, NotAllowed, NotEnoughNodes
from common.model.versions import Bucket, Preconditions


@dataclass(frozen=True, slots=True)
class Admitted:
    """`need` copies of each blob are put before it is acknowledged; the data key is to be wrapped under `kek_id`."""

    bucket: Bucket
    need: int
    kek_id: str


def admit(
    catalogue: Catalogue,
    nodes: WritableNodes,
    keys: KeyProvider,
    name: str,
    key: str,
    preconditions: Preconditions,
    write_copies: int | None,
) -> Admitted:
    """NoSuchBucket, NotAllowed, PreconditionFailed, KeysUnavailable, NotEnoughNodes."""
    bucket = catalogue.buckets.get(name)
    need = bucket.write_copies if write_copies is None else write_copies
    if not 1 <= need <= bucket.copies:
        raise NotAllowed("X-Write-Copies", f"must be 1 to {bucket.copies}, the copies of this bucket")
    if preconditions:
        _judge(catalogue, name, key, preconditions)
    kek_id = keys.active()
    if len(nodes.candidates()) < need:
        raise NotEnoughNodes(f"fewer than {need} nodes take copies now")
    return Admitted(bucket, need, kek_id)


def _judge(catalogue: Catalogue, bucket: str, key: str, preconditions: Preconditions) -> None:
    try:
        current = catalogue.objects.find(bucket, key, blobs=1).version
    except NoSuchObject:
        preconditions.check(None, None)
    else:
        preconditions.check(current.id, current.created_at)
