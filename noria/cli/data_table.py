"""How a corpus looks in a terminal: its funnel, and what it holds."""

from collections.abc import Iterator

from rich import box
from rich.table import Table
from rich.text import Text

from noria.data.contents import Amount, Contents, Funnel, size_text
from noria.data.stats import Stats

MAX_ROWS = 10


def stats_tables(stats: Stats) -> Iterator[Table]:
    """The funnel, if there is one, and the contents by split, language, source and licence."""
    if stats.funnel is not None:
        yield _funnel(stats.funnel)
    yield _contents(stats.contents)


def _funnel(funnel: Funnel) -> Table:
    table = _table("step", "reason", "documents", "size", "left")
    left = funnel.came_in.documents
    table.add_row("came in", "", f"{left:,}", size_text(funnel.came_in.bytes), f"{left:,}")
    before = ""
    for loss in funnel.dropped:
        left -= loss.documents
        step = "" if loss.step == before else loss.step.replace("_", " ")
        reason = loss.reason.replace("_", " ")
        table.add_row(step, reason, Text(f"-{loss.documents:,}", style="red"), f"-{size_text(loss.bytes)}", f"{left:,}")
        before = loss.step
    for kind, number in funnel.redacted.items():
        table.add_row("redacted" if kind == next(iter(funnel.redacted)) else "", kind, f"{number:,} values", "", "")
    if funnel.trimmed_bytes:
        table.add_row("trimmed", "lines, repairs, placeholders", "", size_text(-funnel.trimmed_bytes), "")
    table.add_row("corpus", "", f"{funnel.went_out.documents:,}", size_text(funnel.went_out.bytes), f"{funnel.went_out.documents:,}", style="bold")
    return table


def _contents(contents: Contents) -> Table:
    table = _table("", "", "documents", "size", "share")
    for title, counts in (
        ("split", contents.splits),
        ("language", contents.languages),
        ("source", contents.sources),
        ("licence", contents.licenses),
    ):
        for row, (name, amount) in enumerate(list(counts.items())[:MAX_ROWS]):
            table.add_row("" if row else title, _short(name), f"{amount.documents:,}", size_text(amount.bytes), _share(amount, contents.total))
        if len(counts) > MAX_ROWS:
            table.add_row("", f"and {len(counts) - MAX_ROWS:,} more", "", "", "")
    table.add_row("all", f"about {contents.num_tokens:,} tokens", f"{contents.total.documents:,}", size_text(contents.total.bytes), "", style="bold")
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in ("documents", "size", "left", "share") else "left")
    return table


def _share(amount: Amount, total: Amount) -> str:
    return f"{100 * amount.bytes / max(total.bytes, 1):.1f} %"


def _short(name: str) -> str:
    return name if len(name) <= 48 else f"...{name[-45:]}"
