"""Names that were given up: noted with the end of the row they belonged to, or not at all."""

from __future__ import annotations

from common.model.copies import CopyState
from common.model.names import BlobName
from common.model.scrubbing import NameStanding
from common.model.versions import Preconditions
from common.model.work import Claim, CopyAction, Locked, Outcome
from tests.contract.catalogue.stage import Stage

ALIAS = "0123abcd"


def claimed(stage: Stage, blob_id: str, action: CopyAction) -> Claim:
    """The row on the second node."""
    (claim,) = stage.catalogue.copies.claim(action, [blob_id], stage.nodes[1:2], "w", 60)
    return claim


def renamed(stage: Stage, key: str = "a") -> str:
    """A blob whose second copy was stored under an alias."""
    _, blob_id, _ = stage.put(key)
    claim = claimed(stage, blob_id, CopyAction.REPLICATE)
    end = Outcome(claim.copy_id, claim.fence, CopyState.STORED, locked=Locked(None, "it answered 500"), alias=ALIAS)
    stage.catalogue.copies.end([end])
    return blob_id


def of(stage: Stage, unused: bool = False) -> list[tuple[str, str | None, str]]:
    found = stage.catalogue.locked_names.of(stage.nodes[1], unused=unused)
    return [(locked.name.blob_id, locked.name.alias, locked.error) for locked in found]


def test_a_copy_stored_under_an_alias_is_read_shown_and_claimed_under_it(stage: Stage) -> None:
    blob_id = renamed(stage)
    found, details = stage.catalogue.objects.copies(stage.bucket.name, "a")
    aliases = {row.node_id: row.alias for row in details}
    assert aliases == {stage.nodes[0]: None, stage.nodes[1]: ALIAS, stage.nodes[2]: None}
    read = stage.catalogue.objects.find(stage.bucket.name, "a").blobs[0]
    assert {copy.node_id: copy.alias for copy in read.copies} == aliases
    (moved,) = stage.catalogue.relocations.of([blob_id])
    assert {row.node_id: row.alias for row in moved.rows} == aliases
    assert stage.catalogue.copies.suspect(blob_id, stage.nodes[1], "wrong")
    claim = claimed(stage, blob_id, CopyAction.VERIFY)
    assert claim.alias == ALIAS
    assert claim.name.endswith(f"/{blob_id}.{ALIAS}")
    assert found.version.key == "a"


def test_the_name_that_was_given_up_is_remembered_until_it_is_forgotten(stage: Stage) -> None:
    blob_id = renamed(stage)
    assert of(stage) == of(stage, unused=True) == [(blob_id, None, "it answered 500")]
    assert stage.catalogue.locked_names.counts() == {stage.nodes[1]: 1}
    stage.catalogue.locked_names.forget(stage.nodes[1], [BlobName(blob_id, ALIAS)])
    assert len(of(stage)) == 1
    stage.catalogue.locked_names.forget(stage.nodes[1], [BlobName(blob_id)])
    assert of(stage) == []
    assert stage.catalogue.locked_names.counts() == {}


def test_an_overtaken_end_gives_no_name_up(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    claim = claimed(stage, blob_id, CopyAction.REPLICATE)
    end = Outcome(claim.copy_id, claim.fence - 1, CopyState.STORED, locked=Locked(None, "500"), alias=ALIAS)
    stage.catalogue.copies.end([end])
    assert of(stage) == []


def test_a_doomed_row_goes_with_a_record_and_the_first_time_stays(stage: Stage) -> None:
    blob_id = renamed(stage)
    (first,) = stage.catalogue.locked_names.of(stage.nodes[1])
    stage.catalogue.objects.delete(stage.bucket.name, "a", Preconditions())
    stage.catalogue.objects.doom_copies(0, 1000)
    mine = claimed(stage, blob_id, CopyAction.DELETE)
    stage.catalogue.copies.end([Outcome(mine.copy_id, mine.fence, None, locked=Locked(ALIAS, "it answered 500 again"))])
    assert of(stage) == [(blob_id, None, "it answered 500"), (blob_id, ALIAS, "it answered 500 again")]
    assert stage.catalogue.locked_names.of(stage.nodes[1])[0].since == first.since


def test_a_name_that_a_row_has_again_is_in_use(stage: Stage) -> None:
    blob_id = renamed(stage)
    stage.catalogue.copies.suspect(blob_id, stage.nodes[1], "wrong")
    claim = claimed(stage, blob_id, CopyAction.VERIFY)
    end = Outcome(claim.copy_id, claim.fence, CopyState.STORED, locked=Locked(ALIAS, "500"), alias=None)
    stage.catalogue.copies.end([end])
    assert of(stage, unused=True) == [(blob_id, ALIAS, "500")]
    assert len(of(stage)) == 2


def test_on_its_node_a_copy_is_known_by_its_name_and_any_other_is_a_leftover(stage: Stage) -> None:
    blob_id = renamed(stage)
    plain, alias, other = BlobName(blob_id), BlobName(blob_id, ALIAS), BlobName(blob_id, "ffffffff")
    sort = stage.catalogue.orphans.sort
    assert sort(stage.nodes[1], [plain, alias, other]) == {
        plain: NameStanding.LEFTOVER,
        alias: NameStanding.KNOWN,
        other: NameStanding.LEFTOVER,
    }
    assert sort(stage.nodes[0], [plain, alias]) == {plain: NameStanding.KNOWN, alias: NameStanding.LEFTOVER}


def test_a_removed_node_takes_its_records_with_it(stage: Stage) -> None:
    renamed(stage)
    stage.catalogue.topology.retire("node2")
    while stage.catalogue.relocations.clear(stage.nodes[1]):
        pass
    stage.catalogue.objects.delete(stage.bucket.name, "a", Preconditions())
    stage.catalogue.objects.doom_copies(0, 1000)
    while stage.catalogue.relocations.clear(stage.nodes[1]):
        pass
    assert stage.catalogue.relocations.remove(stage.nodes[1])
    assert stage.catalogue.locked_names.counts() == {}
