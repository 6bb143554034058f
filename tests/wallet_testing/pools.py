"""The pool of a process, for tests of what uses one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wallet_persistence.postgres import Access, Pool, open_pool


@asynccontextmanager
async def pool_to(dsn: str) -> AsyncIterator[Pool]:
    """Open a small pool, and end whatever still uses it."""
    access = Access(dsn=dsn, node="node-1", boot="boot-1", statement_timeout_s=10)
    pool = await open_pool(access, connections_min=0, connections_max=3)
    try:
        yield pool
    finally:
        pool.terminate()
