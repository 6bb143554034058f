"""How long and how a fuzzer runs: short and the same every time, or long and by a seed.

`make fuzz FUZZ=2000` sets the examples of each property; the seed is drawn, or given by
`WALLET_FUZZ_SEED`, and is told by whatever fails.
"""

import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings

EXAMPLES_VARIABLE = "WALLET_FUZZ_EXAMPLES"
SEED_VARIABLE = "WALLET_FUZZ_SEED"

STEPS = 20
"""How often a long run says how far it is."""


@dataclass(slots=True, kw_only=True)
class Run:
    """One property: how many examples, by which seed, and how far it is.

    `share`: of so many examples that are asked for it takes one, since each stands for many.
    """

    name: str
    usual: int
    share: int = 1
    seed: int = field(default=0)
    examples: int = field(default=0)
    done: int = field(default=0)

    def __post_init__(self) -> None:
        named = os.environ.get(EXAMPLES_VARIABLE)
        self.examples = self.usual if named is None else max(1, int(named) // self.share)
        self.seed = int(os.environ.get(SEED_VARIABLE, 0 if named is None else secrets.randbits(32)))
        if self.is_long:
            self.say(f"{self.examples} examples, {SEED_VARIABLE}={self.seed}")

    @property
    def is_long(self) -> bool:
        """Whether somebody asked for more than the usual, and watches."""
        return EXAMPLES_VARIABLE in os.environ

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        print(f"fuzz {self.name}: {text}", file=sys.stderr, flush=True)

    def step(self) -> None:
        """Count an example."""
        self.done += 1
        if self.is_long and self.done % max(1, self.examples // STEPS) == 0:
            self.say(f"{self.done} of {self.examples}")

    def by_hypothesis(self, test: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a property, under `given`: no state between runs, any number of examples."""
        phases = (Phase.explicit, Phase.generate, Phase.shrink)
        limited = settings(
            max_examples=self.examples,
            deadline=None,
            database=None,
            phases=phases,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )(test)
        return seed(self.seed)(limited)
