"""One actor per organisation, across nodes: who owns what, and how an ask gets there."""
