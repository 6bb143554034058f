"""Leases of shards in Redis or Valkey: the adapter of the port `Leases`, its keys and its scripts.

A key per shard holds its owner's token and runs out by itself; one hash holds the nodes that
live, each with its own end, judged by the server's clock.  Whatever a node does at once is one
script, so it is done as a whole or not at all, and may be done again.

    {wallet}:shard:0 … {wallet}:shard:255    token
    {wallet}:nodes                           token -> "until_ms ttl_ms since call address"

`since` and `call` number the node's first and last call.  Without an address it has left: it is
remembered for as long as a call that it made before may still come.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha1
from typing import NamedTuple, Protocol, cast
from urllib.parse import quote

from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError

from wallet_engine.errors import LeasesUnavailable
from wallet_engine.ports import LeaseView
from wallet_engine.sharding import SHARD_COUNT

TIMEOUT_S = 1.0
"""How long a call may take, connecting included.  Source: DESIGN §4; a lease lasts three times."""

TOLD_MAX = 200
"""How many characters of an error are told: a server may answer with what it was sent."""

LAST_CALL = 10**12
"""The number of no call: a node that has left makes none any more."""

RESP_VERSION = 2
"""Both versions do; 3 would cost another round trip for each connection."""

POOL_OPTIONS = ("max_connections", "timeout")
"""What an address may say to a pool of connections, and there is none here."""

ADDRESS_WRONG = (
    "This is no address of a Redis: it must be redis://… or rediss://…, with known options "
    "only, and special characters of the password percent-encoded."
)


class Server(Protocol):
    """What is used of redis-py's connection, which has no types for it."""

    @property
    def is_connected(self) -> bool:
        """Whether it was connected and not closed here since."""

    async def connect(self) -> None:
        """Connect and authenticate, if it is not connected."""

    async def disconnect(self, *, nowait: bool) -> None:
        """Close it, if it is connected."""

    async def can_read(self) -> bool:
        """Whether there are bytes to read, or their end."""

    async def send_command(self, *args: bytes | str | int) -> None:
        """Send one command."""

    async def read_response(self) -> bytes:
        """Read the answer to one command."""


class Script(NamedTuple):
    """A script, and the name by which a server that has seen it runs it."""

    text: str

    @property
    def sha(self) -> str:
        """The name: Redis prescribes this hash, which protects nothing."""
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()


# KEYS of both scripts: the nodes, then each shard in order.  A shard is at its number + 1 among
# the holders, at its number + 2 among the keys.

RENEW = Script("""
-- ARGV: token, address (empty: it leaves), ttl_ms, shards wanted '3,17', the call's number, then
-- shard and successor of each given.  A call that comes after a later one only looks.
-- Answers [holders, nodes, since] as JSON: the client reads one string with a third of the work
-- of 256.
local token, ttl_ms = ARGV[1], ARGV[3]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local was = redis.call('HGET', KEYS[1], token) or ''
local was_until_ms, since, was_call = string.match(was, '^(%d+) %d+ (%d+) (%d+) ')
if tonumber(was_until_ms or 0) < now_ms then since, was_call = ARGV[5], ARGV[5] end
local late = tonumber(was_call) > tonumber(ARGV[5])

local until_ms = string.format('%.0f', now_ms + ttl_ms)
if late then
  ARGV[4] = ''
else
  local entry = table.concat({until_ms, ttl_ms, since, ARGV[5], ARGV[2]}, ' ')
  redis.call('HSET', KEYS[1], token, entry)
end
local nodes, last_ms = {}, 0
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local end_ms, address = string.match(entries[i + 1], '^(%d+) %d+ %d+ %d+ (.*)$')
  end_ms = tonumber(end_ms or 0)
  if end_ms < now_ms then
    redis.call('HDEL', KEYS[1], entries[i])
  else
    nodes[entries[i]] = address ~= '' and address or nil
    last_ms = math.max(last_ms, end_ms)
  end
end
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last_ms + 1))

local holders = redis.call('MGET', unpack(KEYS, 2))
for i = 6, late and 0 or #ARGV, 2 do
  local at = ARGV[i] + 1
  if holders[at] == token and nodes[ARGV[i + 1]] then
    redis.call('SET', KEYS[at + 1], ARGV[i + 1], 'PX', ttl_ms)
    holders[at] = ARGV[i + 1]
  elseif holders[at] == token then
    redis.call('DEL', KEYS[at + 1])
    holders[at] = false
  end
end
for shard in string.gmatch(ARGV[4], '%d+') do
  local at = shard + 1
  if not holders[at] or holders[at] == token then
    redis.call('SET', KEYS[at + 1], token, 'PX', ttl_ms)
    holders[at] = token
  end
end
for at = 1, #holders do holders[at] = holders[at] or '' end
return cjson.encode({holders, nodes, tonumber(since)})
""")
"""Says that a node lives, hands over, renews and takes; answers how things stand then."""

