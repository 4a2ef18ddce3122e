from __future__ import annotations

import time

import pytest

from common.errors import CatalogueUnavailable
from common.model.work import CopyAction
from tests.support.waiting import wait_until
from tests.unit.workers.rig import Rig
from workers.copies.claims import Claims, LeaseOver
from workers.copies.outcomes import OutcomeWriter
from workers.leases import HeldLeases


def held(rig: Rig, owner: str = "w", seconds: float = 60) -> HeldLeases:
    return HeldLeases(rig.catalogue.copies, rig.catalogue.leases, owner, seconds)


def test_a_renewed_lease_is_not_expired_by_the_sweep(rig: Rig) -> None:
    rig.put("a")
    leases = held(rig)
    claims = rig.catalogue.copies.claim(CopyAction.REPLICATE, rig.blob_ids("a"), rig.ids, "w", 60)
    leases.hold(claims, time.monotonic())
    for _ in range(5):
        rig.clock.now += 40
        leases.renew()
    assert rig.catalogue.copies.expire_leases() == []
    leases.drop(claims)
    rig.clock.now += 40
    leases.renew()
    rig.clock.now += 40
    assert len(rig.catalogue.copies.expire_leases()) == 2


def test_a_lease_that_the_catalogue_gave_to_a_later_claim_is_over(rig: Rig) -> None:
    rig.put("a")
    leases = held(rig)
    old = rig.catalogue.copies.claim(CopyAction.REPLICATE, rig.blob_ids("a"), rig.ids, "w", 60)
    leases.hold(old, time.monotonic())
    rig.clock.now += 61  # by the catalogue's clock, while this process stood still
    new = rig.catalogue.copies.claim(CopyAction.REPLICATE, rig.blob_ids("a"), rig.ids, "w", 60)
    leases.hold(new, time.monotonic())
    leases.renew()
    assert [leases.left(claim) for claim in old] == [0.0, 0.0]
    assert all(leases.left(claim) > 50 for claim in new)


def test_one_thread_renews_all_by_itself(rig: Rig) -> None:
    rig.put("a")
    leases = held(rig, seconds=3)
    claims = rig.catalogue.copies.claim(CopyAction.REPLICATE, rig.blob_ids("a"), rig.ids, "w", 3)
    leases.hold(claims, time.monotonic() - 1)
    leases.start()
    first = leases.left(claims[0])
    wait_until(lambda: leases.left(claims[0]) > first)
    leases.stop()


def test_nothing_is_done_with_a_lease_that_was_not_renewed(rig: Rig) -> None:
    rig.put("a")
    leases = held(rig)
    outcomes = OutcomeWriter(rig.catalogue.copies.end)
    claims = Claims(rig.catalogue, rig.nodes, leases, outcomes, rig.settings)
    (first, second) = claims.take(CopyAction.REPLICATE, rig.blob_ids("a"))
    assert 0 < claims.deadline(first).remaining() <= 60
    leases.drop([first])
    with pytest.raises(LeaseOver):
        claims.deadline(first)
    leases.hold([second], time.monotonic() - 50)
    with pytest.raises(LeaseOver):
        claims.deadline(second)


def test_a_call_s_deadline_ends_before_the_lease(rig: Rig) -> None:
    rig.settings = rig.settings.model_copy(update={"lease_seconds": 5.0})
    rig.put("a")
    leases = held(rig, seconds=5)
    claims = Claims(rig.catalogue, rig.nodes, leases, OutcomeWriter(rig.catalogue.copies.end), rig.settings)
    (claim, _) = claims.take(CopyAction.REPLICATE, rig.blob_ids("a"))
    assert claims.deadline(claim).remaining() <= leases.left(claim) + 0.01


def test_a_named_lease_has_one_holder_even_within_a_process(rig: Rig) -> None:
    one, two = held(rig, "one"), held(rig, "two")
    assert one.take("job:1")
    assert not one.take("job:1")
    assert not two.take("job:1")
    rig.clock.now += 40
    one.renew()
    rig.clock.now += 40
    assert not two.take("job:1")
    one.give("job:1")
    assert two.take("job:1")
    assert not one.has("job:1")


def test_a_catalogue_that_is_away_ends_no_renewing_thread(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.put("a")
    leases = held(rig, seconds=0.3)
    claims = rig.catalogue.copies.claim(CopyAction.REPLICATE, rig.blob_ids("a"), rig.ids, "w", 0.3)
    failed = 0

    def away(*_: object) -> None:
        nonlocal failed
        failed += 1
        raise CatalogueUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(rig.catalogue.copies, "renew", away)
        leases.hold(claims, time.monotonic() + 60)
        leases.start()
        wait_until(lambda: failed >= 2)
    before = leases.left(claims[0])
    wait_until(lambda: leases.left(claims[0]) != before and leases.left(claims[0]) <= 0.3)
    leases.stop()


def test_a_lease_given_back_late_is_not_the_one_another_thread_has_taken(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other_process = held(rig, "one"), held(rig, "two")
    assert one.take("job:1")
    release = rig.catalogue.leases.release

    def taken_meanwhile(name: str, owner: str) -> None:
        rig.clock.now += 120  # it took so long that the lease was over
        assert one.take(name)
        release(name, owner)

    with monkeypatch.context() as patch:
        patch.setattr(rig.catalogue.leases, "release", taken_meanwhile)
        one.give("job:1")
    assert one.has("job:1")
    assert not other_process.take("job:1")
