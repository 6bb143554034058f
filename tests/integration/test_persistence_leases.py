"""Leases in a real server that freezes, dies, forgets, refuses: calls end soon, and go on after."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from wallet_engine.errors import LeasesUnavailable
from wallet_engine.sharding import SHARD_COUNT
from wallet_persistence.embedded import EmbeddedValkey, free_port
from wallet_persistence.leases import RedisLeases
from wallet_testing.lease_stores import PATIENCE_S, Member, held, member

ONE, TWO = "node-1:a", "node-2:b"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[EmbeddedValkey]:
    """Give a server of the test's own."""
    async with EmbeddedValkey() as started:
        yield started


@pytest_asyncio.fixture
async def admin(server: EmbeddedValkey) -> AsyncIterator[Redis]:
    """Give an operator's connection."""
    async with Redis.from_url(server.url) as connected:
        yield connected


@pytest_asyncio.fixture
async def leases(server: EmbeddedValkey) -> AsyncIterator[RedisLeases]:
    """Give a patient client: a busy machine is no fault."""
    made = RedisLeases(server.url, timeout_s=PATIENCE_S)
    yield made
    await made.close()


@pytest.fixture
def one(leases: RedisLeases) -> Member:
    return member(leases, ONE)


@pytest_asyncio.fixture
async def hasty(server: EmbeddedValkey) -> AsyncIterator[Member]:
    """Give the same node with a client as it is in production, which waits for a second."""
    made = RedisLeases(server.url)
    yield member(made, ONE)
    await made.close()


async def refused(call: Awaitable[object]) -> str:
    """Wait for a call that fails, and return what it says."""
    with pytest.raises(LeasesUnavailable) as caught:
        async with asyncio.timeout(PATIENCE_S):
            await call
    return str(caught.value)


async def answered(node: Member, shard: int) -> dict[int, str]:
    """Renew until there is an answer."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(LeasesUnavailable):
                return held(await node.renew(shard))


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await is_so():
            pass  # each look is a round trip


async def scripts_run(admin: Redis) -> int:
    """Return how many scripts the server has run since its counters were reset."""
    counts = await admin.info("commandstats")
    return sum(counts.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


async def hold_scripts(admin: Redis) -> None:
    """Have the server take commands that may write, and not carry them out."""
    await admin.client_pause(1000 * PATIENCE_S, all=False)


async def let_scripts_go(admin: Redis) -> None:
    await admin.client_unpause()


async def is_held(admin: Redis) -> bool:
    """Whether a command waits to be carried out."""
    return bool((await admin.info("clients"))["blocked_clients"])


async def is_alone(admin: Redis) -> bool:
    """Whether nobody else is connected."""
    return len(await admin.client_list()) == 1


# --- a server that does not answer ----------------------------------------------------------------


async def test_a_frozen_server_is_not_waited_for(server: EmbeddedValkey, hasty: Member) -> None:
    """A call ends without an answer, says so, and after the thaw calls are answered."""
    await answered(hasty, 1)
    server.pause()

    assert "did not answer" in await refused(hasty.renew(1))
    assert "did not answer" in await refused(hasty.renew(1))
    server.resume()

    assert await answered(hasty, 1) == {1: ONE}


async def test_a_frozen_server_does_nothing_twice(
    server: EmbeddedValkey, admin: Redis, one: Member, hasty: Member
) -> None:
    """Of a call that was not answered, the server carries out one at most, when it wakes."""
    await answered(hasty, 1)
    await one.renew()
    await admin.config_resetstat()
    server.pause()
    await refused(hasty.renew(2))
    server.resume()
    await one.renew(3)

    assert await scripts_run(admin) <= 2
    assert held(await one.renew()).items() >= {1: ONE, 3: ONE}.items()


async def test_a_server_frozen_from_the_start(server: EmbeddedValkey, hasty: Member) -> None:
    """A server that takes the connection and says nothing is not waited for either."""
    server.pause()

    assert "did not answer" in await refused(hasty.renew(1))
    server.resume()
    assert await answered(hasty, 1) == {1: ONE}


async def test_who_waits_behind_a_frozen_call_is_told_too(
    server: EmbeddedValkey, hasty: Member
) -> None:
    """A leave behind a renewal that hangs has its own time, and no more."""
    await answered(hasty, 1)
    server.pause()
    async with asyncio.timeout(PATIENCE_S):
        ended = await asyncio.gather(hasty.renew(1), hasty.leave(), return_exceptions=True)

    assert [type(each) for each in ended] == [LeasesUnavailable, LeasesUnavailable]
    server.resume()


async def test_an_address_cannot_undo_the_limits(server: EmbeddedValkey) -> None:
    """Retries, time-outs and a protocol in the address change nothing: the lease's own rule."""
    leases = RedisLeases(
        f"{server.url}?socket_timeout=600&retry_on_timeout=true&protocol=3&max_connections=9"
        "&health_check_interval=1&timeout=9"
    )
    node = member(leases, ONE)
    await answered(node, 1)
    server.pause()

    assert "did not answer" in await refused(node.renew(1))
    server.resume()
    assert await answered(node, 1) == {1: ONE}
    await leases.close()


async def test_calls_at_once_each_get_their_own_answer(leases: RedisLeases) -> None:
    """Several callers share the connection, one after the other."""
    nodes = [member(leases, f"node-{number}:x") for number in range(20)]

    views = await asyncio.gather(*(node.renew(at) for at, node in enumerate(nodes)))
    assert [view.holders[at] for at, view in enumerate(views)] == [node.token for node in nodes]
    assert [len(view.nodes) for view in views] == list(range(1, 21))


