"""The database goes away and comes back: 503 meanwhile, never 402, and nothing is lost."""

import asyncio

from wallet_persistence.embedded import EmbeddedPostgres
from wallet_persistence.migrate import migrate
from wallet_testing.edge import Edge, edge
from wallet_testing.processes import until

CREDIT = {"amount_pence": 5, "type": "bonus"}


async def test_the_database_is_killed_and_comes_back() -> None:
    """Refused with a time to come again; health is down, readiness is not; then all is well."""
    async with EmbeddedPostgres(None) as postgres:
        await migrate(postgres.dsn)
        async with edge(postgres.dsn, http={"request_deadline_s": 1.0}) as api:
            await api.open(1000)
            postgres.kill()
            refused = await asyncio.gather(
                api.v1("credit", key="k1", **CREDIT),
                api.v1("reserve", call_id="c1"),
                api.wallet(),
                api.ask("GET", "/api/billing/wallet/transactions?org_id=org-1"),
                api.ask("POST", "/admin/orgs", {"org_id": "o2", "name": "o2"}),
            )
            for heard in refused:
                assert heard.status == 503, heard
                assert heard.headers["Retry-After"] == "1"
                assert "127.0.0.1" not in str(heard.body)
            await until(lambda: _health_is(api, 503), "health to notice")
            health = await api.ask("GET", "/health", token=None)
            assert (health["status"], health["services"]["database"]) == ("down", False)
            assert (await api.ask("GET", "/health/ready", token=None)).status == 200
            assert (await api.ask("GET", "/health/live", token=None)).status == 200

            await postgres.start()
            await until(lambda: _health_is(api, 200), "health to recover")
            done = await api.v1("credit", key="k1", **CREDIT)
            assert done.status in {200, 201}
            assert done["balance_after_pence"] == 1005


async def _health_is(api: Edge, status: int) -> bool:
    return (await api.ask("GET", "/health", token=None)).status == status
