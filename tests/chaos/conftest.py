"""Print one line for each scenario at the end, whichever process has run it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.history import History

# In full, these take minutes each. Begun last, one of them would run alone at the end.
LONGEST = ("soak", "kill_9", "twins", "restarts", "overload", "fuzzer", "clock", "disk", "purging")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((number for number, part in enumerate(LONGEST) if part in item.name), len(LONGEST))

    items.sort(key=place)


@pytest.fixture
def scenario(record_property: Callable[[str, object], None]) -> Callable[[str, History], None]:
    """Have the counts of a scenario printed at the end."""

    def record(name: str, history: History) -> None:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(history.counts.items()))
        record_property("scenario", f"{name}: {counts}; 0 lost, 0 duplicated")

    return record


def pytest_terminal_summary(terminalreporter: Any) -> None:
    lines = [
        str(value)
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "scenario"
    ]
    if lines:
        terminalreporter.section("scenarios")
        terminalreporter.write_line("\n".join(sorted(lines)))
