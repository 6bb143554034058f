"""What the handlers work with: one value, made by the composition root."""

from dataclasses import dataclass

from aiohttp import web

from wallet_engine.calls import Calls
from wallet_engine.directory import Directory
from wallet_engine.fleet import Fleet
from wallet_engine.node import Node
from wallet_engine.ports import Clock, DirectoryStore, History, Recorder

from .membership import Membership
from .options import EdgeOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The engine and its surroundings, as the edge sees them."""

    node: Node
    calls: Calls
    directory: Directory
    store: DirectoryStore
    history: History
    fleet: Fleet
    recorder: Recorder
    clock: Clock
    options: EdgeOptions
    cluster: Membership | None = None
    """This node among others; None: it is alone."""


SERVICES = web.AppKey("SERVICES", Services)
