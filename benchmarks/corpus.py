"""How clean a corpus becomes, and how fast: planted near-duplicates and evaluation passages, beside datatrove's own example pipeline.

    python benchmarks/corpus.py [--documents 200000] [--rival-documents 20000]

Half of the documents are English and half Chinese, made up of word lists (`noria.testing.documents`). A tenth are careless copies of others (words
changed, a sentence lost, a line added, case, punctuation and white space), and 500 hold an evaluation passage in their midst. Recall of duplicates:
of the planted pairs, those of which one was dropped for the other. Precision: of the documents dropped as duplicates, those dropped for the other of
their planted pair. The rival names no document that stays in the place of another; it is the one that it left of the same cluster.

The rival is several times slower, so both are compared on fewer documents (`--rival-documents`). It runs in an environment of its own, on one process
as ours does, each language by itself with datatrove's tokenizer for it: the filters of its example `fineweb.py` (for English alone; without the
language filter, whose model is downloaded), its MinHash stages as in `minhash_deduplication.py`, and its n-gram decontamination, which reads every
number as 0: on texts that numbers tell apart, as these, it takes good documents too. Writes benchmarks/results/corpus.json.
"""

import argparse
import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _harness import ROOT, print_figures, rival_python, write_results

from noria.testing.documents import MAKERS, copied

RIVAL = ROOT / "benchmarks" / "rivals" / "datatrove_corpus.py"
REQUIREMENTS = ("datatrove==0.10.1", "spacy", "jieba", "orjson", "xxhash<4", "regex", "tokenizers", "setuptools<81")
NUM_FILES = 10
LANGUAGES = ("en", "zh")


@dataclass
class Planted:
    """What was planted where, by document id."""

    copies: dict[str, str] = field(default_factory=dict[str, str])
    """Copy to original."""
    contaminated: set[str] = field(default_factory=set[str])

    def of(self, language: str) -> "Planted":
        copies = {copy: original for copy, original in self.copies.items() if copy.startswith(language)}
        return Planted(copies, {name for name in self.contaminated if name.startswith(language)})


