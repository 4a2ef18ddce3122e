"""What a home was given once and keeps: kinds, ports and secrets of its nodes and its queue, in HOME/layout.json.

A second start finds nodes where the catalogue knows them. A port that somebody else took meanwhile is chosen anew.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import count, islice

from cli.cluster.home import programs, servers
from cli.cluster.home.home import Home
from cli.cluster.home.servers import Credentials, NodeKind
from cli.cluster.host import ports, private_file
from common.errors import ConfigurationError, NotAllowed

BUCKET = "boveda"
DEFAULT_NODES = 3
_NAME = re.compile(r"node[1-9][0-9]{0,3}")


@dataclass(frozen=True, slots=True)
class NodePlace:
    kind: NodeKind
    ports: list[int]


@dataclass(frozen=True, slots=True)
class Layout:
    nodes: Mapping[str, NodePlace]
    queue_port: int
    queue_password: str = field(repr=False)

    def used(self) -> list[int]:
        return [port for place in self.nodes.values() for port in place.ports] + [self.queue_port]


def read(home: Home) -> Layout | None:
    """What this home has; None in a new one. ConfigurationError if the file is damaged."""
    try:
        text = home.layout.read_text()
    except FileNotFoundError:
        return None
    try:
        document = json.loads(text)
        nodes = {name: NodePlace(**place) for name, place in document["nodes"].items()}
        return Layout(nodes, document["queue_port"], document["queue_password"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(f"{home.layout} is damaged: the ports and kinds of this home's nodes") from None


def establish(home: Home, nodes: int | None, kind: str) -> Layout:
    """The layout of this start, written to the home with the nodes' credentials and the list that migration reads."""
    old = read(home) or Layout({}, 0, secrets.token_hex(24))
    layout = _with_free_ports(_with_nodes(home, old, nodes, kind))
    _write(home, layout)
    return layout


def add(home: Home, name: str) -> Layout:
    """One node more, of the kind of the others, while these run. NotAllowed if there is one of that name."""
    old = read(home)
    if old is None or not _NAME.fullmatch(name) or name in old.nodes:
        raise NotAllowed("NAME", f"{name} cannot be added here")
    kind, _ = programs.choose_node(next((place.kind for place in old.nodes.values()), "auto"))
    place = NodePlace(kind, ports.pick(servers.PORTS[kind], old.used()))
    layout = replace(old, nodes={**old.nodes, name: place})
    _write(home, layout)
    return layout


def forget(home: Home, name: str) -> None:
    """The next start knows nothing of this node; its data stay."""
    old = read(home)
    if old is not None and name in old.nodes:
        _write(home, replace(old, nodes={other: place for other, place in old.nodes.items() if other != name}))


def next_names(home: Home, taken: Iterable[str]) -> Iterator[str]:
    """Names for nodes to come. A folder that a node left behind is not given to another."""
    there = set(taken)
    return (name for name in map("node{}".format, count(1)) if name not in there and not home.node(name).exists())


def _write(home: Home, layout: Layout) -> None:
    private_file.write(home.layout, json.dumps(asdict(layout), indent=2) + "\n")
    for name in layout.nodes:
        if not (home.credentials / f"{name}.json").exists():
            private_file.write(home.credentials / f"{name}.json", Credentials.random().document())
    entries = [
        {"name": name, "endpoint": f"http://{servers.HOST}:{place.ports[0]}", "bucket": BUCKET, "credentials": name}
        for name, place in layout.nodes.items()
    ]
    private_file.write(home.nodes_file, json.dumps(entries, indent=2) + "\n")


def credentials(home: Home, name: str) -> Credentials:
    document = json.loads((home.credentials / f"{name}.json").read_text())
    return Credentials(document["access_key"], document["secret_key"])


def _with_nodes(home: Home, layout: Layout, number: int | None, kind: str) -> Layout:
    there = len(layout.nodes)
    if number is not None and number < there:
        raise ConfigurationError(
            f"this home has {there} nodes with data on them; --nodes can add to them, not take away"
        )
    if kind != "auto" and any(place.kind != kind for place in layout.nodes.values()):
        raise ConfigurationError(f"this home's nodes are not of the kind {kind}, and their data cannot be read by it")
    wanted = number or there or DEFAULT_NODES
    if wanted == there:
        return layout
    # Nodes that come later are of the kind of the first.
    chosen, _ = programs.choose_node(next((place.kind for place in layout.nodes.values()), kind))
    added = {name: NodePlace(chosen, []) for name in islice(next_names(home, layout.nodes), wanted - there)}
    return replace(layout, nodes={**layout.nodes, **added})


def _with_free_ports(layout: Layout) -> Layout:
    nodes = dict(layout.nodes)
    for name, place in nodes.items():
        used = replace(layout, nodes=nodes).used()
        nodes[name] = replace(place, ports=_free(place.ports, servers.PORTS[place.kind], used))
    layout = replace(layout, nodes=nodes)
    (queue,) = _free([layout.queue_port] if layout.queue_port else [], 1, layout.used())
    return replace(layout, queue_port=queue)


def _free(wanted: list[int], number: int, used: list[int]) -> list[int]:
    """The ports of before where they are still free, others in place of the rest."""
    kept = [port if ports.is_free(port) else 0 for port in wanted] or [0] * number
    fresh = iter(ports.pick(kept.count(0), used))
    return [port or next(fresh) for port in kept]
