"""How releases, the gate's reports and improvements look in a terminal."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from noria.lifecycle.improve import Improvement
from noria.schema import GateReport
from noria.store import LedgerRow

STATE_COLOURS = {"live": "green", "rejected": "red", "candidate": "yellow", "canary": "yellow", "retired": "dim"}


def ledger_table(rows: Sequence[LedgerRow]) -> RenderableType:
    """One row a release: state, feedback used, minutes, effect with interval; below it why each last moved."""
    if not rows:
        return Text("No release yet; the first is made by `noria serve`.")
    table = _narrow("release", "state", "made", "feedback", "minutes", "effect [95 %]", "p")
    for row in rows:
        table.add_row(
            f"r{row.number}",
            Text(row.state, style=STATE_COLOURS[row.state]),
            f"{row.created_at:%Y-%m-%d}",
            str(row.feedback_used if row.feedback_used is not None else ""),
            f"{row.minutes:.1f}" if row.minutes is not None else "",
            _effect(row.effect, row.interval),
            f"{row.p:.1g}" if row.p is not None else "",
        )
    return Group(table, *(Text(f"r{row.number} {row.state}: {row.moved}") for row in rows if row.moved))


def _narrow(*columns: str) -> Table:
    """A table that keeps its cells whole in eighty characters."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _effect(effect: float | None, interval: tuple[float, float] | None) -> Text:
    if effect is None or interval is None:
        return Text("")
    return Text(f"{effect:+.2f} [{interval[0]:+.2f}, {interval[1]:+.2f}]")


def report_table(report: GateReport) -> RenderableType:
    """Every suite of a report, both releases side by side."""
    table = _narrow("suite", "n", "before", "after", "effect [95 %]", "p", "")
    table.title = f"gate: {report.decision}"
    for suite in report.suites:
        table.add_row(
            suite.suite,
            str(suite.n),
            f"{suite.before:.3g}",
            f"{suite.after:.3g}",
            _effect(suite.effect, suite.interval),
            f"{suite.p:.1g}",
            Text("passed", style="green") if suite.passed else Text("failed", style="red"),
        )
    return table


def improvement_lines(result: Improvement) -> Iterator[RenderableType]:
    """What an improvement came to: the report, the reasons, what is live."""
    if result.already_known:
        yield Text(f"Nothing new to learn from since r{result.release.number}, which the gate has judged:")
    yield report_table(result.report)
    for reason in result.report.reasons:
        yield Text(reason)
    verdict = {"promote": "was promoted", "reject": "was rejected", "refuse": "was not decided on"}[result.report.decision]
    yield Text(f"r{result.release.number} {verdict}; r{result.live.number} is live.")
