"""A drill's report: what makes it bad, and what people and scripts read."""

from __future__ import annotations

import pytest

from cli.drill.incidents import LIMITS, Incident
from cli.drill.load import Seen
from cli.drill.report import DrillReport

DOWN = "killed node seen as down"


def report(*incidents: Incident, lost: tuple[str, ...] = (), wrong: tuple[str, ...] = ()) -> DrillReport:
    return DrillReport(7, incidents, 100, lost, wrong)


def test_a_drill_is_good_when_nothing_is_lost_or_wrong_and_all_healed() -> None:
    assert report(Incident("a node killed", healed=2.0), Incident("a node paused", left_out="not here")).good


@pytest.mark.parametrize(
    "bad",
    [
        report(Incident("x", healed=1.0), lost=("k is lost",)),
        report(Incident("x", healed=1.0), wrong=("k was read with bytes that nobody stored there",)),
        report(Incident("x", failed="not within 180 s: full copies")),
    ],
)
def test_a_loss_a_wrong_byte_or_copies_that_never_came_make_it_bad(bad: DrillReport) -> None:
    assert not bad.good
    assert bad.document()["ok"] is False


def test_of_several_rounds_the_worst_figure_is_shown_beside_its_limit() -> None:
    found = report(Incident("a", figures={DOWN: 4.0}), Incident("b", figures={DOWN: LIMITS[DOWN] + 1}))
    assert found.document()["figures"] == [{"name": DOWN, "seconds": 11.0, "limit": 10.0, "kept": False}]


def test_a_slow_figure_alone_is_no_loss() -> None:
    assert report(Incident("a", figures={DOWN: 99.0}, healed=1.0)).good


def test_the_document_says_what_clients_saw_of_each_incident() -> None:
    incident = Incident("a node killed", "node2", Seen(40, 1, 2, 0.5), healed=3.25, figures={DOWN: 4.0})
    (found,) = report(incident).document()["incidents"]
    assert found == {
        "name": "a node killed",
        "target": "node2",
        "requests": 40,
        "refused": 1,
        "broken_off": 2,
        "slowest": 0.5,
        "full_copies_after": 3.25,
        "left_out": None,
        "failed": None,
    }


def test_the_table_names_what_was_broken_what_was_left_out_and_what_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    incident = Incident("a node killed", "node2", healed=3.0, figures={DOWN: 4.0})
    report(incident, Incident("a node paused", left_out="not here"), lost=("[k] is lost",)).show()
    shown = " ".join(capsys.readouterr().out.split())
    assert "a node killed" in shown
    assert "not here" in shown
    assert "[k] is lost" in shown
    assert "1 lost" in shown
