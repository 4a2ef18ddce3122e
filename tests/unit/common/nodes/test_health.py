"""The verdict's state machine, event by event with literal times, and the identity it is fed from."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.model.nodes import NodeHealth
from common.nodes.health import AHEAD_MAX, EPOCH_MAX, Identity, Verdict, all_fail_together, next_epoch
from tests.unit.common.nodes.stage import ABSURD_EPOCHS

UP, SUSPECT, DOWN, FOREIGN = NodeHealth.UP, NodeHealth.SUSPECT, NodeHealth.DOWN, NodeHealth.FOREIGN


def apply(verdict: Verdict, events: str, at: float = 0.0) -> list[NodeHealth]:
    """The health after each event, two seconds apart. r f w: a probe that was right, failed, wrong; F R: traffic."""
    seen = []
    for number, event in enumerate(events):
        now = at + 2.0 * number
        if event == "r":
            verdict.probe_right(now)
        elif event == "f":
            verdict.probe_failed(now, now + 1)
            verdict.fall(now + 1)
        elif event == "w":
            verdict.probe_wrong()
        elif event == "F":
            verdict.traffic_failed(now)
        elif event == "R":
            verdict.traffic_right(now)
        seen.append(verdict.health)
    return seen


@pytest.mark.parametrize(
    ("first", "events", "expected"),
    [
        pytest.param(SUSPECT, "r", [UP], id="the first success counts at once"),
        pytest.param(DOWN, "r", [UP], id="even where others saw it down"),
        pytest.param(UP, "f", [SUSPECT], id="one failure makes it suspect"),
        pytest.param(UP, "fff", [SUSPECT, SUSPECT, DOWN], id="three bring it down"),
        pytest.param(UP, "frf", [SUSPECT, SUSPECT, SUSPECT], id="failures not in a row do not"),
        pytest.param(UP, "ffrff", [SUSPECT] * 5, id="counting starts anew after a success"),
        pytest.param(UP, "rfrr", [UP, SUSPECT, SUSPECT, UP], id="two successes bring it up again"),
        pytest.param(UP, "rfffrr", [UP, SUSPECT, SUSPECT, DOWN, DOWN, UP], id="from down as well"),
        pytest.param(UP, "FFFF", [SUSPECT] * 4, id="traffic alone never brings it down"),
        pytest.param(UP, "FFf", [SUSPECT, SUSPECT, DOWN], id="traffic counts once a probe failed"),
        pytest.param(UP, "rfRR", [UP, SUSPECT, SUSPECT, UP], id="authenticated bytes count as successes"),
        pytest.param(UP, "fffRRR", [SUSPECT, SUSPECT, DOWN, DOWN, DOWN, DOWN], id="but not for a node that is down"),
        pytest.param(UP, "ww", [SUSPECT, FOREIGN], id="two wrong identities make it foreign"),
        pytest.param(UP, "wrw", [SUSPECT, SUSPECT, SUSPECT], id="one now and then does not"),
        pytest.param(UP, "wfw", [SUSPECT, SUSPECT, SUSPECT], id="nor two with a failure between"),
        pytest.param(UP, "rwwrr", [UP, SUSPECT, FOREIGN, FOREIGN, UP], id="two right ones bring it back"),
        pytest.param(UP, "wwrfrr", [SUSPECT, FOREIGN, FOREIGN, FOREIGN, FOREIGN, UP], id="in a row"),
        pytest.param(UP, "wwfff", [SUSPECT] + [FOREIGN] * 4, id="foreign is remembered while it does not answer"),
        pytest.param(DOWN, "ww", [DOWN, FOREIGN], id="a node that comes back with another disk"),
        pytest.param(FOREIGN, "rr", [FOREIGN, UP], id="a remembered foreign node needs two right ones from the start"),
        pytest.param(UP, "wRR", [SUSPECT] * 3, id="traffic does not speak for a node with a wrong identity"),
    ],
)
def test_events_lead_to_health(first: NodeHealth, events: str, expected: list[NodeHealth]) -> None:
    assert apply(Verdict(first), events) == expected


def test_traffic_counts_at_most_once_a_second() -> None:
    verdict = Verdict(UP)
    for hundredth in range(99):
        verdict.traffic_failed(hundredth / 100)
    verdict.probe_failed(1.0, 1.1)
    verdict.fall(1.1)
    assert verdict.health is SUSPECT  # two failures: one of traffic, one of a probe
    verdict.probe_failed(3.0, 3.1)
    verdict.fall(3.1)
    assert verdict.health is DOWN


def test_each_earlier_fall_doubles_the_successes_needed_up_to_five() -> None:
    verdict, needed = Verdict(UP), []
    for fall in range(4):
        at = 100.0 * fall
        assert apply(verdict, "fff", at)[-1] is DOWN
        healths = apply(verdict, "rrrrrr", at + 10)
        needed.append(healths.index(UP) + 1)
    assert needed == [2, 4, 5, 5]


def test_falls_are_forgotten_after_ten_minutes() -> None:
    verdict = Verdict(UP)
    apply(verdict, "rfffrrrr")
    apply(verdict, "fff", at=700.0)
    assert apply(verdict, "rr", at=710.0) == [DOWN, UP]


def test_an_accepted_node_is_no_longer_foreign_and_two_probes_bring_it_up() -> None:
    verdict = Verdict(FOREIGN)
    verdict.accepted()
    assert verdict.health is SUSPECT
    assert apply(verdict, "rr")[-1] is UP


def test_a_node_others_vouch_for_is_suspect_at_once_and_needs_three_failures_to_be_down_again() -> None:
    verdict = Verdict(UP)
    apply(verdict, "fff")
    verdict.vouched()
    assert verdict.health is SUSPECT
    assert apply(verdict, "ff", at=20.0) == [SUSPECT, SUSPECT]
    assert apply(verdict, "f", at=24.0) == [DOWN]


@pytest.mark.parametrize("health", [UP, SUSPECT, FOREIGN])
def test_vouching_changes_nothing_else(health: NodeHealth) -> None:
    verdict = Verdict(health)
    verdict.vouched()
    assert verdict.health is health


def failing(first: NodeHealth, started: float | None) -> Verdict:
    verdict = Verdict(first)
    if started is not None:
        verdict.probe_failed(started, started + 1)
    return verdict


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        pytest.param([(UP, 10.0), (UP, 10.5), (UP, 11.0)], True, id="within a second"),
        pytest.param([(UP, 10.0), (UP, 10.5), (UP, 11.1)], False, id="not within a second"),
        pytest.param([(UP, 10.0), (UP, 10.5), (UP, None)], False, id="one answers"),
        pytest.param([(UP, 10.0), (UP, 10.5), (DOWN, 1.0)], True, id="one was down already"),
        pytest.param([(UP, 10.0), (DOWN, 1.0), (DOWN, 1.0)], False, id="the last one that was left"),
        pytest.param([(UP, 10.0)], False, id="the only node"),
        pytest.param([], False, id="no node"),
    ],
)
def test_a_process_doubts_itself_when_all_nodes_begin_to_fail_together(
    verdicts: list[tuple[NodeHealth, float | None]], together: bool
) -> None:
    assert all_fail_together([failing(*verdict) for verdict in verdicts]) is together


OURS = Identity("cluster", "node", "generation", 3)


@pytest.mark.parametrize(
    ("seen", "right"),
    [
        (OURS, True),
        (Identity("cluster", "node", "generation", 4), True),
        (Identity("cluster", "node", "generation", 3 + AHEAD_MAX), True),
        (Identity("cluster", "node", "generation", 4 + AHEAD_MAX), False),
        (Identity("cluster", "node", "generation", EPOCH_MAX), False),
        (Identity("cluster", "node", "generation", 2), False),
        (Identity("cluster", "node", "another", 3), False),
        (Identity("cluster", "other", "generation", 3), False),
        (Identity("other", "node", "generation", 3), False),
        (None, False),
    ],
)
def test_an_identity_is_right_only_if_all_of_it_is(seen: Identity | None, right: bool) -> None:
    assert (OURS.objection(seen) is None) is right


def test_an_identity_is_read_back_as_it_was_written() -> None:
    assert Identity.decode(OURS.encode()) == OURS


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"3", b"null", b"{}", b"[" * 4096, b'{"a":' * 800])
def test_anything_else_is_no_identity(data: bytes) -> None:
    assert Identity.decode(data) is None


@pytest.mark.parametrize("epoch", ABSURD_EPOCHS)
def test_an_epoch_that_no_row_can_hold_is_no_identity(epoch: str) -> None:
    data = f'{{"cluster":"cluster","node":"node","generation":"generation","epoch":{epoch}}}'
    assert Identity.decode(data.encode()) is None


@pytest.mark.parametrize("part", ["cluster", "node", "generation"])
@pytest.mark.parametrize("value", ['""', '"' + "x" * 129 + '"', "3", "true", "null", '["x"]'])
def test_a_part_that_is_no_short_text_is_no_identity(part: str, value: str) -> None:
    parts = {"cluster": '"c"', "node": '"n"', "generation": '"g"', part: value}
    text = ",".join(f'"{name}":{word}' for name, word in parts.items())
    assert Identity.decode(f'{{{text},"epoch":1}}'.encode()) is None


def test_an_identity_in_another_encoding_is_none() -> None:
    assert Identity.decode(OURS.encode().decode().encode("utf-16")) is None


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["cluster", "node", "generation", "epoch"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_lies_there_is_an_identity_within_bounds_or_none(data: bytes) -> None:
    found = Identity.decode(data)
    assert found is None or (0 <= found.epoch <= EPOCH_MAX and "" not in (found.cluster, found.node, found.generation))


@pytest.mark.parametrize(
    ("ours", "seen", "following"),
    [
        (3, None, 4),
        (3, 9, 10),
        (3, 2, 4),
        (3, 3 + AHEAD_MAX, 4 + AHEAD_MAX),
        (3, EPOCH_MAX, 4),
        (EPOCH_MAX, None, EPOCH_MAX),
    ],
)
def test_the_next_epoch_is_above_all_that_can_be_believed(ours: int, seen: int | None, following: int) -> None:
    assert next_epoch(ours, None if seen is None else replace(OURS, epoch=seen)) == following
