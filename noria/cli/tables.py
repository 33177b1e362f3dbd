"""How releases, the gate's reports and improvements look in a terminal."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from noria.lifecycle.improve import Improvement
from noria.schema import GateReport
from noria.store import LedgerRow

STATE_COLOURS = {"live": "green", "rejected": "red", "candidate": "yellow", "canary": "yellow", "retired": "dim"}


def ledger_table(rows: Sequence[LedgerRow]) -> RenderableType:
    """One row a release: state, feedback used, minutes, effect with interval."""
    if not rows:
        return Text("No release yet; the first is made by `noria serve`.")
    table = Table("release", "state", "made", "feedback", "minutes", "n", "effect", "95 % interval", "p", "gate")
    for row in rows:
        interval = f"[{row.interval[0]:+.3f}, {row.interval[1]:+.3f}]" if row.interval else ""
        table.add_row(
            f"r{row.number}",
            Text(row.state, style=STATE_COLOURS[row.state]),
            f"{row.created_at:%Y-%m-%d %H:%M}",
            str(row.feedback_used if row.feedback_used is not None else ""),
            f"{row.minutes:.1f}" if row.minutes is not None else "",
            str(row.n or ""),
            f"{row.effect:+.3f}" if row.effect is not None else "",
            Text(interval),
            f"{row.p:.2g}" if row.p is not None else "",
            row.decision or "",
        )
    return table


def report_table(report: GateReport) -> RenderableType:
    """Every suite of a report, both releases side by side."""
    table = Table("suite", "n", "before", "after", "effect", "95 % interval", "p", "test", "", title=f"gate: {report.decision}")
    for suite in report.suites:
        table.add_row(
            suite.suite,
            str(suite.n),
            f"{suite.before:.3f}",
            f"{suite.after:.3f}",
            f"{suite.effect:+.3f}",
            Text(f"[{suite.interval[0]:+.3f}, {suite.interval[1]:+.3f}]"),
            f"{suite.p:.2g}",
            f"{suite.test}, alpha {suite.alpha:.2g}" + (f", margin {suite.margin:.2g}" if suite.margin is not None else ""),
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
