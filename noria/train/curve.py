"""The course of a run as others read it: a picture (`curve.svg`) and TensorBoard's event files, both from `curve.jsonl`."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from tensorboardX import SummaryWriter

from noria.store import write_file

WIDTH, HEIGHT, MARGIN = 720, 360, 48
MAX_POINTS = 600
"""Points of a line; more cannot be told apart."""
_COLORS = {"loss": "#9db4c0", "validation_loss": "#0b6e8a"}


def draw(curve: Path, folder: Path) -> None:
    """Write `curve.svg` and `tensorboard/` of a curve into a folder; a curve without points gives neither."""
    points = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
    if not points:
        return
    lines = {name: [(p["step"], p[name]) for p in points if name in p] for name in _COLORS}
    write_file(folder / "curve.svg", [_picture({name: _thinned(line) for name, line in lines.items() if line})])
    writer = SummaryWriter(str(folder / "tensorboard"))
    for point in points:
        for name in point.keys() - {"step", "tokens"}:
            writer.add_scalar(name, point[name], point["step"])
    writer.close()


def _thinned(line: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Means of neighbours, so that a long line stays one."""
    size = math.ceil(len(line) / MAX_POINTS)
    parts = [line[at : at + size] for at in range(0, len(line), size)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def _picture(lines: dict[str, list[tuple[float, float]]]) -> str:
    values = [value for line in lines.values() for _, value in line]
    low, high = min(values), max(values)
    high = high if high > low else low + 1
    last = max(step for line in lines.values() for step, _ in line)

    def x(step: float) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * step / last

    def y(value: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - low) / (high - low)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#334">']
    for share in (0, 0.25, 0.5, 0.75, 1):
        value = low + share * (high - low)
        parts.append(f'<path d="M{MARGIN} {y(value):.1f}H{WIDTH - MARGIN}" stroke="#e4e8ec"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    parts.append(f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - MARGIN + 18}" text-anchor="end">step {last:,.0f}</text>')
    for number, (name, line) in enumerate(lines.items()):
        path = " ".join(f"{'L' if i else 'M'}{x(step):.1f} {y(value):.1f}" for i, (step, value) in enumerate(line))
        parts.append(f'<path d="{path}" fill="none" stroke="{_COLORS[name]}" stroke-width="1.8"/>')
        parts.append(f'<text x="{WIDTH - MARGIN}" y="{20 + 16 * number}" text-anchor="end" fill="{_COLORS[name]}">{name.replace("_", " ")}</text>')
    return "\n".join([*parts, "</svg>\n"])
