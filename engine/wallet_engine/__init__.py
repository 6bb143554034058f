"""The wallet engine: rules, actors, group commit.  Standard library only.

The way of a decision: `node` (ask) → `actor` → `rules` (decide) → `lane` → a ledger behind
`ports` → `journal` (the answer).  Other packages import its modules by name.
"""
