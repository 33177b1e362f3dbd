"""Supervised tuning beside the trainers people use: useful tokens a second, memory, and the held-out loss after one pass.

    python benchmarks/trainers.py --data ../shared/data/sgd [--rounds 1] [--only NAME ...]

transformers' Trainer, TRL's SFTTrainer and LLaMA-Factory learn the same token ids (24 dialogues of Schema-Guided Dialogue, 8 more to judge by) from
the same weights as Noria, full and with LoRA of the same rank on the same layers; each rival in two settings, of which the faster counts. Padding is
not counted as useful; a beginning that dialogues of one step share counts for each, though Noria computes it once. Speeds are those behind the first
6,000 tokens, whose seconds stand apart: what is compiled, anew for each run, is compiled in them. Every run is a process of its own; figures are
medians over the rounds, which are interleaved. `share_of_peak` takes 6 N operations a token for full tuning and 4 N for LoRA, against a large square
product in bfloat16. On a processor with AMX Noria runs once more without it (`avx512_`), where products do not hide all else. Writes
benchmarks/results/trainers.json.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from _harness import machine, print_figures, rival_python, write_results

METHODS = ("full", "lora")
OPERATIONS = {"full": 6, "lora": 4}
"""Operations of a parameter for each token."""
SETTINGS = ("pairs", "singles")
NUM_TRAIN, NUM_HELD_OUT = 24, 8
NO_AMX = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
RIVALS = Path(__file__).resolve().parent / "rivals"
Row = dict[str, Any]
Figures = dict[str, float]


def rival_command(trainer: str) -> list[str]:
    """How a rival is run; what it needs is installed first."""
    if trainer == "llamafactory":
        return [str(rival_python("llamafactory", "llamafactory==0.9.5", "transformers==4.57.3")), str(RIVALS / "llamafactory_sft.py")]
    python = rival_python("trl", "torch==2.13.0", "trl==1.16.0", "peft==0.21.2", "transformers==5.23.0")
    return [str(python), str(RIVALS / "trainer_sft.py"), "--trainer", trainer]


def commands(rivals: Iterable[str]) -> dict[str, list[str]]:
    """Every run by its name: for each method Noria first, then each rival in each of its settings; full tuning by TRL as it comes too."""
    rival = {trainer: rival_command(trainer) for trainer in rivals}
    runs: dict[str, list[str]] = {}
    for method in METHODS:
        runs[f"noria_{method}"] = [sys.executable, str(RIVALS / "noria_sft.py"), "--method", method]
        if method == "full" and "trl" in rival:
            runs["trl_default_full"] = [*rival["trl"], "--method", "full", "--settings", "default"]
        runs |= {f"{name}_{way}_{method}": [*command, "--method", method, "--settings", way] for name, command in rival.items() for way in SETTINGS}
    return runs


def given_file(rows: Sequence[Row], scratch: Path) -> Path:
    """The token ids and labels of chat rows that fit into 2,048 tokens, for every trainer to read."""
    from noria.align.finetune import read_examples
    from noria.data import write_task
    from noria.data.examples import ChatExample
    from noria.model import Renderer, load_tokenizer, plain_checkpoint, resolve
    from noria.train import TuneConfig

    base = resolve("smollm2-135m")
    write_task(scratch / "rows" / "chat.jsonl", [ChatExample.model_validate(row) for row in rows])
    config = TuneConfig()
    examples = [one for one in read_examples(Renderer(load_tokenizer(base.path)), scratch / "rows", config) if one.num_tokens <= config.max_tokens]
    sides = examples[:NUM_TRAIN], examples[NUM_TRAIN : NUM_TRAIN + NUM_HELD_OUT]
    given = {"model": str(plain_checkpoint(base)), "train": [_labelled(e) for e in sides[0]], "held_out": [_labelled(e) for e in sides[1]]}
    path = scratch / "given.json"
    path.write_text(json.dumps(given), encoding="utf-8")
    return path


def _labelled(example: Any) -> dict[str, list[int]]:
    tokens, weights = list(example.sequences[0]), example.weights[0]
    return {"input_ids": tokens, "labels": [t if w > 0 else -100 for t, w in zip(tokens, weights, strict=True)], "prefix": [example.prefix]}


def run(name: str, command: Sequence[str], given: Path, variables: Mapping[str, str] | None = None) -> Figures:
    """The figures of one process, begun anew: what is left of an earlier one would be gone on with."""
    scratch = given.parent / name
    for left in (scratch, scratch.with_name(f"{name}-compiled")):
        shutil.rmtree(left, ignore_errors=True)
    whole = [*command, "--given", str(given), "--scratch", str(scratch)]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(scratch.with_name(f"{name}-compiled")), **(variables or {})}
    done = subprocess.run(whole, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in found.items()), flush=True)
    return found


def medians(runs: Mapping[str, Sequence[Figures]]) -> Figures:
    return {f"{name}_{key}": statistics.median(one[key] for one in found) for name, found in runs.items() for key in found[0]}


def ratios(figures: Figures, rivals: Sequence[str]) -> Figures:
    """Noria to the faster setting of each rival, and to the best of all; memory to the least that any of those fastest ones held."""
    found: Figures = {}
    for method in METHODS:
        fastest = {trainer: max(SETTINGS, key=lambda way, of=trainer: figures[f"{of}_{way}_{method}_tokens_per_second"]) for trainer in rivals}
        speeds = {trainer: figures[f"{trainer}_{way}_{method}_tokens_per_second"] for trainer, way in fastest.items()}
        own = figures[f"noria_{method}_tokens_per_second"]
        found |= {f"ratio_to_{trainer}_best_{method}": own / speed for trainer, speed in speeds.items()}
        if len(rivals) > 1:
            found[f"ratio_to_best_{method}"] = own / max(speeds.values())
        if f"trl_default_{method}_tokens_per_second" in figures:
            found[f"ratio_to_trl_default_{method}"] = own / figures[f"trl_default_{method}_tokens_per_second"]
        memory = min(figures[f"{trainer}_{way}_{method}_gigabytes"] for trainer, way in fastest.items())
        found[f"ratio_memory_{method}"] = figures[f"noria_{method}_gigabytes"] / memory
    return found


def shares(figures: Figures, given: Path) -> Figures:
    """Shares of the matrix-product peak, with AMX and without where the processor has it."""
    found: Figures = {}
    model = json.loads(given.read_text(encoding="utf-8"))["model"]
    for prefix, variables in (("", {}), *((("avx512_", NO_AMX),) if "amx_bf16" in machine() else ())):
        code = f"""
