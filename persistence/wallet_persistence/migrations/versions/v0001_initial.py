"""The first schema: wallets, journal, holds, provider facts, directory, switches."""

from collections.abc import Callable
from pathlib import Path

revision = "0001"
down_revision = None


def upgrade(run_script: Callable[[Path], None]) -> None:
    """Run the SQL text beside this file."""
    run_script(Path(__file__).with_suffix(".sql"))
