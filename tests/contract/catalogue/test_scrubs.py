from __future__ import annotations

import pytest

from common.catalogue.sql import scrubs
from common.model.copies import CopyState
from common.model.names import BlobName, new_id
from common.model.scrubbing import Reclaimed, Scrub, scrub_lease
from common.model.versions import Preconditions
from common.model.work import CopyAction
from tests.contract.catalogue.race import race
from tests.contract.catalogue.stage import Stage


def unread(stage: Stage, before: float | None = None, limit: int = 100) -> list[str]:
    """Blob ids, over all pages."""
    found: list[str] = []
    after: int | None = 0
    while after is not None:
        page, after = stage.catalogue.scrubs.unread(stage.nodes[0], before, after, limit)
        found += [copy.blob.id for copy in page]
    return found


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_stored_copies_of_current_versions_are_paged_by_id(
    stage: Stage, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubs, "STRETCH", 4)
    blobs = [stage.put(key)[1] for key in ("a", "b", "c", "d")]
    stage.put("gone")
    stage.catalogue.objects.delete("papers", "gone", Preconditions())
    assert stage.catalogue.copies.suspect(blobs[1], stage.nodes[0], "seen wrong")
    assert unread(stage, limit=limit) == [blobs[0], blobs[2], blobs[3]]
    assert stage.catalogue.scrubs.unread(stage.nodes[1], None, 0)[0] == []


