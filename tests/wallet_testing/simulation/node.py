"""One simulated node: the engine and Vapi's edge, wired as by `compose`, in its own process."""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from typing import Any, NamedTuple, cast

from aiohttp import StreamReader, hdrs, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion11
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from wallet_engine.calls import Calls
from wallet_engine.cluster.ownership import Ownership
from wallet_engine.cluster.router import Neighbours, Router
from wallet_engine.commands import Ask
from wallet_engine.directory import Directory
from wallet_engine.endings import Endings
from wallet_engine.fleet import Fleet
from wallet_engine.journal import Answer
from wallet_engine.node import Node
from wallet_engine.ports import CallControl, History
from wallet_http.fast import FastServer
from wallet_http.options import EdgeOptions
from wallet_http.server import make_app, unserved
from wallet_http.services import Services
from wallet_http.vapi import VAPI_ROUTES

from .cluster import SimLeases, SimPeers, SimRedis
from .ledger import SimLedger
from .plan import Plan
from .postgres import SimPostgres
from .processes import SimLoop, SimProcess
from .signals import SimClock, SimEffects, SimStats
from .stores import SimStores
from .tally import Tally
from .weather import Weather

REPORT_GRACE_S = 3.0
LEAVING_S = 0.3
"""How long a node that has handed everything over still answers, and passes on, what comes late."""

BODY_MAX = 65_536


class HttpAnswer(NamedTuple):
    """What a webhook was answered."""

    status: int
    body: Mapping[str, Any]


class SimNode:
    """A node that may be killed, stopped and woken, or end in order.

    Its `place` names it, and whoever comes after it in that place; its `number` this boot.

    `early` gathers effects that came before there was a reason.
    """

    def __init__(
        self,
        number: int,
        place: int,
        *,
        plan: Plan,
        loop: SimLoop,
        server: SimPostgres,
        weather: Weather,
        control: CallControl,
        redis: SimRedis | None,
        peers: SimPeers,
        skew_ms: int,
        early: list[str],
        tally: Tally,
    ) -> None:
        self.boot = f"boot-{number}"
        self.place = place
        self.process = SimProcess(f"node-{number}", loop)
        self.clock = SimClock(loop, skew_ms)
        self.ready = False
        self._loop = loop
        ledger = SimLedger(self.boot, server, weather)
        stats = self.stats = SimStats(tally)
        stores = SimStores(ledger, server, self.process)
        self._endings = Endings(control=control, clock=self.clock, stats=stats)
        effects = SimEffects(server, self.clock, self._endings, early)
        self.node = Node(
            node_id=f"node-{place}",
            boot_id=self.boot,
            ledger=ledger,
            clock=self.clock,
            effects=effects,
            stats=stats,
            defaults=plan.settings,
            limits=plan.limits,
        )
        effects.node = self.node
        self.ownership: Ownership | None = None
        self._router: Router | None = None
        if redis is not None:
            self._join(redis, peers)
        self._fleet = Fleet(node=self.node, store=stores)
        history = cast("History", stores)  # of which `Calls` asks one question
        self.calls = Calls(
            node=self.node,
            history=history,
            endings=self._endings,
            clock=self.clock,
            grace_s=REPORT_GRACE_S,
        )
        services = Services(
            node=self.node,
            calls=self.calls,
            directory=Directory(stores, self.clock),
            store=stores,
            history=history,
            fleet=self._fleet,
            recorder=stores,
            clock=self.clock,
            options=EdgeOptions(
                environment="test",
                defaults=plan.settings,
                vapi_deadline_s=plan.vapi_deadline_s,
            ),
        )
        self._app = make_app(services, VAPI_ROUTES)
        self._app.freeze()
        self._front = FastServer(self._app, body_max_bytes=BODY_MAX, refuse=unserved)

    def _join(self, redis: SimRedis, peers: SimPeers) -> None:
        """Share the wallets with other nodes, as `compose` has a node do."""
        neighbours = Neighbours(node=self.node, peers=peers)
        self.ownership = neighbours.ownership = Ownership(
            token=f"{self.node.node_id}:{self.boot}",
            address=self.boot,
            leases=SimLeases(self.boot, redis, self._loop),
            neighbourhood=neighbours,
            now_s=self._loop.time,
        )
        self._router = Router(node=self.node, ownership=self.ownership, peers=peers)
        self.node.ownership, self.node.reach = self.ownership, self._router.ask
        peers.unheard = self._router.unheard

    def serve(self, ask: Ask, timeout_s: float) -> Coroutine[Any, Any, Answer]:
        """Answer another node."""
        assert self._router is not None
        return self._router.serve(ask, timeout_s)

    async def start(self) -> None:
        """Start, in the order of `compose`.

        Raises:
            LedgerUnavailable: the server could not be asked; the program would exit.
        """
        await self.node.start()
        await self._fleet.start()
        if self.ownership is not None:
            self._keeping = asyncio.create_task(self.ownership.run())
        await self.calls.start()
        self.ready = True

    async def stop(self) -> None:
        """End in order."""
        self.ready = False
        await self.calls.stop()
        await self._fleet.stop()
        await self._endings.stop()
        if self.ownership is not None:
            await self.ownership.leave()
            await asyncio.sleep(LEAVING_S)
            self._keeping.cancel()
        await self.node.stop(grace_s=3.0)

    async def post(self, path: str, body: object) -> HttpAnswer:
        """Take a webhook as the HTTP server hands it over, and return the whole answer."""
        raw = json.dumps(body).encode()
        payload = StreamReader(_PROTOCOL, 2**16, loop=self._loop)
        payload.feed_data(raw)
        payload.feed_eof()
        headers = CIMultiDict({hdrs.CONTENT_LENGTH: str(len(raw))})
        message = RawRequestMessage(
            "POST", path, HttpVersion11, CIMultiDictProxy(headers),
            ((b"Content-Length", str(len(raw)).encode()),), False, None, False, False, URL(path),
        )  # fmt: skip
        task = asyncio.current_task()
        assert task is not None
        request = web.Request(
            message,
            payload,
            _PROTOCOL,
            cast("Any", None),
            task,
            self._loop,
            client_max_size=BODY_MAX,
        )
        response = await self._front._handle(request)
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        return HttpAnswer(response.status, json.loads(response.body))


class _Protocol:
    """What a request asks of its connection: nothing that matters here."""

    transport = None
    ssl_context = None
    peername = None
    sockname = None
    _reading_paused = False

    def resume_reading(self, *, resume_parser: bool = True) -> None:
        """Go on reading a body that is there already."""


_PROTOCOL = cast("Any", _Protocol())
