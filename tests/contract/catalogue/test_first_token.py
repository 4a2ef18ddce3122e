"""Every process of the API brings the first admin token when it starts, at the same moment."""

from __future__ import annotations

from tests.contract.catalogue.race import race
from tests.contract.catalogue.stage import Stage

OLD, NEW = "0" * 64, "1" * 64


def test_two_processes_that_bring_the_same_first_token_both_start(stage: Stage) -> None:
    bring = lambda: stage.catalogue.tokens.ensure("admin", OLD, ["admin"])  # noqa: E731
    one, two, _ = race(stage.catalogue, bring, bring, pause_before="INSERT INTO tokens")
    assert (one.error, two.error) == (None, None)
    found = stage.catalogue.tokens.find(OLD)
    assert found is not None
    assert found.name == "admin"


def test_two_processes_that_bring_a_changed_token_both_start_and_the_old_one_is_gone(stage: Stage) -> None:
    stage.catalogue.tokens.ensure("admin", OLD, ["admin"])
    bring = lambda: stage.catalogue.tokens.ensure("admin", NEW, ["admin"])  # noqa: E731
    one, two, _ = race(stage.catalogue, bring, bring, pause_before="INSERT INTO tokens")
    assert (one.error, two.error) == (None, None)
    assert stage.catalogue.tokens.find(NEW) is not None
    assert stage.catalogue.tokens.find(OLD) is None
