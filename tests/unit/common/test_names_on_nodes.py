from __future__ import annotations

import pytest

from common.objects import blob_id_of, blob_name, new_id, quarantine_name, quarantined_at

ID = "0190" + "0" * 26 + "ab"


def test_a_blob_s_name_says_whose_it_is() -> None:
    for blob_id in (ID, new_id()):
        assert blob_id_of(blob_name(blob_id)) == blob_id


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
        f"quarantine/ab/{ID}",
        "boveda/identity.json",
    ],
)
def test_what_is_no_blob_s_name_is_nobody_s(name: str) -> None:
    assert blob_id_of(name) is None


def test_evidence_says_since_when_it_lies_there() -> None:
    assert quarantined_at(quarantine_name(ID, 1_800_000_000.25)) == 1_800_000_000.25


@pytest.mark.parametrize("name", ["quarantine/", "quarantine/yesterday/x", f"quarantine/{ID}", "quarantine/20270115/x"])
def test_other_names_there_have_no_time(name: str) -> None:
    assert quarantined_at(name) is None
