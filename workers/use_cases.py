"""What a worker process can do, as `workers/wiring.py` joined it. Tasks call these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workers.sweep.sweep import Sweep

DEFAULT_THREADS = 8


@dataclass(frozen=True)
class UseCases:
    """The use cases of a worker process. `leave` makes long jobs stop at their next checkpoint."""

    replicate: Callable[[Sequence[str]], int]
    verify: Callable[[Sequence[str]], int]
    doubt: Callable[[Sequence[str]], None]
    delete: Callable[[Sequence[str]], int]
    drop_surplus: Callable[[Sequence[str]], int]
    run_job: Callable[[str], None]
    scrub: Callable[[str], None]
    reclaim: Callable[[str], None]
    sweep: Sweep
    leave: Callable[[], None]
    stop: Callable[[], None]
