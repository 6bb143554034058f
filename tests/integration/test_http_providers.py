"""Speaking to live calls: over real TLS, at an address under .vapi.ai, on this machine."""

import asyncio
import datetime as dt
import ipaddress
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wallet_engine.clock import SystemClock
from wallet_engine.endings import Endings
from wallet_engine.errors import CallControlFailed
from wallet_engine.ports import CallFacts
from wallet_http.options import VapiOptions
from wallet_http.providers.control_urls import ControlUrls
from wallet_http.providers.vapi_control import VapiControl

HOST = "call.vapi.ai"


class Loopback(AbstractResolver):
    """Resolves every name to this machine."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        return


class Unrecorded:
    """A recorder and a history that know nothing."""

    def delivery(self, delivery: object) -> None:
        del delivery

    def call(self, facts: CallFacts) -> None:
        del facts

    async def control_url(self, org_id: str, call_id: str) -> str | None:
        del org_id, call_id
        return None


class Kills:
    """Counts kills, as `ports.Stats` would."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def killed(self, seconds: float) -> None:
        self.seconds.append(seconds)


def certificate(folder: Path) -> Path:
    """Write a key and a certificate of its own for `HOST`; return the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "vapi.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


class Vapi:
    """A stand-in for Vapi's control address that notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.port = 0

    async def control(self, request: web.Request) -> web.Response:
        self.heard.append(await request.json())
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": "https://elsewhere.example/"})


@pytest.fixture
async def vapi(tmp_path: Path) -> AsyncIterator[tuple[Vapi, VapiControl, ControlUrls]]:
    """A control address over TLS, and the client that speaks to it."""
    pem = certificate(tmp_path)
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(pem)
    vapi = Vapi()
    app = web.Application()
    app.router.add_post("/call-1/control", vapi.control)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_tls)
    await site.start()
    vapi.port = runner.addresses[0][1]
    client_tls = ssl.create_default_context(cafile=str(pem))
    unrecorded = Unrecorded()
    urls = ControlUrls(recorder=unrecorded, history=unrecorded)  # type: ignore[arg-type]  # only what is used
    connector = aiohttp.TCPConnector(resolver=Loopback(), ssl=client_tls)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield vapi, VapiControl(session=session, urls=urls, options=VapiOptions()), urls
    await runner.cleanup()


def learn(urls: ControlUrls, vapi: Vapi) -> str:
    """Have the address of call-1 pass by."""
    url = f"https://{HOST}:{vapi.port}/call-1/control"
    urls.call(CallFacts(org_id="o", call_id="call-1", control_url=url))
    return url


async def test_a_call_is_told_why_and_ended(
    vapi: tuple[Vapi, VapiControl, ControlUrls],
) -> None:
    """Goodbye is spoken and ends the call; hang-up ends it at once; a warning ends nothing."""
    server, control, urls = vapi
    learn(urls, server)

    await control.say_goodbye("o", "call-1", "money")
    await control.hang_up("o", "call-1")
    await control.warn("o", "call-1", 30)

    said, ended, warned = server.heard
    assert (said["type"], said["endCallAfterSpoken"]) == ("say", True)
    assert ended == {"type": "end-call"}
    assert (warned["type"], warned["endCallAfterSpoken"]) == ("say", False)


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_a_refused_command_is_an_error_without_the_address(
    vapi: tuple[Vapi, VapiControl, ControlUrls], status: int
) -> None:
    """Anything but a success fails, is not followed elsewhere, and names no secret."""
    server, control, urls = vapi
    url = learn(urls, server)
    server.statuses = [status]

    with pytest.raises(CallControlFailed) as failed:
        await control.hang_up("o", "call-1")

    assert str(status) in str(failed.value)
    assert url not in str(failed.value)
    assert len(server.heard) == 1


async def test_a_call_without_an_address_cannot_be_told(
    vapi: tuple[Vapi, VapiControl, ControlUrls],
) -> None:
    """Before Vapi told the address, and after the call ended, there is nobody to speak to."""
    server, control, urls = vapi
    learn(urls, server)
    urls.call(CallFacts(org_id="o", call_id="call-1", ended_ms=1))

    with pytest.raises(CallControlFailed):
        await control.hang_up("o", "call-1")


async def test_an_ending_is_retried_until_confirmed(
    vapi: tuple[Vapi, VapiControl, ControlUrls],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A failed goodbye is followed by hang-ups, until the end of the call is confirmed."""
    server, control, urls = vapi
    learn(urls, server)
    server.statuses = [500, 500]
    monkeypatch.setattr("wallet_engine.endings.CONFIRM_S", (0.01,))
    kills = Kills()
    clock = SystemClock()
    endings = Endings(control=control, clock=clock, stats=kills)  # type: ignore[arg-type]  # one method is used

    with caplog.at_level(logging.WARNING):
        endings.begin("o", "call-1", "money", since_ms=clock.now_ms())
        endings.begin("o", "call-1", "money", since_ms=clock.now_ms())
        while len(server.heard) < 4:  # noqa: ASYNC110  # real sockets are polled meanwhile
            await asyncio.sleep(0)
        endings.confirm("o", "call-1")
        while len(endings):  # noqa: ASYNC110  # real sockets are polled meanwhile
            await asyncio.sleep(0)

    assert [said["type"] for said in server.heard][:3] == ["say", "end-call", "end-call"]
    assert len(kills.seconds) == 1
    assert HOST not in caplog.text
    await endings.stop()
