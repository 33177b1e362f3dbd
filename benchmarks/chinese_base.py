"""A small Chinese model trained here beside the default English one: bits a byte on held-out Chinese text, and samples.

    python benchmarks/chinese_base.py --corpus FILE [--corpus FILE ...] [--minutes 20]

Every FILE is JSONL with `text`, or plain text. `noria data build` repairs the documents, drops all but one of those that are nearly equal and holds
out a twentieth, by their own text; its rules for prose are left out, since poems break them. The default model (`smollm2-135m`) scores the beginnings
of the same held-out documents, by which also the best checkpoint of the small one was chosen. Writes benchmarks/results/chinese_base.json.
"""

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from _harness import noria, print_figures, write_results

from noria.data import open_corpus, split_of
from noria.model import load_checkpoint, load_for_training, load_tokenizer, resolve

SETTINGS = ("--set", "validation_share=0.05", "--set", "rules=[]", "--set", "languages=none", "--set", "redact=[]")
MAX_CHARACTERS = 150
BEGINNINGS = ("春", "明月", "山")


@torch.no_grad()
def bits_per_byte(model: Any, tokenizer: Any, texts: list[str]) -> float:
    """Bits that the model needs for a byte of the beginning of each text, which is the same for every tokenizer."""
    bits = size = 0.0
    for text in texts:
        beginning = text[:MAX_CHARACTERS]
        ids = [tokenizer.bos_id, *tokenizer.encode(beginning)]
        logprobs = model(input_ids=torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)
        bits -= float(logprobs.gather(1, torch.tensor(ids[1:])[:, None]).sum()) / math.log(2)
        size += len(beginning.encode())
    return bits / size


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, action="append", required=True)
    parser.add_argument("--minutes", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        corpus, out = Path(name) / "corpus", Path(name) / "base"
        cleaned = noria("data", "build", *(str(path.resolve()) for path in options.corpus), "--out", str(corpus), *SETTINGS)
        found = noria("pretrain", "--corpus", str(corpus), "--out", str(out), "--minutes", str(options.minutes))
        held_out = [d.text for d in open_corpus([corpus]) if split_of(d, 0) == "validation"]
        tokenizer = load_tokenizer(out)
        model: Any = load_checkpoint(out).eval()
        theirs, their_tokenizer = load_for_training(resolve("smollm2-135m"))
        figures: dict[str, float | str] = {n: found[n] for n in ("num_parameters", "tokens", "epochs", "train_seconds", "validation_loss")}
        figures |= {"documents": cleaned["contents"]["total"]["documents"], "documents_held_out": len(held_out)}
        figures["bits_per_byte"] = bits_per_byte(model, tokenizer, held_out)
        figures["bits_per_byte_default_model"] = bits_per_byte(theirs, their_tokenizer, held_out)
        figures["ratio_bits"] = float(figures["bits_per_byte"]) / float(figures["bits_per_byte_default_model"])
        torch.manual_seed(0)
        for number, beginning in enumerate(BEGINNINGS):
            ids = torch.tensor([[tokenizer.bos_id, *tokenizer.encode(beginning)]])
            # Another document begins where this one ends.
            ends = {"pad_token_id": tokenizer.pad_id, "eos_token_id": tokenizer.bos_id}
            sample = model.generate(ids, do_sample=True, temperature=0.8, top_p=0.95, max_new_tokens=48, **ends)
            figures[f"sample_{number}"] = tokenizer.decode(sample[0].tolist())
    print_figures(figures)
    write_results("chinese_base", figures)


if __name__ == "__main__":
    main()