LEAVE = Script(
    """
-- ARGV: token, then shard and successor of each given.
-- The successor has it as long as our last renewal asked for; if we are forgotten, as we had it.
local token = ARGV[1]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local function lives(node)
  local end_ms = string.match(redis.call('HGET', KEYS[1], node) or '', '^(%d+) %d+ %d+ %d+ .')
  return tonumber(end_ms or 0) >= now_ms
end
local was = redis.call('HGET', KEYS[1], token) or ''
local was_until_ms, ttl_ms, since = string.match(was, '^(%d+) (%d+) (%d+) ')
if tonumber(was_until_ms or 0) < now_ms then ttl_ms = nil end
local lasting = ttl_ms and {'PX', ttl_ms} or {'KEEPTTL'}

local holders = redis.call('MGET', unpack(KEYS, 2))
for i = 2, #ARGV, 2 do
  local at = ARGV[i] + 1
  if holders[at] == token and lives(ARGV[i + 1]) then
    redis.call('SET', KEYS[at + 1], ARGV[i + 1], unpack(lasting))
    holders[at] = ARGV[i + 1]
  end
end
for at = 1, #holders do
  if holders[at] == token then redis.call('DEL', KEYS[at + 1]) end
end
if ttl_ms then
  local until_ms = string.format('%.0f', now_ms + ttl_ms)
  redis.call('HSET', KEYS[1], token, table.concat({until_ms, ttl_ms, since, LAST, ''}, ' '))
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', now_ms + ttl_ms + 1), 'GT')
end
return ''
""".replace("LAST", f"'{LAST_CALL}'")
)
"""Hands over to who lives, frees the rest, and says that a node lives no longer."""


