"""The deck: every kind of fault by its name, and cards drawn from it in a seeded order."""

import random
from collections.abc import Iterator, Mapping, Sequence

from . import of_nodes, of_paths, of_servers
from .scene import Fault

DISK_FULL = "postgres: disk full"

KINDS: Mapping[str, Fault] = {
    "node: killed": of_nodes.killed,
    "node: started too early": of_nodes.started_early,
    "node: stopped": of_nodes.stopped,
    "node: replaced, then woken": of_nodes.replaced,
    "postgres: restarted": of_servers.restarted,
    "postgres: crashed": of_servers.crashed,
    "postgres: backend killed": of_servers.backend_killed,
    "postgres: hung": of_servers.hung,
    "postgres: read only": of_servers.read_only,
    "postgres: no connections left": of_servers.crowded,
    DISK_FULL: of_servers.disk_full,
    "connections: all terminated": of_servers.all_terminated,
    "connections: a role terminated": of_servers.role_terminated,
    "rows: locked": of_servers.rows_locked,
    "path: slow": of_paths.slow,
    "path: silent": of_paths.silent,
    "path: cut in a message": of_paths.cut_in_a_message,
    "path: cut before Sync": of_paths.cut_before_sync,
    "path: cut before the answer": of_paths.cut_before_answer,
}


def drawn(names: Sequence[str], dice: random.Random) -> Iterator[str]:
    """Draw for ever: each name comes once before any comes again."""
    while True:
        yield from dice.sample(names, len(names))
