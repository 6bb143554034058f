"""Real faults of real processes: a node, its Postgres, the path between them, and a full deck.

`python -m wallet_testing.faults` runs many of them in a row while clients are at work.
"""