async def test_a_cancelled_call_leaves_no_answer_behind(admin: Redis, one: Member) -> None:
    """After a caller went away in the middle, the next call gets its own answer."""
    await one.renew(1)
    await hold_scripts(admin)
    gone = asyncio.create_task(one.renew(2))
    await until(lambda: is_held(admin))
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await let_scripts_go(admin)

    assert held(await one.renew(3)).items() >= {1: ONE, 3: ONE}.items()


# --- a server that ends, or closes ----------------------------------------------------------------


async def test_a_server_that_died_comes_back_empty(server: EmbeddedValkey, one: Member) -> None:
    """Without a server a call fails at once; with a new one in its place it works again."""
    await one.renew(1)
    server.kill()

    for _ in range(2):
        assert "Redis cannot be used" in await refused(one.renew(1))
    await server.start()
    assert held(await one.renew(2)) == {2: ONE}


async def test_a_connection_killed_while_idle_is_replaced(admin: Redis, one: Member) -> None:
    """A connection that the server closed between two calls costs no failed call."""
    await one.renew(1)
    await admin.client_kill_filter(_type="normal", skipme=True)
    await admin.ping()  # by the time this is answered the end of the other connection is seen

    assert held(await one.renew(1)) == {1: ONE}


async def test_a_connection_killed_in_the_middle_is_given_up(admin: Redis, one: Member) -> None:
    """A call whose connection ends is not made again by itself; the next one works."""
    await one.renew(1)
    await hold_scripts(admin)
    cut_off = asyncio.create_task(one.renew(2))
    await until(lambda: is_held(admin))
    await admin.client_kill_filter(_type="normal", skipme=True)

    assert "Redis cannot be used" in await refused(cut_off)
    await let_scripts_go(admin)
    assert held(await one.renew(3)) == {1: ONE, 3: ONE}


async def test_a_server_without_the_scripts_is_given_them(admin: Redis, one: Member) -> None:
    """Scripts that the server forgot are sent again, in the same call."""
    await member(one.leases, TWO).renew()
    await one.renew(1)
    await admin.script_flush()
    assert held(await one.renew(1, 2)) == {1: ONE, 2: ONE}

    await admin.script_flush()
    await one.leave({1: TWO})
    assert held(await one.renew()) == {1: TWO}


async def test_closed_is_closed(admin: Redis, leases: RedisLeases, one: Member) -> None:
    """Closing gives the connection back, may be repeated, and ends all calls to come."""
    await one.renew(1)
    await leases.close()
    await leases.close()

    assert "closed" in await refused(one.renew(1))
    await until(lambda: is_alone(admin))


# --- a server that refuses ------------------------------------------------------------------------


async def test_a_wrong_password_is_told_and_not_shown(server: EmbeddedValkey, admin: Redis) -> None:
    """It is tried once; the text says what is wrong, with neither this password nor the right."""
    right = server.url.partition("redis://:")[2].partition("@")[0]
    leases = RedisLeases(server.url.replace(right, "hunter2"))

    told = await refused(member(leases, ONE).renew())
    assert "does not let this node in" in told
    assert "hunter2" not in told
    assert right not in told
    assert (await admin.info("stats"))["acl_access_denied_auth"] == 1
    await leases.close()


async def test_no_password_is_told(server: EmbeddedValkey) -> None:
    """A server that wants one says so."""
    leases = RedisLeases(f"redis://127.0.0.1:{server.port}/0")

    assert "does not let this node in" in await refused(member(leases, ONE).renew())
    await leases.close()


async def test_no_server_is_told() -> None:
    """Where nothing listens, the text says where that is."""
    port = free_port()
    leases = RedisLeases(f"redis://:hunter2@127.0.0.1:{port}/0")

    told = await refused(member(leases, ONE).renew())
    assert f"127.0.0.1:{port}" in told
    assert "hunter2" not in told
    await leases.close()


async def test_a_replica_is_left(admin: Redis, one: Member) -> None:
    """A server that may not write is given up: its name may lead to another one by now."""
    await one.renew(1)
    await admin.replicaof("127.0.0.1", free_port())

    assert "Redis cannot be used" in await refused(one.renew(1))
    await until(lambda: is_alone(admin))
    await admin.replicaof("NO", "ONE")
    assert held(await one.renew(1)) == {1: ONE}


async def test_a_key_of_another_kind_is_refused(admin: Redis, one: Member) -> None:
    """Where somebody else's data stand for the nodes, no call pretends to have worked."""
    await admin.rpush("{wallet}:nodes", "mine")

    assert "WRONGTYPE" in await refused(one.renew(1))
    assert await admin.lrange("{wallet}:nodes", 0, -1) == [b"mine"]
    assert await admin.keys() == [b"{wallet}:nodes"]


# --- what is stored -------------------------------------------------------------------------------


async def test_nothing_stays_for_ever(admin: Redis, one: Member) -> None:
    """Every key has an end, and all stand in one slot under the prefix."""
    await one.renew(*range(SHARD_COUNT))
    keys = await admin.keys()

    assert len(keys) == SHARD_COUNT + 1
    assert {str(key, "ascii").rpartition("}")[0] for key in keys if isinstance(key, bytes)} == {
        "{wallet"
    }
    assert all([await admin.pttl(key) > 0 for key in keys])

    await one.leave()
    assert await admin.keys() == [b"{wallet}:nodes"]  # it has left: known until no call of it comes
    assert await admin.pttl("{wallet}:nodes") > 0


async def test_prefixes_are_apart(server: EmbeddedValkey, one: Member) -> None:
    """Two systems on one server do not see each other."""
    others = RedisLeases(server.url, prefix="other")
    await one.renew(1)

    view = await member(others, TWO).renew(1)
    assert held(view) == {1: TWO}
    assert set(view.nodes) == {TWO}
    await others.close()