def test_verified_copies_are_read_again_in_a_later_pass_only(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    (copy,), _ = stage.catalogue.scrubs.unread(stage.nodes[0], None, 0)
    began = stage.catalogue.now()
    assert stage.catalogue.scrubs.verified([(copy.copy_id, copy.fence)], began) == 1
    assert {row.verified_at for row in stage.catalogue.objects.copies("papers", "a")[1]} == {None, began}
    assert unread(stage) == []
    assert unread(stage, began) == []
    assert unread(stage, stage.catalogue.now() + 1) == [blob_id]


def test_a_copy_whose_row_changed_is_not_verified(stage: Stage) -> None:
    stage.put("a")
    (copy,), _ = stage.catalogue.scrubs.unread(stage.nodes[0], None, 0)
    assert stage.catalogue.copies.suspect(copy.blob.id, copy.node_id, "seen wrong")
    assert stage.catalogue.scrubs.verified([(copy.copy_id, copy.fence)], 1.0) == 0
    assert stage.catalogue.scrubs.verified([(copy.copy_id, copy.fence + 1)], 1.0) == 0, "it is not stored"


def test_the_weight_of_a_node_is_that_of_its_stored_copies(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubs, "STRETCH", 2)
    for key in ("a", "b", "c"):
        stage.put(key)
    count, size, after = 0, 0, 0
    while after is not None:
        more, weight, following = stage.catalogue.scrubs.weigh(stage.nodes[0], after)
        count, size = count + more, size + weight
        if following is None:
            break
        after = following
    assert (count, size) == (3, 3 * 93)


def test_a_checkpoint_is_kept_only_for_the_lease_s_holder(stage: Stage) -> None:
    node = stage.nodes[0]
    written = Scrub(node, {"phase": "rest", "after": 7}, 1.0, 2.0, 3, 4, 5, {"missing": 6}, 7)
    assert not stage.catalogue.scrubs.save(written, "me")
    assert stage.catalogue.scrubs.get(node) == Scrub(node)
    assert stage.catalogue.leases.acquire(scrub_lease(node), "me", 60)
    assert stage.catalogue.scrubs.save(written, "me")
    found = stage.catalogue.scrubs.get(node)
    assert (found.cursor, found.started_at, found.passes, found.bytes, found.found, found.total) == (
        {"phase": "rest", "after": 7},
        1.0,
        3,
        5,
        {"missing": 6},
        7,
    )
    assert stage.catalogue.scrubs.all() == {node: found}


def test_scrub_and_reclaim_do_not_overwrite_each_other(stage: Stage) -> None:
    node = stage.nodes[0]
    assert stage.catalogue.leases.acquire(scrub_lease(node), "me", 60)
    stage.catalogue.scrubs.reclaimed(node, Reclaimed(1.0, "g", 2, "why"), False)
    assert stage.catalogue.scrubs.save(Scrub(node, {"phase": "names"}), "me")
    stage.catalogue.scrubs.reclaimed(node, Reclaimed(2.0, "g", 3), False)
    found = stage.catalogue.scrubs.get(node)
    assert (found.cursor, found.reclaimed) == ({"phase": "names"}, Reclaimed(2.0, "g", 3))


def test_a_node_that_is_identified_for_the_first_time_has_the_generation_noted(stage: Stage) -> None:
    node, other = stage.nodes[:2]
    stage.catalogue.nodes.set_identity(node, "known", 1)
    generation = stage.catalogue.nodes.cluster()[1]
    assert stage.catalogue.scrubs.get(node).reclaimed == Reclaimed(generation=generation)
    assert stage.catalogue.scrubs.get(node).updated_at == 0.0, "it was not scrubbed"
    assert stage.catalogue.scrubs.get(other).reclaimed.generation is None


def test_a_node_ahead_of_the_catalogue_holds_reclaim_until_it_is_lifted(stage: Stage) -> None:
    node = stage.nodes[0]
    stage.catalogue.nodes.set_identity(node, "known", 1)
    stage.catalogue.nodes.set_identity(node, "known", 2)
    assert stage.catalogue.scrubs.get(node).reclaimed.held is None, "one ahead: written to the node a moment before"
    stage.catalogue.nodes.set_identity(node, "known", 4)
    assert stage.catalogue.scrubs.get(node).reclaimed.held is not None
    stage.catalogue.scrubs.reclaimed(node, Reclaimed(1.0), False)
    assert stage.catalogue.scrubs.get(node).reclaimed.held is not None
    stage.catalogue.scrubs.reclaimed(node, Reclaimed(1.0), True)
    assert stage.catalogue.scrubs.get(node).reclaimed.held is None


def test_taking_a_node_in_begins_its_scrub_anew_and_ends_the_run_that_goes_on(stage: Stage) -> None:
    node = stage.nodes[0]
    assert stage.catalogue.leases.acquire(scrub_lease(node), "me", 60)
    assert stage.catalogue.scrubs.save(Scrub(node, {"phase": "rest"}, passes=4), "me")
    stage.catalogue.nodes.taken_in(node, 9)
    row = next(row for row in stage.catalogue.nodes.all() if row.id == node)
    assert (row.identity, row.epoch) == ("known", 9)
    assert not stage.catalogue.scrubs.save(Scrub(node, {"phase": "names"}), "me")
    found = stage.catalogue.scrubs.get(node)
    assert (found.cursor, found.passes) == ({"phase": "census"}, 4)


def test_what_a_listing_lacks_is_missing_in_pages_and_what_a_worker_holds_is_left(stage: Stage) -> None:
    node = stage.nodes[0]
    ids = [new_id()[:-2] + digits for digits in ("a0", "a1", "a2", "b0", "a3")]
    for number, blob_id in enumerate(ids):
        blob = stage.new_blob(stage.blob())
        blob = type(blob)(type(blob.blob)(blob_id, 0, 0, 5, 93, b"d" * 32, b"s" * 24), blob.copies)
        stage.catalogue.objects.commit(stage.version(f"key{number}"), [blob], Preconditions())
    assert stage.catalogue.nodes.doubt(node) == 5
    claims = stage.catalogue.copies.claim(CopyAction.VERIFY, [ids[4]], [node], "w", 60)
    assert len(claims) == 1
    turned, after = 0, 0
    while True:
        count, following = stage.catalogue.scrubs.absent(node, "a", {BlobName(ids[1])}, after, 1)
        turned += count
        if following is None:
            break
        after = following
    assert turned == 2
    states = []
    for number in range(5):
        rows = stage.catalogue.objects.copies("papers", f"key{number}")[1]
        states += [row.state for row in rows if row.node_id == node]
    assert states == [CopyState.MISSING, CopyState.SUSPECT, CopyState.MISSING, CopyState.SUSPECT, CopyState.SUSPECT]
    assert stage.catalogue.copies.claim(CopyAction.REPLICATE, ids[:1], [node], "w", 60), "due at once"


def test_a_scope_s_pages_say_what_verified_needs(stage: Stage) -> None:
    for key in ("a/1", "a/2", "b"):
        stage.put(key, stored=2)
    page = stage.catalogue.scrubs.scope(stage.bucket.id, "a/", None, None, 1)
    assert page.last == (stage.bucket.id, "a/1", 0)
    (copies,) = page.copies
    assert sorted(copy.state.value for copy in copies) == ["missing", "stored", "stored"]
    second = stage.catalogue.scrubs.scope(stage.bucket.id, "a/", None, page.last, 10)
    assert second.last == (stage.bucket.id, "a/2", 0)
    assert stage.catalogue.scrubs.scope(stage.bucket.id, "a/", None, second.last, 10).last is None
    stored = [(copy.copy_id, copy.fence) for copy in copies if copy.state is CopyState.STORED]
    assert stage.catalogue.scrubs.verified(stored, 1.0) == 2


def test_of_two_first_writers_of_a_node_both_are_noted(stage: Stage) -> None:
    node = stage.nodes[0]
    assert stage.catalogue.leases.acquire(scrub_lease(node), "w", 60)
    saved, reclaimed, waited = race(
        stage.catalogue,
        lambda: stage.catalogue.scrubs.save(Scrub(node, {"phase": "read"}, passes=1), "w"),
        lambda: stage.catalogue.scrubs.reclaimed(node, Reclaimed(1.0, "g", 2), True),
        pause_before="UPDATE scrubs",
    )
    assert (saved.value, saved.error, reclaimed.error) == (True, None, None)
    assert waited
    kept = stage.catalogue.scrubs.get(node)
    assert (kept.passes, kept.reclaimed) == (1, Reclaimed(1.0, "g", 2))
