"""What operators look at, on a real node."""

import json
import re

from wallet_testing.edge import ORG, edge
from wallet_testing.processes import until


async def test_health(database: str) -> None:
    """The shape of the specification, exactly."""
    async with edge(database, node={"id": "node-7"}) as api:
        await api.open(1000)
        heard = await api.ask("GET", "/health", token=None)
        assert heard.status == 200
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", heard.body.pop("timestamp"))
        assert isinstance(heard.body.pop("uptime"), int)
        assert re.fullmatch(r"\d+\.\d+\.\d+", heard["node"].pop("version"))
        zeros = ("active", "completed", "delayed", "failed", "paused", "waiting")
        assert heard.body == {
            "status": "ok",
            "services": {
                "database": True,
                "redis": None,
                "backgroundJobs": True,
                "webhookQueue": True,
            },
            "queueMetrics": dict.fromkeys(zeros, 0),
            "node": {"id": "node-7", "wallets": 1, "live_calls": 0, "providers": "simulated"},
        }
        for path in ("/health/live", "/health/ready"):
            assert (await api.ask("GET", path, token=None)).body == {"status": "ok"}


async def test_a_node_that_shuts_down_is_not_ready(database: str) -> None:
    """But it lives, and says so."""
    async with edge(database) as api:
        api.program.health.draining = True
        assert (await api.ask("GET", "/health/ready", token=None)).status == 503
        assert (await api.ask("GET", "/health/live", token=None)).status == 200
        assert (await api.ask("GET", "/health", token=None))["status"] == "degraded"


async def test_metrics(database: str) -> None:
    """The names of the specification, and no org in any label."""
    async with edge(database) as api:
        await api.open(1000)
        await api.v1("reserve", call_id="c1")
        await api.v1("commit", call_id="c1", actual_seconds=90)
        await api.v1("reserve", call_id="c2")
        heard = await api.ask("GET", "/metrics", token=None)
        text = heard.body
        for line in (
            'wallet_decisions_total{code="",outcome="created",verb="commit"} 1.0',
            'wallet_decision_seconds_count{verb="commit"} 1.0',
            'wallet_deducted_pence_total{type="call_deduction"} 112.0',
            "wallet_billing_success_ratio 1.0",
            "wallet_live_calls 1.0",
        ):
            assert line in text
        for name in (
            "wallet_commit_batch_size_count",
            "wallet_commit_seconds_count",
            "wallet_balance_pence_avg",
            'wallet_holds{status="active"}',
            'wallet_refunds_total{reason="provisioning"}',
            "wallet_kill_latency_seconds_count",
        ):
            assert name in text
        assert ORG not in text


async def test_a_survey_of_the_ledger(database: str) -> None:
    """Averages and holds come from the database."""
    async with edge(database) as api:
        await api.open(1000)
        await api.v1("reserve", call_id="c1")
        await api.v1("commit", call_id="c1", actual_seconds=90)
        await api.v1("reserve", call_id="c2")
    async with edge(database) as api:

        async def surveyed() -> bool:
            text = (await api.ask("GET", "/metrics", token=None)).body
            return (
                "wallet_balance_pence_avg 888.0" in text
                and 'wallet_holds{status="active"} 1.0' in text
                and 'wallet_holds{status="committed"} 1.0' in text
            )

        await until(surveyed, "the survey")


async def test_a_port_of_their_own(database: str) -> None:
    """Metrics are then not to be had where the customers are."""
    async with edge(database, http={"metrics_port": 0}) as api:
        assert (await api.ask("GET", "/metrics", token=None)).status == 404
        own = api.program._listeners[1].port
        async with api.session.get(f"http://127.0.0.1:{own}/metrics") as response:
            assert response.status == 200
        async with api.session.get(f"http://127.0.0.1:{own}/health") as response:
            assert response.status == 200
        async with api.session.get(f"http://127.0.0.1:{own}/admin/kill-switch") as response:
            assert response.status == 404


async def test_queue_stats(database: str) -> None:
    """How much there is in each queue, for operators."""
    async with edge(database) as api:
        heard = await api.ask("GET", "/api/monitoring/queue-stats")
        assert heard.status == 200
        assert set(heard["queues"]["webhook_notes"]) == {
            *("active", "completed", "delayed", "failed", "paused", "waiting"),
        }
        assert (await api.ask("GET", "/api/monitoring/queue-stats", token=None)).status == 401


async def test_the_documents(database: str) -> None:
    """Both can be had by everybody."""
    async with edge(database) as api:
        described = await api.ask("GET", "/openapi.json", token=None)
        assert (described.status, described["openapi"]) == (200, "3.1.0")
        page = await api.ask("GET", "/docs", token=None)
        assert page.status == 200
        assert "<!doctype html>" in page.body
        assert "script-src" in page.headers["Content-Security-Policy"]


async def test_no_secret_in_any_answer(database: str) -> None:
    """Neither keys nor addresses of the database, wherever one looks."""
    async with edge(database) as api:
        await api.open()
        for path in ("/health", "/metrics", "/openapi.json", "/docs", f"/admin/orgs/{ORG}"):
            text = json.dumps((await api.ask("GET", path)).body)
            assert "a secret of" not in text
            assert "postgresql://" not in text
