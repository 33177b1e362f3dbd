"""TRL's SFTTrainer on given token ids: useful tokens a second over one pass, and the held-out loss after it. Runs in TRL's own environment.

`default`: SFTConfig as it comes. `best`: what measured best on a processor: no gradient checkpointing, grouped by length, bfloat16 only where
the processor has the instructions, the optimizer fused, one checkpoint at the end as ours has; two examples a step, in one batch (`pairs`)
or, without any padding, one after the other (`singles`).
"""

import argparse
import json
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

parser = argparse.ArgumentParser()
parser.add_argument("--given", type=Path, required=True)
parser.add_argument("--scratch", type=Path, required=True)
parser.add_argument("--method", choices=["full", "lora"], required=True)
parser.add_argument("--settings", choices=["default", "pairs", "singles"], required=True)
arguments = parser.parse_args()

given = json.loads(arguments.given.read_text())
train, held_out = ([{k: row[k] for k in ("input_ids", "labels")} for row in given[side]] for side in ("train", "held_out"))
native_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
best = {
    "gradient_checkpointing": False,
    "save_strategy": "epoch",
    "train_sampling_strategy": "group_by_length",
    "bf16": native_bf16,
    "optim": "adamw_torch_fused",
    "per_device_train_batch_size": 2 if arguments.settings == "pairs" else 1,
    "gradient_accumulation_steps": 1 if arguments.settings == "pairs" else 2,
}
config = SFTConfig(
    output_dir=str(arguments.scratch),
    num_train_epochs=1,
    learning_rate=1e-3 if arguments.method == "lora" else 2e-4,
    max_length=2048,
    report_to=[],
    logging_steps=1,
    use_cpu=True,
    seed=0,
    disable_tqdm=True,
    **({} if arguments.settings == "default" else best),
)
lora = LoraConfig(
    r=16, lora_alpha=32, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], task_type="CAUSAL_LM"
)
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(given["model"], dtype=torch.float32),
    args=config,
    train_dataset=Dataset.from_list(train),
    processing_class=AutoTokenizer.from_pretrained(given["model"]),
    peft_config=lora if arguments.method == "lora" else None,
)
started = time.monotonic()
trainer.train()
seconds = time.monotonic() - started
model = trainer.model.eval()
total = count = 0.0
with torch.no_grad():
    for row in held_out:
        labels = torch.tensor([row["labels"]])
        found = int((labels[:, 1:] != -100).sum())
        total += model(input_ids=torch.tensor([row["input_ids"]]), labels=labels).loss.item() * found
        count += found
print(json.dumps({"tokens_per_second": sum(len(row["input_ids"]) for row in train) / seconds, "held_out_loss": total / count}))
