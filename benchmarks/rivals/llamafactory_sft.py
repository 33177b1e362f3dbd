"""LLaMA-Factory on given token ids: useful tokens a second, memory, and the held-out loss after one pass. Runs in its own environment.

What measured best on a processor: bfloat16 only where the processor has the instructions, the optimizer fused, no recomputation; two examples a
step, in one batch grouped by length (`pairs`) or, without any padding, one after the other (`singles`). The token ids come as its own tokenized
data set, so that every trainer learns the same.
"""

import shutil
from typing import Any

import sft_given
import torch
from datasets import Dataset, DatasetDict
from llamafactory.train.tuner import run_exp
from transformers import AutoModelForCausalLM, TrainerCallback

arguments = sft_given.parser(settings=["pairs", "singles"]).parse_args()
given = sft_given.read(arguments.given)
clock = sft_given.Clock()


class Watch(TrainerCallback):
    def on_train_begin(self, _arguments: Any, _state: Any, _control: Any, **_: Any) -> None:
        clock.begin()

    def on_step_end(self, _arguments: Any, state: Any, _control: Any, **_: Any) -> None:
        clock.step(int(state.num_input_tokens_seen))


shutil.rmtree(arguments.scratch, ignore_errors=True)
rows = [{"input_ids": row["input_ids"], "attention_mask": [1] * len(row["input_ids"]), "labels": row["labels"]} for row in given["train"]]
DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(str(arguments.scratch / "data"))
out = arguments.scratch / "out"
settings: dict[str, Any] = {
    "stage": "sft",
    "do_train": True,
    "model_name_or_path": given["model"],
    "template": "empty",
    "dataset": "given",  # asked for, and not looked at where token ids are given
    "tokenized_path": str(arguments.scratch / "data"),
    "cutoff_len": 2048,
    "finetuning_type": arguments.method,
    "output_dir": str(out),
    "num_train_epochs": 1.0,
    "learning_rate": sft_given.RATES[arguments.method],
    "bf16": bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()),
    "disable_gradient_checkpointing": True,
    "optim": "adamw_torch_fused",
    "per_device_train_batch_size": 2 if arguments.settings == "pairs" else 1,
    "gradient_accumulation_steps": 1 if arguments.settings == "pairs" else 2,
    "group_by_length": arguments.settings == "pairs",
    "use_cpu": True,
    "report_to": "none",
    "include_num_input_tokens_seen": "non_padding",
    "logging_steps": 1,
    "save_strategy": "epoch",
    "seed": 0,
}
if arguments.method == "lora":
    settings |= {
        "lora_rank": sft_given.LORA["r"],
        "lora_alpha": sft_given.LORA["lora_alpha"],
        "lora_target": ",".join(sft_given.LORA["target_modules"]),
    }
run_exp(settings, callbacks=[Watch()])
gigabytes = sft_given.peak_gigabytes()
model: Any = AutoModelForCausalLM.from_pretrained(given["model"] if arguments.method == "lora" else str(out), dtype=torch.float32)
if arguments.method == "lora":
    from peft import PeftModel

    model = PeftModel.from_pretrained(model, str(out))
sft_given.tell(clock, gigabytes, sft_given.held_out_loss(model, given["held_out"]))
