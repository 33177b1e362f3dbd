"""A plain character model as a tutorial writes it: torch modules, AdamW, random blocks, cosine rate. Prints one JSON object.

python benchmarks/rivals/plain_gpt.py --data input.txt --steps 2000 --precision bfloat16 --compile
"""

import argparse
import contextlib
import json
import math
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
PEAK_RATE, LAST_RATE, WARMUP = 1e-3, 1e-4, 100


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.into, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, _ = x.shape
        parts = self.into(self.norm1(x)).view(rows, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(rows, length, WIDTH))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Model(nn.Module):
    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab_size, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        self.apply(self._initialize)
        for layer in self.layers:
            nn.init.normal_(layer.out.weight, std=0.02 / math.sqrt(2 * LAYERS))
            nn.init.normal_(layer.down.weight, std=0.02 / math.sqrt(2 * LAYERS))

    @staticmethod
    def _initialize(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for layer in self.layers:
            x = layer(x)
        logits = functional.linear(self.norm(x), self.tokens.weight)
        return functional.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets.reshape(-1))


def rate(step: int, steps: int) -> float:
    if step < WARMUP:
        return PEAK_RATE * (step + 1) / (WARMUP + 1)
    share = (step - WARMUP) / max(1, steps - WARMUP)
    return LAST_RATE + 0.5 * (1 + math.cos(math.pi * share)) * (PEAK_RATE - LAST_RATE)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    text = options.data.read_text(encoding="utf-8")
    characters = sorted(set(text))
    ids = torch.tensor([characters.index(c) for c in text])
    border = int(0.9 * len(ids))
    train, held_out = ids[:border], ids[border:]
    model = Model(len(characters))
    called = torch.compile(model) if options.compile else model
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1}]
    groups += [{"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.99), fused=True)
    precision = torch.autocast("cpu", dtype=torch.bfloat16) if options.precision == "bfloat16" else contextlib.nullcontext()
    seconds, timed = 0.0, 0
    for step in range(options.steps):
        begin = time.perf_counter()
        starts = torch.randint(len(train) - CONTEXT, (BATCH,))
        tokens = torch.stack([train[s : s + CONTEXT] for s in starts])
        targets = torch.stack([train[s + 1 : s + CONTEXT + 1] for s in starts])
        for group in optimizer.param_groups:
            group["lr"] = rate(step, options.steps)
        with precision:
            loss = called(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step >= 20:  # compilation and caches are not counted
            seconds += time.perf_counter() - begin
            timed += BATCH * CONTEXT
    model.eval()
    with torch.no_grad(), precision:
        count = (len(held_out) - 1) // CONTEXT
        blocks = held_out[: count * CONTEXT].view(count, CONTEXT)
        targets = held_out[1 : count * CONTEXT + 1].view(count, CONTEXT)
        losses = [float(model(blocks[i : i + 64], targets[i : i + 64])) * len(blocks[i : i + 64]) for i in range(0, count, 64)]
    print(json.dumps({"loss": sum(losses) / count, "tokens_per_second": timed / seconds, "seconds": seconds}))


if __name__ == "__main__":
    main()
