"""What each of several nodes on one machine is given, and the port that they share."""

import socket

import pytest

from wallet_config import ClusterSettings, HttpSettings, NodeSettings, Settings
from wallet_http.cli.local import CommandError
from wallet_http.cli.several import plans_of, shared_port

MORE = {"WALLET_POSTGRES__DSN": "postgresql://x"}


def variables_of(settings: Settings, count: int = 2) -> list[dict[str, str]]:
    return [dict(plan.variables) for plan in plans_of(settings, count, port=3001, more=MORE)]


def test_names_and_the_port_that_is_shared() -> None:
    """Names are counted from one; what all are given stands in each."""
    found = variables_of(Settings(node=NodeSettings(id="n")))

    assert [one["WALLET_NODE__ID"] for one in found] == ["n-1", "n-2"]
    for one in found:
        assert one["WALLET_HTTP__PORT"] == "3001"
        assert one["WALLET_HTTP__REUSE_PORT"] == "true"
        assert one["WALLET_POSTGRES__DSN"] == "postgresql://x"


def test_a_long_name_stays_a_name() -> None:
    """With its number it is one that the settings take."""
    [found] = variables_of(Settings(node=NodeSettings(id="n" * 64)), 1)

    assert NodeSettings(id=found["WALLET_NODE__ID"]).id.endswith("n-1")


def test_ports_are_counted_up() -> None:
    """The first node has those that are set."""
    settings = Settings(
        node=NodeSettings(id="n"),
        http=HttpSettings(metrics_port=9001),
        cluster=ClusterSettings(port=7420, address="host-1:8420"),
    )
    found = variables_of(settings)

    assert [one["WALLET_HTTP__METRICS_PORT"] for one in found] == ["9001", "9002"]
    assert [one["WALLET_CLUSTER__PORT"] for one in found] == ["7420", "7421"]
    assert [one["WALLET_CLUSTER__ADDRESS"] for one in found] == ["host-1:8420", "host-1:8421"]


def test_free_ports_stay_free_ports() -> None:
    """Zero is not counted up; what is not set is not given."""
    settings = Settings(node=NodeSettings(id="n"), cluster=ClusterSettings(port=0))
    found = variables_of(settings)

    assert [one["WALLET_CLUSTER__PORT"] for one in found] == ["0", "0"]
    assert "WALLET_HTTP__METRICS_PORT" not in found[0]
    assert "WALLET_CLUSTER__ADDRESS" not in found[0]


def test_a_port_is_held_for_those_who_share_it() -> None:
    """They can listen on it, and nobody else can; nobody waits at the one who holds it."""
    with shared_port("127.0.0.1", 0) as port:
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
        with socket.socket() as node:
            node.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            node.bind(("127.0.0.1", port))
            node.listen()
            for _ in range(8):
                with socket.create_connection(("127.0.0.1", port)):
                    node.accept()[0].close()


def test_a_port_that_somebody_else_has() -> None:
    """Is told before any node is started."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        with pytest.raises(CommandError, match=f"cannot listen on 127.0.0.1:{port}: .*in use"):
            shared_port("127.0.0.1", port).__enter__()