import json, torch
from pathlib import Path
from noria.model import load_checkpoint
from noria.train.dial import matmul_peak
model = load_checkpoint(Path({model!r}))
print(json.dumps([matmul_peak(torch.bfloat16, torch.device("cpu"), seconds=3), model.num_parameters()]))
"""
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, check=True)
        peak, count = json.loads(done.stdout.splitlines()[-1])
        found[f"{prefix}peak_gflops"] = peak / 1e9
        for method in METHODS:
            if (speed := figures.get(f"{prefix}noria_{method}_tokens_per_second")) is not None:
                found[f"{prefix}share_of_peak_{method}"] = speed * OPERATIONS[method] * count / peak
    return found


def beside(rows: Sequence[Row], rivals: Sequence[str], scratch: Path, rounds: int = 1) -> Figures:
    """The figures of Noria and these rivals on chat rows."""
    scratch.mkdir(parents=True, exist_ok=True)
    given, runs = given_file(rows, scratch), commands(rivals)
    found: dict[str, list[Figures]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, command in runs.items():
            found[name].append(run(name, command, given))
    figures = medians(found)
    return figures | ratios(figures, rivals)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train_sample.jsonl and train_schema.json")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=["transformers", "trl", "llamafactory"], default=["transformers", "trl", "llamafactory"])
    options = parser.parse_args()
    from sgd_loop import Services

    rows, _ = Services(options.data.resolve()).split()
    with tempfile.TemporaryDirectory(prefix="noria-trainers-") as name:
        scratch = Path(name)
        figures = beside(rows, options.only, scratch, options.rounds)
        if "amx_bf16" in machine():
            again = partial(run, given=scratch / "given.json", variables=NO_AMX)
            own = {method: again(f"avx512_noria_{method}", commands(())[f"noria_{method}"]) for method in METHODS}
            figures |= {f"avx512_noria_{method}_{key}": value for method, found in own.items() for key, value in found.items()}
        figures |= shares(figures, scratch / "given.json")
    print_figures(figures)
    write_results("trainers", figures)


if __name__ == "__main__":
    main()
