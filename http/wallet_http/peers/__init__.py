"""The way between nodes: one authenticated TCP connection each, on which asks travel together.

It does not encrypt: run it in a private network, see `handshake`.
"""

from .client import TcpPeers
from .connection import PeerLimits
from .handshake import Credentials
from .server import PeerServer, Serve

__all__ = ["Credentials", "PeerLimits", "PeerServer", "Serve", "TcpPeers"]
