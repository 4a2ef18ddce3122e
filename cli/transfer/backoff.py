"""How long a transfer that broke waits for the store, and when it gives up: no byte moved over all the waits."""

from __future__ import annotations

import time

from cli.client.http import Refused
from common.errors import BovedaError, Unavailable

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0)  # seconds; with the last one over, the store stays away
PASSING = frozenset({408, 429, 503, 504})


class Backoff:
    """The waits of one transfer. `also`: statuses that pass here beside those of PASSING."""

    def __init__(self, also: frozenset[int] = frozenset()) -> None:
        self._passing = PASSING | also
        self._failures = 0

    def moved(self) -> None:
        """Bytes came through: the waits begin anew."""
        self._failures = 0

    def wait(self, error: BovedaError) -> None:
        """Wait before the next try; the error itself, if it will not pass or all waits are over."""
        if self._failures == len(PAUSES) or not self.passes(error):
            raise error
        time.sleep(PAUSES[self._failures])
        self._failures += 1

    def passes(self, error: BovedaError) -> bool:
        return error.status in self._passing if isinstance(error, Refused) else isinstance(error, Unavailable)
