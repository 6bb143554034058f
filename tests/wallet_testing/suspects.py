"""Wrong ledgers beside the right one: they are asked the same, until they are found out.

A comparison that finds no difference proves something only if it would have found one.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from wallet_engine.memory_ledger import MemoryLedger
from wallet_engine.ports import Clock

from .ledger_rows import Stored, spelled, stored_in_memory

Asked = Callable[[MemoryLedger], Coroutine[Any, Any, object]]


class Suspects:
    """Ledgers that are each wrong in one point.

    `found` says in which example each of them first said, or stored, what the others did not.
    """

    def __init__(self, kinds: Mapping[str, type[MemoryLedger]]) -> None:
        self._kinds = kinds
        self._live: dict[str, MemoryLedger] = {}
        self._examples = 0
        self.found: dict[str, int] = {}

    @property
    def ledgers(self) -> Iterable[MemoryLedger]:
        """Those that were not found out yet."""
        return self._live.values()

    @property
    def missed(self) -> set[str]:
        """Who was never found out."""
        return self._kinds.keys() - self.found.keys()

    def begin(self, clock: Clock) -> None:
        """Begin another example, with nothing stored."""
        self._examples += 1
        self._live = {
            name: kind(clock) for name, kind in self._kinds.items() if name not in self.found
        }

    async def ask(self, asked: Asked, answer: str) -> None:
        """Ask the same of all; the right answer is known."""
        for name, ledger in [*self._live.items()]:
            try:
                right = spelled(await asked(ledger)) == answer
            except (ArithmeticError, AssertionError, LookupError, TypeError):
                right = False
            if not right:
                self._catch(name)

    def compare(self, stored: Stored) -> None:
        """Look at what they have stored; what should be there is known."""
        for name, ledger in [*self._live.items()]:
            if stored_in_memory(ledger) != stored:
                self._catch(name)

    def _catch(self, name: str) -> None:
        self.found[name] = self._examples
        del self._live[name]
