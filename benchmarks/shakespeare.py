"""Characters of Shakespeare: the laptop setting of nanoGPT beside a plain loop, and a race to the loss of its GPU setting.

    python benchmarks/shakespeare.py --data input.txt [--race-minutes 90] [--seeds 0 1 2] [--no-race] [--no-laptop]

The first nine tenths of the text are learnt, the last is held out. Laptop setting: 4 layers, 4 heads, 128 wide, 64 context, 12 rows, 2,000 steps;
`noria pretrain` and the plain loop of benchmarks/rivals/plain_gpt.py train the same architecture (gpt2) with AdamW. The race takes what `RACE`
says; its seeds, an hour and a half each, are gathered in one table if one commit ran them with the same options. Compilation is counted in neither's
tokens a second; that of ours stands beside. Writes benchmarks/results/shakespeare_laptop.json and shakespeare_race.json.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from _harness import COMMIT, RESULTS_DIR, ROOT, earlier, noria, print_figures, write_results

LAPTOP = {
    "tokenizer": "characters", "width": 128, "layers": 4, "heads": 4, "context": 64, "batch_tokens": 768, "steps": 2000, "beta2": 0.99,
    "schedule": "cosine", "warmup": 0.05, "num_validations": 4, "validation_tokens": 1_000_000, "compile": "true",
}  # fmt: skip
RIVALS = {
    "plain_float32": ["--precision", "float32"],
    "plain_bfloat16": ["--precision", "bfloat16"],
    "plain_float32_compiled": ["--precision", "float32", "--compile"],
    "plain_bfloat16_compiled": ["--precision", "bfloat16", "--compile"],
}
RACE: dict[str, object] = {"tokenizer": "characters", "width": 384, "layers": 6, "heads": 6, "context": 256, "dropout": 0.2}


def split(data: Path, folder: Path) -> list[Path]:
    text = data.read_text(encoding="utf-8")
    border = int(0.9 * len(text))
    paths = [folder / "train.txt", folder / "validation.txt"]
    for path, part in zip(paths, (text[:border], text[border:]), strict=True):
        path.write_text(part, encoding="utf-8")
    return paths


def pretrain(corpus: list[Path], out: Path, settings: dict[str, object], minutes: float | None = None) -> dict[str, float]:
    given = [*(["--minutes", str(minutes)] if minutes else []), *(f"--set={name}={value}" for name, value in settings.items())]
    return noria("pretrain", "--corpus", *map(str, corpus), "--out", str(out), *given)


def laptop(data: Path, corpus: list[Path], work: Path) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, options in RIVALS.items():
        command = [sys.executable, str(ROOT / "benchmarks/rivals/plain_gpt.py"), "--data", str(data), *options]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        figures |= {f"{name}_loss": found["loss"], f"{name}_tokens_per_second": found["tokens_per_second"]}
    for name, settings in (
        ("noria_same_model", {"architecture": "gpt2", "optimizer": "adamw", "learning_rate": 1e-3}),
        ("noria_llama_muon", {"architecture": "llama"}),
    ):
        found = pretrain(corpus, work / name, {**LAPTOP, **settings})
        steady = (found["tokens"] - float(LAPTOP["batch_tokens"])) / (found["train_seconds"] - found["first_step_seconds"])  # type: ignore[arg-type]
        figures |= {f"{name}_loss": found["validation_loss"], f"{name}_tokens_per_second": steady}
        figures |= {f"{name}_first_step_seconds": found["first_step_seconds"]}
    best = max(figures[f"{name}_tokens_per_second"] for name in RIVALS)
    figures["ratio_tokens_to_plain_float32"] = figures["noria_same_model_tokens_per_second"] / figures["plain_float32_tokens_per_second"]
    figures["ratio_tokens_to_best_plain"] = figures["noria_same_model_tokens_per_second"] / best
    return figures


def race(options: argparse.Namespace, corpus: list[Path], work: Path) -> None:
    """Run the seeds that were asked for, and write them beside those that were run before."""
    figures = earlier(RESULTS_DIR / "shakespeare_race.json", partial(command_of, options), COMMIT)
    for seed in options.seeds:
        found = pretrain(corpus, work / f"race-{seed}", {**RACE, "seed": seed}, options.race_minutes)
        figures |= {f"loss_seed_{seed}": found["validation_loss"], f"train_minutes_seed_{seed}": found["train_seconds"] / 60}
        figures |= {f"minutes_in_all_seed_{seed}": found["wall_seconds_of_this_process"] / 60}
        figures |= {f"tokens_seed_{seed}": found["tokens"], "num_parameters": found["num_parameters"]}
        losses = [figures[f"loss_seed_{one}"] for one in _seeds_in(figures)]
        figures |= {"loss_mean": statistics.fmean(losses), "loss_spread": max(losses) - min(losses)}
        print_figures(figures)
        write_results("shakespeare_race", figures, command_of(options, figures))


def command_of(options: argparse.Namespace, figures: Mapping[str, float]) -> str:
    """The one command that makes these figures of the race, in however many parts they were made."""
    command = ["python", "benchmarks/shakespeare.py", "--data", str(options.data), "--race-minutes", f"{options.race_minutes:g}", "--no-laptop"]
    return shlex.join([*command, "--seeds", *map(str, _seeds_in(figures))])


def _seeds_in(figures: Mapping[str, float]) -> list[int]:
    return sorted(int(name.removeprefix("loss_seed_")) for name in figures if name.startswith("loss_seed_"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="tinyshakespeare's input.txt")
    parser.add_argument("--race-minutes", type=float, default=90)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the race")
    parser.add_argument("--no-race", action="store_true", help="the laptop setting alone")
    parser.add_argument("--no-laptop", action="store_true", help="the race alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        corpus = split(options.data, work)
        if not options.no_laptop:
            figures = laptop(options.data, corpus, work)
            print_figures(figures)
            write_results("shakespeare_laptop", figures)
        if not options.no_race:
            race(options, corpus, work)


if __name__ == "__main__":
    main()
