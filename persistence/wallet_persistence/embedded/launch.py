"""Turns itself into a server, after tying the server's life to that of its starter.

Run as a script of its own, by `process`, with the standard library only: between `fork`
and `exec` of a process that has threads, Python must not run.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
"""Source: linux/prctl.h."""


def main() -> None:
    """Drop to user and group, ask for a signal at the starter's death, and become the program.

    Arguments: starter's pid, signal, user id, group id (-1: stay who you are), program, its own.
    """
    starter_pid, signal, user_id, group_id = map(int, sys.argv[1:5])
    program = sys.argv[5:]
    os.umask(0o077)
    if user_id >= 0:
        os.setgroups([])
        os.setgid(group_id)
        os.setuid(user_id)
    if sys.platform == "linux":
        # Last, for a change of user clears it; `exec` keeps it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal)
        if os.getppid() != starter_pid:
            sys.exit("the process that wanted this server is gone")
    os.execv(program[0], program)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main()
