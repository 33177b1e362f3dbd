"""transformers' Trainer, or TRL's SFTTrainer, on given token ids: useful tokens a second, memory, and the held-out loss after one pass.

Runs in the rival's own environment. `default`: as it comes. Else what measured best on a processor: no gradient checkpointing, grouped by length,
bfloat16 only where the processor has the instructions, the optimizer fused, one checkpoint at the end as ours has; two examples a step, in one batch
(`pairs`) or, without any padding, one after the other (`singles`).
"""

from typing import Any

import sft_given
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments

arguments = sft_given.parser(trainer=["transformers", "trl"], settings=["default", "pairs", "singles"]).parse_args()
given = sft_given.read(arguments.given)
train = Dataset.from_list([{name: row[name] for name in ("input_ids", "labels")} for row in given["train"]])
clock = sft_given.Clock()


class Watch(TrainerCallback):
    def on_step_end(self, _arguments: Any, state: Any, _control: Any, **_: Any) -> None:
        clock.step(int(state.num_input_tokens_seen))


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
common: dict[str, Any] = {
    "output_dir": str(arguments.scratch),
    "num_train_epochs": 1,
    "learning_rate": sft_given.RATES[arguments.method],
    "report_to": [],
    "include_num_input_tokens_seen": "non_padding",
    "logging_steps": 1,
    "use_cpu": True,
    "seed": 0,
    "disable_tqdm": True,
    **({} if arguments.settings == "default" else best),
}
model = AutoModelForCausalLM.from_pretrained(given["model"], dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(given["model"])
lora = LoraConfig(**sft_given.LORA, task_type="CAUSAL_LM") if arguments.method == "lora" else None
if arguments.trainer == "trl":
    from trl import SFTConfig, SFTTrainer

    trainer: Any = SFTTrainer(
        model=model, args=SFTConfig(**common, max_length=2048), train_dataset=train, processing_class=tokenizer, peft_config=lora
    )
else:
    collator = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100)
    learning = model if lora is None else get_peft_model(model, lora)
    trainer = Trainer(model=learning, args=TrainingArguments(**common), train_dataset=train, data_collator=collator, processing_class=tokenizer)
trainer.add_callback(Watch())
clock.begin()
trainer.train()
gigabytes = sft_given.peak_gigabytes()
sft_given.tell(clock, gigabytes, sft_given.held_out_loss(trainer.model, given["held_out"]))
