"""The edge: HTTP in and out, and what joins all packages into one program.

A request goes `listener` → `fast` → `server` → a handler (`v1`, `vapi`, `billing`, `admin` …) →
the engine's `node` → `answers`.  `compose` is the composition root, `cli` the `wallet` command.
Other packages import its modules by name.
"""
