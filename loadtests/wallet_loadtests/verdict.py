"""What a check found, and how it is shown: one line each, and what was wrong below."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of one check: what was seen, and each thing that should not be so."""

    name: str
    seen: str
    faults: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.faults


def faults_of(*claims: tuple[bool, str]) -> list[str]:
    """Return the texts of the claims that are not true."""
    return [text for is_true, text in claims if not is_true]


def show(console: Console, title: str, verdicts: Sequence[Verdict]) -> bool:
    """Print a table of verdicts, and return whether all passed."""
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("check")
    table.add_column("seen in the database, and in the answers")
    for verdict in verdicts:
        sign = "[green]passed[/]" if verdict.passed else "[bold red]FAILED[/]"
        table.add_row(sign, verdict.name, verdict.seen)
    console.print(table)
    for verdict in verdicts:
        for fault in verdict.faults:
            console.print(f"[bold red]{verdict.name}[/]: {fault}")
    passed = sum(verdict.passed for verdict in verdicts)
    console.print(f"{passed}/{len(verdicts)} passed")
    return passed == len(verdicts)
