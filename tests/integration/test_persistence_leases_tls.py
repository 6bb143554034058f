"""Leases over TLS: with Redis itself, because the Valkey of the wheel was built without."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wallet_engine.errors import LeasesUnavailable
from wallet_persistence.embedded import free_port
from wallet_persistence.leases import RedisLeases
from wallet_testing.lease_stores import ServerWith, debian_redis, held, member

SETTINGS = """
tls-port {port}
tls-cert-file {folder}/certificate.pem
tls-key-file {folder}/key.pem
tls-ca-cert-file {folder}/certificate.pem
tls-auth-clients no
"""


def write_certificate(folder: Path) -> None:
    """Write a key, and a certificate for 127.0.0.1 that is signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leases")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[ServerWith, str]]:
    """Give a server with TLS, and its address."""
    if not debian_redis():
        pytest.skip("no redis-server on PATH")
    write_certificate(tmp_path)
    port = free_port()
    settings = SETTINGS.format(port=port, folder=tmp_path)
    async with ServerWith([debian_redis()], settings=settings) as started:
        url = started.url.replace("redis://", "rediss://")
        yield started, url.replace(f":{started.port}/", f":{port}/")


async def test_over_tls(server: tuple[ServerWith, str], tmp_path: Path) -> None:
    """With an authority that is trusted, leases work, also past a freeze and a restart."""
    started, url = server
    leases = RedisLeases(f"{url}?ssl_ca_certs={tmp_path}/certificate.pem", timeout_s=2.0)
    one = member(leases, "node-1:a")
    assert held(await one.renew(1)) == {1: one.token}

    started.pause()
    with pytest.raises(LeasesUnavailable, match="did not answer"):
        async with asyncio.timeout(30):
            await one.renew(1)
    started.resume()
    assert held(await one.renew(1)) == {1: one.token}

    started.kill()
    with pytest.raises(LeasesUnavailable):
        await one.renew(1)
    await started.start()
    assert held(await one.renew(2)) == {2: one.token}
    await leases.close()


async def test_an_unknown_authority_is_refused(server: tuple[ServerWith, str]) -> None:
    """A certificate that nobody vouches for is refused, in words that say so."""
    leases = RedisLeases(server[1])

    with pytest.raises(LeasesUnavailable, match="certificate verify failed"):
        await member(leases, "node-1:a").renew()
    await leases.close()


async def test_plain_text_to_a_tls_port_is_refused(server: tuple[ServerWith, str]) -> None:
    """An address that forgot an s ends in an error, and not in waiting."""
    leases = RedisLeases(server[1].replace("rediss://", "redis://"))

    with pytest.raises(LeasesUnavailable):
        await member(leases, "node-1:a").renew()
    await leases.close()
