"""A program is wired, starts or says why not, and ends in order."""

import asyncio
import json
from dataclasses import fields

import aiohttp
import asyncpg
import pytest
from pydantic import SecretStr

from wallet_config import (
    AuthSettings,
    DefaultsSettings,
    EngineSettings,
    HttpSettings,
    PostgresSettings,
    Settings,
    VapiHmacSettings,
    VapiSettings,
)
from wallet_engine.settings import Settings as WalletSettings
from wallet_http.compose import Program, StartError, limits_of, options_of
from wallet_http.logs import SILENT, DecisionLog
from wallet_testing.edge import ORG, SECRET, edge

COUNT = 300


async def test_what_was_acknowledged_is_durable(database: str) -> None:
    """Stopped in the middle of a crowd: each request is answered, or was never taken."""
    async with edge(database) as api:
        await api.open(10**6)

        async def deduct(number: int) -> tuple[str, int]:
            key = f"k{number}"
            body = {"amount_pence": 1, "class": "call", "type": "call_deduction"}
            try:
                heard = await api.v1("deduct", key=key, **body)
            except aiohttp.ClientError:
                return key, 0
            return key, heard.status

        asking = [asyncio.create_task(deduct(number)) for number in range(COUNT)]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        await api.program.stop()
        outcomes = await asyncio.gather(*asking)

    assert {status for _, status in outcomes} <= {0, 201, 503}
    acknowledged = {f"client:{key}" for key, status in outcomes if status == 201}
    assert acknowledged
    connection = await asyncpg.connect(database)
    try:
        rows = await connection.fetch("SELECT idempotency_key FROM credit_transactions")
        owner = await connection.fetchval("SELECT owner FROM organizations WHERE id = $1", ORG)
    finally:
        await connection.close()
    assert acknowledged <= {row[0] for row in rows}
    assert owner is None


async def test_every_decision_and_refusal_is_logged(database: str) -> None:
    """One line each, in the order of the journal."""
    lines: list[str] = []
    log = DecisionLog(lines.append, form="json", enabled=True)
    async with edge(database, decisions=log) as api:
        await api.open(100)
        await api.v1("reserve", call_id="c1")
        await api.v1("reserve", call_id="c2")
        await api.v1("commit", call_id="c1", actual_seconds=60)
    told = [json.loads(line) for line in lines]
    assert [one["event"] for one in told] == [
        "Credited",
        "Call authorized",
        "Call blocked - insufficient balance",
        "Deducted",
    ]
    assert (told[2]["balance_pence"], told[2]["deficit_pence"]) == (100, 79)


@pytest.mark.parametrize(
    ("dsn", "reason"),
    [
        ("postgresql://nobody@127.0.0.1:9/nothing", "reachable"),
        ("empty", "revision"),
    ],
)
async def test_it_says_why_it_does_not_start(empty_database: str, dsn: str, reason: str) -> None:
    """A database that is away, or was never migrated."""
    settings = Settings(
        environment="test",
        http=HttpSettings(port=0),
        postgres=PostgresSettings(start_patience_s=0),
    )
    program = Program(
        settings,
        dsn=empty_database if dsn == "empty" else dsn,
        providers="simulated",
        decisions=SILENT,
    )
    with pytest.raises(StartError, match=reason):
        await program.start()


async def test_a_port_in_use(database: str) -> None:
    """Is told, and nothing is left running."""
    async with edge(database) as api:
        http = HttpSettings(port=api.program.port)
        settings = Settings(environment="test", http=http, auth=AuthSettings())
        program = Program(settings, dsn=database, providers="simulated", decisions=SILENT)
        with pytest.raises(StartError, match="cannot listen"):
            await program.start()
        assert (await api.ask("GET", "/health/live", token=None)).status == 200


def test_settings_reach_the_edge() -> None:
    """Each value that an operator sets, and none twice."""
    hmac = VapiHmacSettings(secret=SecretStr("h"), prefix="sha256=", encoding="base64")
    settings = Settings(
        environment="test",
        public_url="https://wallet.example.com/",
        http=HttpSettings(request_deadline_s=2.5, vapi_deadline_s=3.5, body_max_bytes=2048),
        auth=AuthSettings(jwt_secret=SecretStr(SECRET), audience="a", issuer="i", leeway_s=5),
        vapi=VapiSettings(secret=SecretStr("v"), hmac=hmac, refusal="spoken", spoken_refused="No."),
        defaults=DefaultsSettings(rate_pence_per_minute=60, asset_prices={"sms": 5}),
    )
    options = options_of(settings)

    assert options.public_url == "https://wallet.example.com"
    assert (options.request_deadline_s, options.vapi_deadline_s) == (2.5, 3.5)
    assert options.body_max_bytes == 2048
    assert options.auth.jwt_secret == SECRET
    assert (options.auth.audience, options.auth.issuer, options.auth.leeway_s) == ("a", "i", 5)
    assert (options.vapi.secret, options.vapi.refusal) == ("v", "spoken")
    assert options.vapi.spoken_refused == "No."
    assert options.vapi.hmac is not None
    assert (options.vapi.hmac.secret, options.vapi.hmac.prefix) == ("h", "sha256=")
    assert options.vapi.hmac.encoding == "base64"
    assert options.defaults == WalletSettings(rate_pence_per_minute=60, asset_prices={"sms": 5})
    assert SECRET not in repr(options)
    assert "'h'" not in repr(options)


def test_every_bound_of_the_engine_is_a_setting() -> None:
    """What can be set is handed on, under whichever name the engine has for it."""
    changed = {name: 7 for name in EngineSettings.model_fields if name != "sweep_s"}
    settings = Settings(environment="test", engine=EngineSettings(**changed, sweep_s=7.0))
    limits = limits_of(settings)
    handed_on = [item.name for item in fields(limits) if getattr(limits, item.name) == 7]

    assert len(handed_on) == len(EngineSettings.model_fields)


def test_a_wrong_public_key_is_told_at_start() -> None:
    """Before the first request."""
    auth = AuthSettings(jwt_public_key="-----BEGIN PUBLIC KEY-----\nxxxx\n-----END PUBLIC KEY-----")
    with pytest.raises(StartError, match="JWT_PUBLIC_KEY"):
        options_of(Settings(environment="test", auth=auth))
