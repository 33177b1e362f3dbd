"""Does the dial choose well? Models of several sizes, each given the same minutes on one corpus, and the one that `noria pretrain` chooses itself.

    python benchmarks/scaling.py --corpus FILE [--minutes 8]

The dial's run comes first; then three other widths from its own list (two steps apart: two smaller and one larger, where there are such) with the
same tokenizer and minutes.
A parabola in the logarithm of the size is fitted through the losses (Hoffmann et al. 2022, approach 2): its lowest point is the size that
the corpus and the machine would have wanted. The recorded figures are of Debian's manuals, which `encoder.py --out DIR` cleans into DIR/corpus.
Writes benchmarks/results/scaling.json.
"""

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _harness import noria, print_figures, write_results

from noria.train.dial import WIDTHS


def pretrain(corpus: Path, out: Path, minutes: float, *more: str) -> dict[str, Any]:
    return noria("pretrain", "--corpus", str(corpus), "--out", str(out), "--minutes", str(minutes), *more)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        chosen = pretrain(options.corpus, work / "dial", options.minutes)
        width = chosen["plan"]["width"]
        at = WIDTHS.index(width)
        others = sorted([index for index in (at - 2, at + 2, at - 4, at + 4, at - 6, at + 6) if 0 <= index < len(WIDTHS)][:3])
        runs = {width: chosen}
        for index in others:
            wide = WIDTHS[index]
            given = ["--tokenizer", str(work / "dial"), "--set", f"width={wide}", "--set", f"layers={max(2, round(wide / 64))}"]
            runs[wide] = pretrain(options.corpus, work / str(wide), options.minutes, *given, "--set", f"context={chosen['plan']['context']}")
    figures: dict[str, float | bool] = {"dial_width": width}
    for wide, run in sorted(runs.items()):
        figures |= {f"width_{wide}_{n}": run[n] for n in ("num_parameters", "tokens", "validation_loss", "bits_per_byte", "train_seconds")}
    sizes = np.log([run["num_parameters"] for run in runs.values()])
    losses = np.array([run["bits_per_byte"] for run in runs.values()])
    a, b, _ = np.polyfit(sizes, losses, 2)
    figures["losses_have_a_lowest_point"] = bool(a > 0)
    if a > 0:
        figures["fitted_best_parameters"] = math.exp(-b / (2 * a))
        figures["fitted_best_bits_per_byte"] = float(np.polyval(np.polyfit(sizes, losses, 2), -b / (2 * a)))
    figures["dial_over_best"] = chosen["bits_per_byte"] / float(losses.min())
    print_figures(figures)
    write_results("scaling", figures)


if __name__ == "__main__":
    main()
