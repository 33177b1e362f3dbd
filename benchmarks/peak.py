"""How much of the machine's matrix-product peak pre-training uses, by size of the model and length of the context, and how much memory.

    python benchmarks/peak.py [--steps 6]

Decoders of 5, 20, 60 and 135 million parameters (llama, 16,384 tokens) learn random tokens for a few steps of 16,384 tokens, each in a process of its
own, compiled and with the optimizer that `noria pretrain` takes by default. Operations are counted by 6 N a token and the causal half of attention;
the peak is that of a large square product in the same precision, measured in the same process. Beside it: the same model in a plain loop of
transformers and torch (its own loss, autocast in bf16, fused AdamW), as it is and compiled, of which the faster counts. On a processor with AMX the
cases from 60 million on are measured a second time without it (`avx512_`): its products are up to ten times as fast as those of AVX-512 and all else
is not, so that the share says something else there. Writes benchmarks/results/peak.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _harness import machine, peak_gigabytes, print_figures, write_results

VOCABULARY = 16_384
BATCH_TOKENS, MICRO_TOKENS = 16_384, 4096
SIZES = {"5m": 5e6, "20m": 20e6, "60m": 60e6, "135m": 135e6}
CONTEXTS = (256, 1024)
NO_AMX = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}


def noria(size: float, context: int, steps: int, work: Path) -> tuple[float, Any]:
    """Tokens a second, and the model."""
    from functools import partial

    from noria.data import Encoded, write_shards
    from noria.model import make_config, new_model, num_parameters
    from noria.train import PretrainConfig
    from noria.train.causal import Causal
    from noria.train.dial import nearest_shape
    from noria.train.memory import keep_freed_memory
    from noria.train.optimizers import layer_matrices, muon_and_adamw
    from noria.train.pretrain import prepare_model
    from noria.train.run import Run, RunConfig

    rng = np.random.default_rng(0)
    documents = (("train", Encoded(token_ids=[0, *rng.integers(4, VOCABULARY, 4 * context)], num_bytes=1)) for _ in range(200_000 // context))
    shards = write_shards(work, documents, VOCABULARY)
    special = {"bos": 0, "eos": 1, "pad": 2}
    made = partial(make_config, "llama", vocab_size=VOCABULARY, special=special)
    shape = nearest_shape(round(size), context, lambda s: num_parameters(made(s)))
    model = new_model(made(shape), 0)
    keep_freed_memory()
    precision = prepare_model(model, PretrainConfig(compile=True))
    objective = Causal(0, context, BATCH_TOKENS // context, MICRO_TOKENS // context, 0, compiled=True)
    optimizers = muon_and_adamw(model, layer_matrices(model), 1e-3, 1e-3, 0.1, (0.9, 0.95))
    run = Run(model, model, objective.steps(shards.train), optimizers, RunConfig(rate=lambda *_: 1.0, precision=precision), work)
    _, tokens, seconds = run.measure(steps, 1e9)
    return tokens / seconds, model


def plain(size: float, context: int, steps: int, compiled: bool) -> tuple[float, Any]:
    """Tokens a second of transformers' own model and loss in a plain loop, compiled or not, and the model."""
    import torch

    from noria.model import make_config, new_model, num_parameters
    from noria.train.dial import nearest_shape

    special = {"bos": 0, "eos": 1, "pad": 2}
    shape = nearest_shape(round(size), context, lambda s: num_parameters(make_config("llama", s, VOCABULARY, special)))
    model: Any = new_model(make_config("llama", shape, VOCABULARY, special), 0).train()
    called = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    seconds = 0.0
    for step in range(steps + 1):
        begin = time.perf_counter()
        for _ in range(BATCH_TOKENS // MICRO_TOKENS):
            tokens = torch.randint(4, VOCABULARY, (MICRO_TOKENS // context, context))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = called(input_ids=tokens, labels=tokens).loss
            (loss / (BATCH_TOKENS // MICRO_TOKENS)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds += time.perf_counter() - begin if step else 0.0
    return steps * BATCH_TOKENS / seconds, model


def one(kind: str, size: float, context: int, steps: int) -> dict[str, float]:
    import torch

    from noria.model import Shape
    from noria.train.dial import flops_per_token, matmul_peak

    with tempfile.TemporaryDirectory() as work:
        speed, model = noria(size, context, steps, Path(work)) if kind == "noria" else plain(size, context, steps, kind == "plain_compiled")
    memory = peak_gigabytes()
    config, count = model.config, model.num_parameters()
    shape = Shape(width=config.hidden_size, num_layers=config.num_hidden_layers, num_heads=config.num_attention_heads, context=context)
    peak = matmul_peak(torch.bfloat16, torch.device("cpu"), seconds=3)
    share = speed * flops_per_token(count, shape, context) / peak
    return {"parameters": count, "tokens_per_second": speed, "share_of_peak": share, "memory_gb": memory, "peak_gflops": peak / 1e9}


def in_a_process(kind: str, size: str, context: int, steps: int, variables: dict[str, str]) -> dict[str, float]:
    """What `one` finds in a process of its own, under these environment variables."""
    command = [sys.executable, __file__, "--steps", str(steps), "--one", kind, size, str(context)]
    done = subprocess.run(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--one", nargs=3, metavar=("KIND", "SIZE", "CONTEXT"), help="measure one case in this process and print it")
    options = parser.parse_args()
    if options.one:
        kind, size, context = options.one
        print(json.dumps(one(kind, SIZES[size], int(context), options.steps)))
        return
    figures: dict[str, float] = {}
    has_amx = "amx_bf16" in machine()
    for size in SIZES:
        for context in CONTEXTS:
            # Without AMX a step takes so long that one tells enough.
            if has_amx and SIZES[size] >= 60e6:
                found = in_a_process("noria", size, context, 1, NO_AMX)
                figures |= {f"avx512_{size}_{context}_{name}": found[name] for name in ("tokens_per_second", "share_of_peak", "peak_gflops")}
            for kind in ("noria", "plain", "plain_compiled"):
                found = in_a_process(kind, size, context, options.steps, {})
                figures |= {f"{kind}_{size}_{context}_{name}": value for name, value in found.items() if kind == "noria" or name != "parameters"}
            best = max(figures[f"{kind}_{size}_{context}_tokens_per_second"] for kind in ("plain", "plain_compiled"))
            figures[f"ratio_tokens_to_best_plain_{size}_{context}"] = figures[f"noria_{size}_{context}_tokens_per_second"] / best
    print_figures(figures)
    write_results("peak", figures)


if __name__ == "__main__":
    main()
