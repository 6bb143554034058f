"""`wallet serve --processes` and `wallet up --nodes`: what each of several nodes is given."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from wallet_config import Settings

from .local import CommandError
from .supervisor import Plan

NAME_MAX = 60
"""Characters of a node's name that are kept before its number."""

STOP_S = 20.0
"""What a node may take to end besides twice the grace that its requests and decisions get."""


def plans_of(
    settings: Settings,
    count: int,
    *,
    port: int,
    more: Mapping[str, str],
    arguments: Sequence[str] = (),
) -> list[Plan]:
    """Return `count` nodes that share `port`; ports of their own are counted up from those set."""
    return [
        Plan(
            name=(name := f"{settings.node.id[:NAME_MAX]}-{number + 1}"),
            variables={
                **more,
                "WALLET_NODE__ID": name,
                "WALLET_HTTP__PORT": str(port),
                "WALLET_HTTP__REUSE_PORT": "true",
                **_own_ports(settings, number),
            },
            arguments=arguments,
        )
        for number in range(count)
    ]


def stop_s_of(settings: Settings) -> float:
    """Return how long one node may take to end in order."""
    return 2 * settings.http.shutdown_grace_s + STOP_S


@contextmanager
def shared_port(host: str, port: int) -> Iterator[int]:
    """Hold a port for the nodes that share it, without listening; 0 takes a free one.

    Raises:
        CommandError: somebody else has it.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        held = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CommandError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    with held:
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(where)
        except OSError as error:
            raise CommandError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        found: int = held.getsockname()[1]
        yield found


def _own_ports(settings: Settings, number: int) -> dict[str, str]:
    http, cluster = settings.http, settings.cluster
    found = {"WALLET_CLUSTER__PORT": str(_counted(cluster.port, number))}
    if cluster.address is not None:
        host, _, port = cluster.address.rpartition(":")
        found["WALLET_CLUSTER__ADDRESS"] = f"{host}:{int(port) + number}"
    if http.metrics_port is not None:
        found["WALLET_HTTP__METRICS_PORT"] = str(_counted(http.metrics_port, number))
    return found


def _counted(port: int, number: int) -> int:
    return port + number if port else 0
