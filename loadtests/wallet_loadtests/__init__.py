"""Load on a real engine: races with outcomes that are checked, Vapi's traffic, measurements.

Everything is started on 127.0.0.1, is bounded, and stops by itself.  Run it as
`python -m wallet_loadtests`; nothing here is imported by the engine.
"""

from .node import NodeError, NodeProcess

__all__ = ["NodeError", "NodeProcess"]
