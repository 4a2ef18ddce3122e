"""Which content an object may have after what its clients were told, with literal times."""

from __future__ import annotations

import pytest

from cli.drill.history import SETTLES_SECONDS, History, Operation, Told, possible

DONE, REFUSED, UNKNOWN = Told.DONE, Told.REFUSED, Told.UNKNOWN
Row = tuple[str | None, float, float, Told]


def operations(*rows: Row) -> list[Operation]:
    return [Operation("k", digest, began, ended, told) for digest, began, ended, told in rows]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], {None}),
        ([("a", 0, 1, DONE)], {"a"}),
        ([("a", 0, 1, REFUSED)], {None}),
        ([("a", 0, 1, UNKNOWN)], {"a", None}),
        ([("a", 0, 1, DONE), ("b", 2, 3, DONE)], {"b"}),
        ([("a", 0, 3, DONE), ("b", 2, 4, DONE)], {"a", "b"}),
        ([("a", 0, 1, DONE), ("b", 2, 3, REFUSED)], {"a"}),
        ([("a", 0, 1, DONE), ("b", 2, 3, UNKNOWN)], {"a", "b"}),
        ([("a", 0, 1, DONE), (None, 2, 3, DONE)], {None}),
        ([("a", 0, 1, DONE), (None, 2, 3, UNKNOWN)], {"a", None}),
        ([("a", 0, 1, DONE), (None, 2, 3, DONE), ("b", 4, 5, DONE)], {"b"}),
        ([("a", 0, 1, UNKNOWN), ("b", 2, 3, DONE)], {"a", "b"}),
        ([("a", 0, 1, UNKNOWN), ("b", 2 + SETTLES_SECONDS, 99, DONE)], {"b"}),
        ([("a", 0, 9, DONE), ("b", 1, 2, DONE), ("c", 3, 4, DONE)], {"a", "c"}),
    ],
)
def test_an_object_may_be_as_any_operation_left_it_that_no_later_one_surely_replaced(
    rows: list[Row], expected: set[str | None]
) -> None:
    assert possible(operations(*rows)) == expected


@pytest.mark.parametrize(
    ("digest", "words"),
    [
        ("b", None),
        ("a", "k is an older version"),
        (None, "k is lost"),
        ("z", "k has bytes that nobody stored there"),
    ],
)
def test_what_may_not_be_is_told_in_words(digest: str | None, words: str | None) -> None:
    history = History()
    for operation in operations(("a", 0, 1, DONE), ("b", 2, 3, DONE)):
        history.add(operation)
    assert history.objection("k", digest) == words


def test_an_object_that_rose_again_after_its_delete_is_told_so() -> None:
    history = History()
    for operation in operations(("a", 0, 1, DONE), (None, 2, 3, DONE)):
        history.add(operation)
    assert history.objection("k", "a") == "k is there again after its delete"
    assert history.objection("k", None) is None
    assert (history.count(DONE), list(history)) == (2, ["k"])
