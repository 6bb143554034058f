"""Postgres and Valkey as children of this process: for development, tests and measurements.

Both listen on 127.0.0.1 only, want a password, and die with the process that started them.
"""

from .home import EmbeddedServerError, packaged_bin_dirs
from .postgres import EmbeddedPostgres, running_dsn
from .server import EmbeddedServer, free_port
from .valkey import EmbeddedValkey

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedServer",
    "EmbeddedServerError",
    "EmbeddedValkey",
    "free_port",
    "packaged_bin_dirs",
    "running_dsn",
]
