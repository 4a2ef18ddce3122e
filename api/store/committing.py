"""The commit point of an upload: its version becomes current, its data key wrapped under a key that is not retired."""

from __future__ import annotations

from collections.abc import Collection

from api.store.upload import Upload
from common.catalogue.base import Catalogue
from common.catalogue.objects import Committed
from common.crypto.keyring import KeyProvider
from common.errors import KeysUnavailable
from common.model.versions import NewBlob, NewVersion


def commit(
    catalogue: Catalogue,
    keys: KeyProvider,
    upload: Upload,
    sha256: bytes | None,
    *blobs: NewBlob,
    stored: Collection[tuple[str, str]] = (),
    uploading: bool,
) -> tuple[NewVersion, Committed]:
    """`blobs`, `stored`, `uploading` and errors as `Objects.commit` has them."""

    def once() -> tuple[NewVersion, Committed]:
        new = upload.new_version(keys, sha256)
        return new, catalogue.objects.commit(
            new, blobs, upload.preconditions, stored, uploading=uploading, need=upload.need
        )

    try:
        return once()
    except KeysUnavailable:
        kek_id = keys.active()
        if kek_id == upload.kek_id:
            raise
        upload.kek_id = kek_id  # the other one was retired meanwhile
        return once()