def make(folder: Path, num_documents: int, num_passages: int, seed: int) -> Planted:
    """Write the documents, `LANGUAGE/NN.jsonl`, and `questions-LANGUAGE.jsonl`."""
    rng = random.Random(seed)
    planted = Planted()
    for language in LANGUAGES:
        num_copies, num_here = num_documents // 20, num_documents // 2
        texts = {f"{language}-{n}": MAKERS[language](rng, rng.randint(12, 30)) for n in range(num_here - num_copies)}
        names = list(texts)
        originals = rng.sample(names, num_copies)
        for number, original in enumerate(originals):
            name = f"{language}-copy-{number}"
            texts[name] = copied(texts[original], rng)
            planted.copies[name] = original
        passages = [MAKERS[language](rng, 2).replace("\n", " ") for _ in range(num_passages // 2)]
        free = sorted(set(names) - set(originals))
        for name, passage in zip(rng.sample(free, len(passages)), passages, strict=True):
            paragraphs = texts[name].split("\n\n")
            texts[name] = "\n\n".join([*paragraphs[:2], passage, *paragraphs[2:]])
            planted.contaminated.add(name)
        rows = [json.dumps({"text": text, "id": name}, ensure_ascii=False) + "\n" for name, text in texts.items()]
        rng.shuffle(rows)
        (folder / language).mkdir(parents=True)
        for number in range(NUM_FILES):
            (folder / language / f"{number:02d}.jsonl").write_text("".join(rows[number::NUM_FILES]), encoding="utf-8")
        questions = "".join(json.dumps({"question": passage}, ensure_ascii=False) + "\n" for passage in passages)
        (folder / f"questions-{language}.jsonl").write_text(questions, encoding="utf-8")
    return planted


def scores(planted: Planted, duplicates: dict[str, str], contaminated: set[str], dropped: set[str]) -> dict[str, float]:
    """Recall and precision of what was dropped as duplicates and as contaminated.

    Args:
        duplicates: what was dropped as a duplicate, each with the document that stays in its place.
        dropped: everything that was dropped for another reason: a pair that lost one so was not to be found.
    """
    pairs = {copy: original for copy, original in planted.copies.items() if not {copy, original} & (dropped | contaminated)}
    found = {copy for copy, original in planted.copies.items() if duplicates.get(copy) == original or duplicates.get(original) == copy}
    wanted = planted.contaminated - dropped
    return {
        "duplicate_recall": len(found & set(pairs)) / max(len(pairs), 1),
        "duplicate_precision": len(found) / max(len(duplicates), 1),
        "contamination_recall": len(wanted & contaminated) / max(len(wanted), 1),
        "contamination_precision": len(contaminated & planted.contaminated) / max(len(contaminated), 1),
    }


def read_duplicates(folder: Path) -> dict[str, str]:
    """The documents dropped as duplicates, each with the one that its row names (`0.912 like ID`)."""
    rows = (json.loads(line) for path in folder.glob("dropped/duplicates-*.gz") for line in gzip.decompress(path.read_bytes()).splitlines())
    return {row["id"]: row["detail"].partition(" like ")[2] for row in rows}


def of_language(language: str, duplicates: dict[str, str], *others: set[str]) -> tuple[Any, ...]:
    """What `scores` takes, of one language."""
    here = {name: original for name, original in duplicates.items() if name.startswith(language)}
    return here, *({name for name in names if name.startswith(language)} for names in others)


def read_ids(folder: Path, pattern: str) -> set[str]:
    return {json.loads(line)["id"] for path in folder.glob(pattern) for line in gzip.open(path, "rt", encoding="utf-8")}


def run_ours(folder: Path, out: Path, planted: Planted, num_documents: int) -> dict[str, float]:
    """The command as a user gives it, on one process."""
    command = [sys.executable, "-m", "noria.cli.main", "data", "build", *(str(folder / language) for language in LANGUAGES), "--out", str(out)]
    for language in LANGUAGES:
        command += ["--against", str(folder / f"questions-{language}.jsonl")]
    started = time.perf_counter()
    subprocess.run([*command, "--set", "workers=1", "--json"], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    figures: dict[str, float] = {"documents_per_second": num_documents / seconds}
    duplicates, contaminated = read_duplicates(out), read_ids(out, "dropped/contamination-*.gz")
    others = read_ids(out, "dropped/*.gz") - set(duplicates) - contaminated
    figures["good_documents_dropped"] = len(others) / num_documents
    figures |= scores(planted, duplicates, contaminated, others)
    for language in LANGUAGES:
        found = scores(planted.of(language), *of_language(language, duplicates, contaminated, others))
        figures |= {f"{language}_{name}": value for name, value in found.items()}
    return figures


def run_rival(folder: Path, work: Path, planted: Planted, num_documents: int) -> dict[str, float]:
    """datatrove's pipeline, one language after the other."""
    python = rival_python("datatrove", *REQUIREMENTS)
    total, reported = 0.0, dict[str, Any]()
    for language in LANGUAGES:
        arguments = ["--input", folder / language, "--questions", folder / f"questions-{language}.jsonl", "--work", work / language]
        result = subprocess.run([python, RIVAL, *map(str, arguments), "--language", language], check=True, stdout=subprocess.PIPE, text=True)
        reported[language] = json.loads(result.stdout.splitlines()[-1])
        total += reported[language]["seconds"]
    figures: dict[str, float] = {"documents_per_second": num_documents / total}
    duplicates = {name: original for r in reported.values() for name, original in r["duplicates"].items()}
    contaminated, others = ({name for r in reported.values() for name in r[kind]} for kind in ("contaminated", "others"))
    figures["good_documents_dropped"] = len(others) / num_documents
    figures |= scores(planted, duplicates, contaminated, others)
    for language in reported:
        found = scores(planted.of(language), *of_language(language, duplicates, contaminated, others))
        figures |= {f"{language}_{name}": value for name, value in found.items()}
    return figures


def compare(folder: Path, num_documents: int, seed: int) -> dict[str, float]:
    """Both on the same documents."""
    planted = make(folder / "both", num_documents, num_documents // 400 * 2, seed)
    ours = run_ours(folder / "both", folder / "ours", planted, num_documents)
    theirs = run_rival(folder / "both", folder / "rival", planted, num_documents)
    ratio = ours["documents_per_second"] / theirs["documents_per_second"]
    figures: dict[str, float] = {"compared_documents": num_documents, "ratio_speed_to_datatrove": ratio}
    for name, found in (("compared_noria", ours), ("compared_datatrove", theirs)):
        figures |= {f"{name}_{key}": value for key, value in found.items() if not key.startswith(("en_contamination", "zh_contamination"))}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--passages", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rival-documents", type=int, default=20_000, help="0: no rival")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planted = make(folder / "in", arguments.documents, arguments.passages, arguments.seed)
        figures |= {"documents": arguments.documents, "passages": len(planted.contaminated), "planted_copies": len(planted.copies)}
        figures["megabytes"] = sum(path.stat().st_size for path in (folder / "in").rglob("*.jsonl")) / 1e6
        ours = run_ours(folder / "in", folder / "out", planted, arguments.documents)
        figures |= {f"noria_{key}": value for key, value in ours.items()}
        if arguments.rival_documents:
            figures |= compare(folder, min(arguments.rival_documents, arguments.documents), arguments.seed + 1)
    print_figures(figures)
    write_results("corpus", figures)


if __name__ == "__main__":
    main()
