"""Tests between nodes run on both event loops: production's, and the one of the other tests."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001  # the hook's
    item: pytest.Item,  # noqa: ARG001  # the hook's
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test twice: what a transport may do differs between the two."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
