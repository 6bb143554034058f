"""Which shard an organisation belongs to: one fixed hash, in one place.

The database computes the same in SQL and stores it; start-up compares the two.
"""

from hashlib import md5

SHARD_COUNT = 256
SHARD_HASH = "md5-first-byte"


def shard_of(org_id: str) -> int:
    """Return the shard of `org_id`, 0..255.  Never changes: it is part of the schema."""
    return md5(org_id.encode(), usedforsecurity=False).digest()[0]
