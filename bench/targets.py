"""What is to be reached, and whether it was."""

from collections.abc import Iterable, Iterator

import msgspec
from rich.table import Table


class Target(msgspec.Struct, frozen=True):
    """A figure to reach."""

    name: str
    reached: float
    limit: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Tell whether it was reached."""
        return self.reached >= self.limit if self.at_least else self.reached <= self.limit

    @property
    def shown(self) -> str:
        """Write what was reached in as many digits as mean something."""
        return f"{self.reached:,.0f}" if self.reached >= 100 else f"{self.reached:.2f}"


def targets_table(targets: Iterable[Target]) -> Table:
    """Draw them."""
    table = Table(title="targets")
    table.add_column("")
    for heading in ("reached", "target", ""):
        table.add_column(heading, justify="right")
    for target in targets:
        sign = "≥" if target.at_least else "≤"
        met = "met" if target.met else "[bold]missed[/bold]"
        table.add_row(target.name, target.shown, f"{sign} {target.limit:,g}", met)
    return table


def target_lines(targets: Iterable[Target]) -> Iterator[str]:
    """Write them as a table of a page."""
    yield "| target | reached | |\n|---|---|---|"
    for target in targets:
        sign = "≥" if target.at_least else "≤"
        met = "met" if target.met else "**missed**"
        yield f"| {target.name}: {sign} {target.limit:,g} | {target.shown} | {met} |"
