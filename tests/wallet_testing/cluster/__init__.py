"""Three real nodes that share wallets, what is done to them, and what that costs their clients.

May hold what makes, hurts and measures a cluster of processes; used by `make cluster-proof`.
"""
