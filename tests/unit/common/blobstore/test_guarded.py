"""Gate, breaker, evidence and counts of the guard. That it is a BlobStore at all is shown by the contract suite."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from common.blobstore.base import Deadline, foreground
from common.blobstore.firstbytes import EVERY
from common.blobstore.guarded import GuardedStore
from common.blobstore.memory import MemoryStore
from common.errors import BlobMissing, CallCut, NodeBusy, NodeError, NodeReadOnly, NodeRefused, NodeTimeout

SOON = 5.0
LIMIT = 16 << 20  # bytes that a read may give


class Stage:
    """A guarded store in memory, a clock set by hand, and the evidence it gave."""

    def __init__(self) -> None:
        self.now = 0.0
        self.inner = MemoryStore()
        self.evidence: list[NodeError] = []
        self.busy = False
        self.guard = GuardedStore(self.inner, "stage", self.gate, self.evidence.append, lambda: self.now)

    def gate(self) -> None:
        if self.busy:
            raise NodeBusy("closed")

    def read(self) -> bytes:
        return self.guard.read("x", Deadline(SOON), LIMIT)

    def fail(self, times: int) -> None:
        self.inner.faults.down = True
        for _ in range(times):
            with pytest.raises(NodeError):
                self.read()


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.inner.blobs["x"] = (b"data", 0.0)
    return stage


def test_a_closed_gate_stops_every_call_before_the_node(stage: Stage) -> None:
    stage.busy = True
    calls: list[Callable[[], object]] = [
        stage.read,
        lambda: stage.guard.put("x", b"", Deadline(SOON)),
        lambda: stage.guard.get("x", Deadline(SOON)).__enter__(),
        lambda: stage.guard.delete("x", Deadline(SOON)),
    ]
    for call in calls:
        with pytest.raises(NodeBusy):
            call()
    assert (stage.inner.calls, stage.evidence, stage.guard.in_flight) == ([], [], 0)


def test_three_failures_in_a_row_open_the_breaker_and_the_node_is_left_alone(stage: Stage) -> None:
    stage.fail(3)
    asked = len(stage.inner.calls)
    with pytest.raises(NodeBusy):
        stage.read()
    assert len(stage.inner.calls) == asked
    assert stage.guard.breaker.is_open


def test_failures_not_in_a_row_do_not_open_it(stage: Stage) -> None:
    for _ in range(3):
        stage.fail(2)
        stage.inner.faults.down = False
        assert stage.read() == b"data"


def test_after_a_second_one_call_tries_and_its_success_closes_the_breaker(stage: Stage) -> None:
    stage.fail(3)
    stage.now, stage.inner.faults.down = 1.1, False
    while_trying: list[type] = []

    def others(_operation: str, _name: str) -> None:
        stage.inner.faults.before = None
        with pytest.raises(NodeBusy) as caught:
            stage.read()
        while_trying.append(caught.type)

    stage.inner.faults.before = others
    assert stage.read() == b"data"
    assert while_trying == [NodeBusy]
    assert stage.read() == b"data"


def test_after_a_second_one_call_tries_and_its_failure_opens_it_again(stage: Stage) -> None:
    stage.fail(3)
    stage.now = 1.1
    stage.fail(1)
    stage.inner.faults.down = False
    with pytest.raises(NodeBusy):
        stage.read()


@pytest.mark.parametrize("fault", ["refuses", "missing", "full"])
def test_a_node_that_answers_is_not_rested_whatever_it_answers(stage: Stage, fault: str) -> None:
    stage.inner.faults.refuses, stage.inner.faults.full = fault == "refuses", fault == "full"
    calls: dict[str, Callable[[], object]] = {
        "refuses": stage.read,
        "missing": lambda: stage.guard.read("absent", Deadline(SOON), LIMIT),
        "full": lambda: stage.guard.put("y", b"", Deadline(SOON)),
    }
    for _ in range(10):
        with pytest.raises((NodeRefused, BlobMissing, NodeReadOnly)):
            calls[fault]()
    assert len(stage.inner.calls) == 10


def test_evidence_is_what_the_node_did_and_nothing_else(stage: Stage) -> None:
    stage.fail(1)
    stage.inner.faults.down = False
    with pytest.raises(BlobMissing):
        stage.guard.read("absent", Deadline(SOON), LIMIT)
    with pytest.raises(NodeTimeout):
        stage.guard.read("x", Deadline(0), LIMIT)  # over before the node was asked
    with pytest.raises(ZeroDivisionError), stage.guard.get("x", Deadline(SOON)):
        _ = 1 / 0
    assert [type(error) for error in stage.evidence] == [NodeError]


def test_a_call_its_caller_cut_is_evidence_about_nothing(stage: Stage) -> None:
    stage.fail(2)
    stage.inner.faults.down = False
    cut = Deadline(SOON)
    cut.cut()
    calls: list[Callable[[], object]] = [
        lambda: stage.guard.read("x", cut, LIMIT),
        lambda: stage.guard.get("x", cut).__enter__(),
    ]
    for call in calls:
        with pytest.raises(CallCut):
            call()
    assert (len(stage.evidence), stage.guard.in_flight, stage.guard.breaker.is_open) == (2, 0, False)
    stage.fail(1)
    assert stage.guard.breaker.is_open, "the two failures before still count"


def test_the_waits_for_first_bytes_are_remembered_but_not_those_of_a_put(stage: Stage) -> None:
    stage.inner.faults.slow = 0.002
    for _ in range(EVERY // 2):
        stage.read()
        with stage.guard.get("x", Deadline(SOON)):
            stage.guard.put("y", b"", Deadline(SOON))
    assert stage.guard.first_bytes.p99 is not None
    assert 0.002 <= stage.guard.first_bytes.p99 < SOON


def test_an_answer_that_is_cut_is_evidence_too(stage: Stage) -> None:
    stage.inner.faults.cut = 2
    with pytest.raises(NodeError), stage.guard.get("x", Deadline(SOON)) as reader:
        reader.readinto(memoryview(bytearray(4)))
    with pytest.raises(NodeError), stage.guard.get("x", Deadline(SOON)) as reader:
        list(reader.chunks(4))
    assert len(stage.evidence) == 2


def test_calls_and_open_answers_are_in_flight(stage: Stage) -> None:
    seen: list[int] = []
    stage.inner.faults.before = lambda _operation, _name: seen.append(stage.guard.in_flight)
    stage.read()
    with stage.guard.get("x", Deadline(SOON)):
        stage.read()
    with pytest.raises(BlobMissing), stage.guard.get("absent", Deadline(SOON)):
        pass
    assert (seen, stage.guard.in_flight) == ([1, 1, 2, 1], 0)


def test_calls_and_errors_are_counted_by_node_and_kind(stage: Stage) -> None:
    def count(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {"node": "stage", **labels}) or 0.0

    calls, errors = (
        count("boveda_node_call_seconds_count", operation="read"),
        count("boveda_node_errors_total", kind="NodeError"),
    )
    stage.read()
    stage.fail(1)
    assert count("boveda_node_call_seconds_count", operation="read") == calls + 2
    assert count("boveda_node_errors_total", kind="NodeError") == errors + 1


def test_the_guard_costs_little(stage: Stage) -> None:
    """20 µs a call are allowed on a quiet machine; the best of many short rounds is what it costs."""

    def best(call: Callable[[], object]) -> float:
        rounds = []
        for _ in range(30):
            started = time.perf_counter()
            for _ in range(50):
                call()
            rounds.append((time.perf_counter() - started) / 50)
        return min(rounds)

    bare = best(lambda: stage.inner.stat("x", foreground(0)))
    assert best(lambda: stage.guard.stat("x", foreground(0))) - bare < 40e-6
