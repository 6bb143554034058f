"""How old the state was that a read told of: a Redis that forgot everything lets two nodes answer.

DESIGN §4: after Redis loses its data, reads may lag by at most a second.
"""

import asyncio
import time
from collections import defaultdict

from wallet_testing.recorder import CHECK
from wallet_testing.witness import READ_MONEY

from .stage import Cluster

STATES = """
-- Each state of each wallet, and when it began.
SELECT org_id, seq, balance_after_pence AS balance, held_after_pence AS held,
       extract(epoch FROM created_at)::float8 AS at
FROM credit_transactions ORDER BY org_id, seq
"""


async def lags(cluster: Cluster) -> list[float]:
    """Return for each read that told of less than was known how long ago that state had ended."""
    offset_s = time.time() - asyncio.get_running_loop().time()
    last_seq: dict[tuple[str, int, int], int] = {}
    began: defaultdict[str, list[float]] = defaultdict(list)
    for row in await cluster.stage.connection.fetch(STATES):
        began[row["org_id"]].append(row["at"])
        last_seq[row["org_id"], row["balance"], row["balance"] - row["held"]] = row["seq"]
    found: list[float] = []
    for it in cluster.recorder.answers:
        request, answer = it.request, it.answer
        if request.verb != CHECK or not answer.acknowledged:
            continue
        told = tuple(answer.body[name] for name in READ_MONEY)
        seq = last_seq.get((request.org_id, *told), 0)
        if seq < it.seen_seq:
            found.append(it.sent_s + offset_s - began[request.org_id][seq])  # of the next one
    return found
