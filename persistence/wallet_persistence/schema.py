"""What the schema is, in words that can be compared: as declared, and as found in a database."""

from pathlib import Path

import asyncpg

DECLARED = Path(__file__).with_name("schema.txt")
"""What must be there, an object a line: `kind name: definition`, as `OBJECTS` tells it."""

OBJECTS = Path(__file__).with_name("objects.sql")
"""What the search path shows, an object a row: its name, and what it is."""


def expected_objects() -> dict[str, str]:
    """Return what must be in the database, by name."""
    lines = DECLARED.read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", maxsplit=1) for line in lines if line)


async def found_objects(connection: asyncpg.Connection) -> dict[str, str]:
    """Return what is in the database, by name, in the words of `expected_objects`."""
    rows = await connection.fetch(OBJECTS.read_text(encoding="utf-8"))
    return {row["name"]: row["definition"] for row in rows}
