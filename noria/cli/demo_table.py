"""The one table of `noria demo`."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

ROWS = (
    ("guests served (the world is as they wanted)", "success", "{:.1%}"),
    ("tool calls exact (name and all arguments)", "exact_calls", "{:.1%}"),
    ("tool calls right by name", "named_calls", "{:.1%}"),
    ("tokens a second, one chat alone", "tokens_per_second", "{:.1f}"),
    ("seconds a reply, 12 guests at once", "seconds_a_reply", "{:.2f}"),
)


def demo_table(told: dict[str, Any]) -> RenderableType:
    """Before and after on the same held-out goals, what the gate found, and what went live."""
    table = Table(title="One turn of the wheel", title_justify="left")
    table.add_column("on the same held-out goals, fresh worlds")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    for label, key, shape in ROWS:
        cells = [shape.format(told[side][key]) if key in told[side] else "" for side in ("before", "after")]
        table.add_row(label, *cells)
    guests = told["new_guests"]
    table.add_row(f"{guests['n']} guests over HTTP served (others after than before)", f"{guests['before']:.1%}", f"{guests['after']:.1%}")
    table.add_section()
    if told["effect"] is not None:
        low, high = told["interval"]
        found = f"{told['effect']:+.3f}  [{low:+.3f}, {high:+.3f}]"
        table.add_row(f"effect with 95 % interval, n = {told['n']}", Text(""), Text(found))
        table.add_row("p (exact McNemar, one-sided)", "", f"{told['p']:.2g}")
    feedback = told["feedback"]
    table.add_row("feedback: guests and corrections, a colleague's decisions", "", f"{feedback['visitors']}, {feedback['colleague']}")
    table.add_row("minutes of training; of everything", "", f"{told['train'].get('train_seconds', 0) / 60:.1f}; {told['seconds'] / 60:.1f}")
    table.add_row("live now", "", Text(told["live"], style="green" if told["promoted"] else "yellow"))
    verdict = "went live because:" if told["promoted"] else "did not go live because:"
    return Group(table, Text(f"The candidate {verdict} {' '.join(told['reasons'])}"))
