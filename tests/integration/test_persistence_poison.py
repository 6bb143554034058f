"""Entries that no database can store, on a real one: refused, and no harm to anything else."""

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from wallet_engine.errors import NotCommitted
from wallet_engine.wallet import Entry
from wallet_testing.bench import OTHER, Bench, bench_on
from wallet_testing.builders import ORG, charge
from wallet_testing.owners import look


@pytest_asyncio.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with bench_on(database) as made:
        yield made


def too_many_bits(entry: Entry) -> Entry:
    return entry._replace(amount_pence=2**63)


def no_such_type(entry: Entry) -> Entry:
    return entry._replace(type="magic")


def nul(entry: Entry) -> Entry:
    return entry._replace(description="a\0b")


def nul_in_a_key(entry: Entry) -> Entry:
    return entry._replace(key="a\0b")


def lone_surrogate(entry: Entry) -> Entry:
    return entry._replace(description="\ud800")


def lone_surrogate_in_detail(entry: Entry) -> Entry:
    return entry._replace(detail={"a": "\ud800"})


def nul_in_detail(entry: Entry) -> Entry:
    return entry._replace(detail={"a": "\0"})


def not_a_number(entry: Entry) -> Entry:
    return entry._replace(detail={"a": float("nan")})


def no_amount(entry: Entry) -> Entry:
    return entry._replace(amount_pence=None)  # type: ignore[arg-type]  # that is the point


def half_a_penny(entry: Entry) -> Entry:
    return entry._replace(amount_pence=0.5)  # type: ignore[arg-type]  # that is the point


def far_future(entry: Entry) -> Entry:
    return entry._replace(at_ms=2**60)


@pytest.mark.parametrize(
    "poisoned",
    [
        too_many_bits,
        no_such_type,
        nul,
        nul_in_a_key,
        lone_surrogate,
        lone_surrogate_in_detail,
        nul_in_detail,
        not_a_number,
        no_amount,
        half_a_penny,
        far_future,
    ],
)
async def test_poison_is_refused_on_a_connection_that_lives(
    bench: Bench, poisoned: Callable[[Entry], Entry]
) -> None:
    """Whatever Postgres or its driver cannot store is refused whole; nothing else suffers."""
    owner = await bench.owner(bench.ledger())
    pids = await bench.pids("lane")
    batch = owner.batch(charge(1, key="a"))
    batch = batch._replace(entries=[poisoned(batch.entries[0])])
    beside = owner.batch(charge(1, key="a", org_id=OTHER))

    with pytest.raises(NotCommitted):
        await owner.ledger.commit([batch, beside])

    assert await owner.ledger.commit([beside]) == {OTHER}
    assert await bench.pids("lane") == pids
    assert [loaded.seq for loaded in await look(owner.ledger, ORG, OTHER)] == [1, 2]
