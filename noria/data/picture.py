"""The funnel of a corpus as a picture: one standalone SVG, a bar for what is left after each step."""

from html import escape
from itertools import groupby

from noria.data.contents import Dropped, Funnel, size_text

_WIDTH, _ROW, _LEFT, _BAR = 960, 46, 190, 370
_MAX_NOTE = 64
"""Characters of a note that fit beside the bar."""


def funnel_picture(funnel: Funnel) -> str:
    """The picture of a funnel; the light part of a bar is what its step dropped."""
    rows = [_bar(0, "read", "", funnel.came_in.documents, 0, funnel.came_in.documents)]
    left = funnel.came_in.documents
    for step, losses in groupby(funnel.dropped, key=lambda loss: loss.step):
        reasons = list(losses)
        lost = sum(loss.documents for loss in reasons)
        left -= lost
        rows.append(_bar(len(rows), step.replace("_", " "), _reasons(reasons), left, lost, funnel.came_in.documents))
    rows.append(_bar(len(rows), "corpus", size_text(funnel.went_out.bytes), funnel.went_out.documents, 0, funnel.came_in.documents))
    height = _ROW * len(rows) + 24
    label = f"{funnel.came_in.documents:,} documents read, {funnel.went_out.documents:,} in the corpus"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}" '
        f'font-family="system-ui, sans-serif" font-size="14">\n<rect width="{_WIDTH}" height="{height}" rx="12" fill="#f6faf8"/>\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )


def _bar(number: int, name: str, note: str, left: int, lost: int, total: int) -> str:
    top = 12 + _ROW * number
    kept, gone = (round(_BAR * count / max(total, 1), 1) for count in (left, lost))
    minus = f" (−{lost:,})" if lost else ""
    return (
        f'<text x="{_LEFT - 14}" y="{top + 27}" text-anchor="end" font-weight="600" fill="#123">{escape(name)}</text>'
        f'<rect x="{_LEFT}" y="{top + 6}" width="{kept}" height="{_ROW - 14}" rx="4" fill="#3a7"/>'
        f'<rect x="{_LEFT + kept}" y="{top + 6}" width="{gone}" height="{_ROW - 14}" rx="4" fill="#d9a5a5"/>'
        f'<text x="{_LEFT + _BAR + 14}" y="{top + 20}" fill="#123">{left:,}{minus}</text>'
        f'<text x="{_LEFT + _BAR + 14}" y="{top + 37}" font-size="11" fill="#456">{escape(note)}</text>'
    )


def _reasons(losses: list[Dropped]) -> str:
    """As many of the reasons as fit, the largest first."""
    ordered = sorted(losses, key=lambda loss: -loss.documents)
    note = ""
    for loss in ordered:
        longer = f"{note}, {loss.documents:,} {loss.reason.replace('_', ' ')}".removeprefix(", ")
        if len(longer) > _MAX_NOTE:
            return f"{note}, ..." if note else longer[:_MAX_NOTE]
        note = longer
    return note
