"""The kinds of faults: those of one statement, and those of a whole process or of time."""

from enum import Enum


class Fault(Enum):
    """What goes wrong."""

    # one statement
    SLOW = "slow statement"
    REFUSED = "statement refused for now"
    ERROR = "statement failed"
    LOST_REQUEST = "request lost"
    LOST_ANSWER = "answer lost after commit"
    LATE_COMMIT = "commit after the client gave up"
    LATE_ARRIVAL = "arrival after the client gave up"
    HUNG = "backend hangs with locks"
    # the server
    SERVER_CRASH = "server crash"
    SERVER_STOPPED = "server stopped and woken"
    SERVER_BUSY = "server takes no writes"
    ROW_LOCKED = "row locked by a stranger"
    # the node
    NODE_KILLED = "node killed"
    NODE_STOPPED = "node stopped and woken"
    NODE_REPLACED = "node stopped, replaced, then woken"
    NODE_LEFT = "node left in order"
    # time, operators, data
    CLOCK_JUMP = "clock jumped"
    FLEET_SWITCH = "fleet stopped and resumed"
    POISON = "entry that the server refuses"
    POISONED_PROBE = "look-up that the server refuses"
    # the cluster
    NODE_JOINED = "node joined"
    LEASES_FROZEN = "leases frozen and thawed"
    LEASES_LOST = "leases forgotten"
    LEASES_DOWN = "leases away"
    LEASES_CUT = "one node cut off from the leases"
    PEER_SLOW = "ask to a peer delayed"
    PEER_LOST = "ask to a peer lost"
    PEER_ANSWER_LOST = "answer of a peer lost"
    PEER_TWICE = "ask to a peer delivered twice"
    # clients
    HANG_UP = "client hung up"
    CANCELLED = "request cancelled"
    # Vapi
    MESSAGE_LOST = "message lost"
    MESSAGE_TWICE = "message delivered twice"
    MESSAGE_LATE = "message out of order"
    CONTROL_FAILED = "call control failed"


STATEMENT = (
    Fault.SLOW,
    Fault.REFUSED,
    Fault.ERROR,
    Fault.LOST_REQUEST,
    Fault.LOST_ANSWER,
    Fault.LATE_COMMIT,
    Fault.LATE_ARRIVAL,
    Fault.HUNG,
)
"""What may become of one statement."""

LARGE = (
    Fault.SERVER_CRASH,
    Fault.SERVER_STOPPED,
    Fault.SERVER_BUSY,
    Fault.ROW_LOCKED,
    Fault.NODE_KILLED,
    Fault.NODE_STOPPED,
    Fault.NODE_REPLACED,
    Fault.NODE_LEFT,
    Fault.CLOCK_JUMP,
    Fault.FLEET_SWITCH,
)
"""What befalls a whole process, one at a time."""

CLUSTER = (
    Fault.NODE_JOINED,
    Fault.LEASES_FROZEN,
    Fault.LEASES_LOST,
    Fault.LEASES_DOWN,
    Fault.LEASES_CUT,
)
"""What befalls nodes that share the wallets, besides."""

PEER = (Fault.PEER_SLOW, Fault.PEER_LOST, Fault.PEER_ANSWER_LOST, Fault.PEER_TWICE)
"""What may become of one ask on its way to another node."""
