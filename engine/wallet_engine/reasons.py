"""Why the engine itself tells a call to end, as journaled and as the kill switch answers."""

OUT_OF_MONEY = "money"
CAP_REACHED = "cap"
SUSPENDED = "suspended"
FLEET_STOPPED = "fleet"
