"""A node that stops listening says so to those who are connected."""

from wallet_testing.edge import edge


async def test_a_connection_ends_with_its_next_answer(database: str) -> None:
    """Its client is told, and asks elsewhere; whatever kind of answer it is."""
    async with edge(database) as api:
        await api.open(1000)
        before = await api.wallet()
        await api.program._listeners[0].stop_listening()

        after = await api.wallet()

        assert "Connection" not in before.headers
        assert (after.status, after.body) == (200, before.body)
        assert after.headers["Connection"] == "close"
