"""Two transactions, the first stopped between its reading and its writing while the second runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import event

from common.catalogue.sql import SqlCatalogue

BLOCKED_SECONDS = 0.4  # less than the 2 s after which a writer that cannot get SQLite's lock gives up


class Outcome:
    """What a racer returned or raised."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.value: Any = None
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, args=(work,))

    def _run(self, work: Callable[[], object]) -> None:
        try:
            self.value = work()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error


def race(
    catalogue: SqlCatalogue, first: Callable[[], object], second: Callable[[], object], pause_before: str
) -> tuple[Outcome, Outcome, bool]:
    """Run `first` up to its statement that starts with `pause_before`, then `second` until it ends or is blocked.

    Then let `first` go on. The last value tells whether `second` had to wait for `first`.
    """
    one, two = Outcome(first), Outcome(second)
    reached, go_on = threading.Event(), threading.Event()

    def stop(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if threading.current_thread() is one.thread and statement.startswith(pause_before) and not reached.is_set():
            reached.set()
            assert go_on.wait(10)

    event.listen(catalogue.database.engine, "before_cursor_execute", stop)
    try:
        one.thread.start()
        assert reached.wait(10), f"the first racer never came to {pause_before!r}"
        two.thread.start()
        two.thread.join(BLOCKED_SECONDS)
        waited = two.thread.is_alive()
        go_on.set()
        one.thread.join(20)
        two.thread.join(20)
    finally:
        go_on.set()
        event.remove(catalogue.database.engine, "before_cursor_execute", stop)
    assert not one.thread.is_alive()
    assert not two.thread.is_alive()
    return one, two, waited