class RedisLeases:
    """Leases in one Redis or Valkey, over one connection of its own.

    Calls go one after the other.  A command is sent once: redis-py's own retries would run a
    script again that a slow server has yet to answer, long after the lease it was about.
    """

    def __init__(self, url: str, *, prefix: str = "wallet", timeout_s: float = TIMEOUT_S) -> None:
        """Prepare it; nothing is connected before the first call.

        Raises:
            ValueError: `url` is no address.
        """
        assert prefix, "an empty hash tag is none: the keys of a cluster would fall apart"
        assert not set(prefix) & set("{}"), "the prefix is the hash tag of all keys"
        self._keys = [
            f"{{{prefix}}}:nodes",
            *(f"{{{prefix}}}:shard:{shard}" for shard in range(SHARD_COUNT)),
        ]
        self._timeout_s = timeout_s
        self._server, self._password = _server_at(url, timeout_s)
        # In turn, because one connection has one answer at a time, and a leave must not be
        # overtaken by a renewal of before it.
        self._turn = asyncio.Lock()
        self._closed = False

    async def renew(
        self,
        *,
        token: str,
        address: str,
        ttl_ms: int,
        want: Sequence[int],
        give: Mapping[int, str],
        call: int,
    ) -> LeaseView:
        """Say that this node lives, renew what it holds, take and hand over; see `Leases`.

        A cancelled caller leaves it done or not done, and the connection closed.
        """
        assert ttl_ms > 0
        wanted = ",".join(map(str, want))
        answer = await self._run(RENEW, token, address, ttl_ms, wanted, call, *_pairs(give))
        try:
            holders, nodes, since = json.loads(answer)
        except ValueError:
            raise LeasesUnavailable("Redis holds leases that no node has written.") from None
        assert len(holders) == SHARD_COUNT
        return LeaseView(holders=holders, nodes=nodes, since=since)

    async def leave(self, *, token: str, give: Mapping[int, str]) -> None:
        """Hand over `give` and free whatever else is ours; see `Leases`.

        A cancelled caller leaves it done or not done, and the connection closed.
        """
        assert token not in give.values()
        await self._run(LEAVE, token, *_pairs(give))

    async def close(self) -> None:
        """Close the connection, when a call that is under way has ended."""
        async with self._turn:
            self._closed = True
            await self._server.disconnect(nowait=True)

    async def _run(self, script: Script, *args: str | int) -> bytes:
        """Run a script, in time or not at all as far as we know."""
        # No `from error`: a traceback would show what the server or the library said in full.
        try:
            async with asyncio.timeout(self._timeout_s), self._turn:
                if self._closed:
                    raise LeasesUnavailable("The leases are closed: this node is about to end.")
                return await self._answer(script, args)
        except TimeoutError:
            raise LeasesUnavailable(f"Redis did not answer in {self._timeout_s:g} s.") from None
        except (RedisError, OSError) as error:
            raise LeasesUnavailable(self._told(error)) from None

    async def _answer(self, script: Script, args: Sequence[str | int]) -> bytes:
        server = self._server
        try:
            if server.is_connected and await server.can_read():
                # Nothing was asked: the server has gone, and may be back on another connection.
                await server.disconnect(nowait=True)
            await server.connect()
            key_count = len(self._keys)
            await server.send_command("EVALSHA", script.sha, key_count, *self._keys, *args)
            try:
                return await server.read_response()
            except NoScriptError:  # it was restarted or flushed; nothing was run
                await server.send_command("EVAL", script.text, key_count, *self._keys, *args)
                return await server.read_response()
        except BaseException:
            # An answer may be under way that the next call would take for its own.  A refusal
            # as well: who says READONLY was the primary once, and the name leads elsewhere now.
            await server.disconnect(nowait=True)
            raise

    def _told(self, error: Exception) -> str:
        """Return one line that says what went wrong, without the password."""
        text = " ".join(str(error).split())
        for secret in filter(None, (self._password, quote(self._password, safe=""))):
            text = text.replace(secret, "…")
        # Whoever sends no password at all is cut off at the first long command, in other words.
        if isinstance(error, AuthenticationError) or "unauthenticated" in text:
            return f"Redis does not let this node in: {text[:TOLD_MAX]}"
        return f"Redis cannot be used: {text[:TOLD_MAX] or type(error).__name__}"


def _server_at(url: str, timeout_s: float) -> tuple[Server, str]:
    """Return the unconnected server at `url`, and its password."""
    try:
        options = {
            name: value for name, value in parse_url(url).items() if name not in POOL_OPTIONS
        }
        kind = cast("Callable[..., Connection]", options.pop("connection_class", Connection))
        own = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_timeout": False,
            "health_check_interval": 0,
            "protocol": RESP_VERSION,
            "driver_info": None,  # says who we are, for a round trip
        }
        made = kind(**{**options, **own})
    except (TypeError, ValueError, RedisError):
        # Without the cause: it may quote a piece of a password that was not encoded.
        raise ValueError(ADDRESS_WRONG) from None
    return cast("Server", made), made.password or ""


def _pairs(give: Mapping[int, str]) -> list[str | int]:
    """Return shard and successor of each, one after the other."""
    assert all(give.values()), "a shard is given to somebody"
    return [part for pair in give.items() for part in pair]
