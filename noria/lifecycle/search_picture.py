"""A search as others read it: `search.svg`, with each trial's score, the best so far, and how much each setting mattered."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from noria.store import write_file

WIDTH, HEIGHT, MARGIN = 720, 300, 56
BAR, NAMES = 22, 140
"""Height of a bar of importance, and the room for the names before it."""
_DOT, _BEST = "#9db4c0", "#0b6e8a"


def draw_search(trials: Sequence[Mapping[str, Any]], importance: Mapping[str, float], path: Path) -> None:
    """Write the picture of a search of which at least one trial was run to its end. Raises StoreError."""
    height = HEIGHT + (MARGIN + BAR * len(importance) if importance else 0)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" fill="#334">'
    write_file(path, ["\n".join([head, *_history(trials), *_bars(importance), "</svg>\n"])])


def _history(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    scored = [(int(trial["number"]), float(trial["score"])) for trial in trials if trial["state"] == "complete"]
    low, high = min(score for _, score in scored), max(score for _, score in scored)
    high = high if high > low else low + 1
    last = max(len(trials) - 1, 1)

    def at(number: int, score: float) -> tuple[float, float]:
        x = MARGIN + (WIDTH - 2 * MARGIN) * number / last
        return round(x, 1), round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (score - low) / (high - low), 1)

    parts: list[str] = []
    for value in (low, (low + high) / 2, high):
        _, y = at(0, value)
        parts.append(f'<path d="M{MARGIN} {y}H{WIDTH - MARGIN}" stroke="#e4e8ec"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y + 4}" text-anchor="end">{value:.4f}</text>')
    best = [at(number, max(score for n, score in scored if n <= number)) for number, _ in scored]
    line = "".join(f"H{x}V{y}" if i else f"M{x} {y}" for i, (x, y) in enumerate(best))
    parts.append(f'<path d="{line}H{WIDTH - MARGIN}" fill="none" stroke="{_BEST}" stroke-width="1.8"/>')
    for number, score in scored:
        x, y = at(number, score)
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{_DOT}"><title>trial {number + 1}: {score:.4f}</title></circle>')
    left_out = len(trials) - len(scored)
    told = f"{len(trials)} trials, {left_out} of them ended early or failed" if left_out else f"{len(trials)} trials"
    parts.append(f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - MARGIN + 22}" text-anchor="end">{told}</text>')
    parts.append(f'<text x="{MARGIN}" y="24" fill="{_BEST}">best score so far</text>')
    return parts


def _bars(importance: Mapping[str, float]) -> list[str]:
    parts: list[str] = []
    if importance:
        parts.append(f'<text x="{MARGIN}" y="{HEIGHT}">share of the differences that each setting explains</text>')
    for number, (name, share) in enumerate(sorted(importance.items(), key=lambda one: -one[1])):
        y = HEIGHT + 12 + BAR * number
        width = round((WIDTH - 2 * MARGIN - NAMES) * share, 1)
        parts.append(f'<text x="{MARGIN + NAMES - 8}" y="{y + 13}" text-anchor="end">{name}</text>')
        parts.append(f'<rect x="{MARGIN + NAMES}" y="{y}" width="{width}" height="{BAR - 6}" fill="{_BEST}"/>')
        parts.append(f'<text x="{MARGIN + NAMES + width + 6}" y="{y + 13}">{share:.0%}</text>')
    return parts
