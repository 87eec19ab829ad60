"""Print one line for each scenario at the end, whichever process has run it."""

from typing import Any


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
