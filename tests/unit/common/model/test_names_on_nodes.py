from __future__ import annotations

import pytest

from common.model.names import BlobName, blob_name, new_alias, new_id, quarantine_name, quarantined_at

ID = "0190" + "0" * 26 + "ab"


def test_a_blob_s_name_says_whose_it_is() -> None:
    for blob_id in (ID, new_id()):
        assert BlobName.parse(blob_name(blob_id)) == BlobName(blob_id)
        alias = new_alias()
        assert BlobName.parse(blob_name(blob_id, alias)) == BlobName(blob_id, alias)
        assert str(BlobName(blob_id, alias)) == f"{blob_name(blob_id)}.{alias}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "blobs/",
        f"blobs/{ID}",
        f"blobs/ac/{ID}",
        f"blobs/ab/{ID[1:]}",
        f"blobs/ab/0{ID}",
        f"blobs/AB/{ID.upper()}",
        f"blobs/ab/{ID}/x",
        f"blobs/ab/{ID}\n",
        f"blobs/ab/{ID}.",
        f"blobs/ab/{ID}.0123456",
        f"blobs/ab/{ID}.0123456g",
        f"blobs/ab/{ID}.012345678",
        f"quarantine/ab/{ID}",
        "boveda/identity.json",
    ],
)
def test_what_is_no_blob_s_name_is_nobody_s(name: str) -> None:
    assert BlobName.parse(name) is None


def test_evidence_says_since_when_it_lies_there() -> None:
    assert quarantined_at(quarantine_name(ID, 1_800_000_000.25)) == 1_800_000_000.25


@pytest.mark.parametrize("name", ["quarantine/", "quarantine/yesterday/x", f"quarantine/{ID}", "quarantine/20270115/x"])
def test_other_names_there_have_no_time(name: str) -> None:
    assert quarantined_at(name) is None
