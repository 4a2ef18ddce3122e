"""HOME/cluster.json: what runs, by pid and start time. Written by the supervisor at every change, read by the commands.

It outlives the supervisor, so that what a killed one left behind can be found and ended.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cli.cluster.home.home import Home
from cli.cluster.host import private_file
from cli.cluster.host.processes import ProcessIdentity
from common.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process. identity: None when it does not run. ready: the path of its own that answers 200, if it has one."""

    name: str
    kind: str
    identity: ProcessIdentity | None
    endpoint: str | None
    data: str
    log: str
    bucket: str | None
    credentials: str | None
    ready: str
    state: str
    restarts: int

    def document(self) -> dict[str, Any]:
        """What `boveda cluster --json` shows; the pid only of a process that is alive now."""
        alive = self.identity is not None and self.identity.alive()
        shown: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "pid": self.identity.pid if self.identity and alive else None,
            "endpoint": self.endpoint,
            "data": self.data,
            "log": self.log,
        }
        return shown | ({"bucket": self.bucket, "credentials": self.credentials} if self.kind == "node" else {})


@dataclass(frozen=True, slots=True)
class ClusterState:
    url: str
    control: str
    supervisor: ProcessIdentity | None
    rows: Sequence[ProcessRow]

    @property
    def leftovers(self) -> list[ProcessIdentity]:
        return [row.identity for row in self.rows if row.identity is not None]


def write(home: Home, state: ClusterState) -> None:
    private_file.write(home.state, json.dumps(asdict(state), indent=2) + "\n")


def read(home: Home) -> ClusterState | None:
    """None if no cluster was ever started here. ConfigurationError if the file is damaged."""
    try:
        document = json.loads(home.state.read_text())
        rows = [ProcessRow(**{**row, "identity": _identity(row["identity"])}) for row in document.pop("rows")]
        return ClusterState(**{**document, "supervisor": _identity(document["supervisor"])}, rows=rows)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(f"{home.state} is damaged: what runs in this home is not known") from None


def _identity(document: dict[str, Any] | None) -> ProcessIdentity | None:
    return ProcessIdentity(**document) if document else None
