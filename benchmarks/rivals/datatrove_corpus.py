"""datatrove's own steps to the ends of `benchmarks/corpus.py`: filters, MinHash, decontamination. Runs in datatrove's own environment.

Prints one JSON line: the seconds of all stages, and the ids of what was dropped as a duplicate (each with that of the document left of its cluster),
as contaminated, and by a filter.
"""

import argparse
import gzip
import json
import sys
import time
from pathlib import Path

import numpy as np
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.decont import NGramsDecontFilter
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.text import ngrams, simplify_text
from datatrove.utils.word_tokenizers import load_word_tokenizer
from loguru import logger

parser = argparse.ArgumentParser()
parser.add_argument("--input", type=Path, required=True)
parser.add_argument("--questions", type=Path, required=True)
parser.add_argument("--work", type=Path, required=True)
parser.add_argument("--language", choices=["en", "zh"], required=True)
arguments = parser.parse_args()
work, tasks = arguments.work, len(list(arguments.input.glob("*.jsonl")))
language = {"en": "eng", "zh": "cmn"}[arguments.language]
config = MinhashConfig(hash_config=HashConfig(precision=64), num_buckets=14, hashes_per_bucket=8, n_grams=5)


def dropped(kind: str) -> JsonlWriter:
    return JsonlWriter(f"{work}/dropped/{kind}")


def run(name: str, pipeline: list, num_tasks: int) -> None:
    logger.disable("datatrove")
    LocalPipelineExecutor(pipeline=pipeline, tasks=num_tasks, workers=1, logging_dir=f"{work}/logs/{name}").run()


def filters() -> list:
    """As in the example for FineWeb. They are for English: all Chinese documents fail them."""
    return [
        GopherRepetitionFilter(exclusion_writer=dropped("others/repetition")),
        GopherQualityFilter(exclusion_writer=dropped("others/quality")),
        C4QualityFilter(filter_no_terminal_punct=False, exclusion_writer=dropped("others/c4")),
        FineWebQualityFilter(exclusion_writer=dropped("others/fineweb")),
    ]


def write_index() -> None:
    """The n-grams of the questions as the filter reads them; datatrove's own indexer needs lighteval even for rows of one's own."""
    taking = NGramsDecontFilter(f"{work}/index", language=language)
    hashes = {
        taking.hash_func(" ".join(gram))
        for line in arguments.questions.read_text(encoding="utf-8").splitlines()
        for gram in ngrams(taking.tokenizer.word_tokenize(simplify_text(json.loads(line)["question"])), taking.config.n_grams)
    }
    (work / "index").mkdir(parents=True, exist_ok=True)
    np.array(list(hashes), "<u8").tofile(work / "index" / "questions.index.hashes")
    load_word_tokenizer.cache_clear()  # once used, the tokenizer for Chinese cannot be copied to the tasks


started = time.perf_counter()
write_index()
run(
    "filters",
    [
        JsonlReader(str(arguments.input)),
        *(filters() if arguments.language == "en" else []),
        NGramsDecontFilter(f"{work}/index", exclusion_writer=dropped("contaminated"), language=language),
        JsonlWriter(f"{work}/filtered"),
    ],
    tasks,
)
run("signatures", [JsonlReader(f"{work}/filtered"), MinhashDedupSignature(f"{work}/signatures", config, language=language)], tasks)
run("buckets", [MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)], config.num_buckets)
run("clusters", [MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config, save_cluster_id=True)], 1)
run(
    "output",
    [
        JsonlReader(f"{work}/filtered"),
        MinhashDedupFilter(f"{work}/remove", exclusion_writer=dropped("duplicates"), load_cluster_ids=True),
        JsonlWriter(f"{work}/output"),
    ],
    tasks,
)
seconds = time.perf_counter() - started


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for path in folder.rglob("*.gz") for line in gzip.decompress(path.read_bytes()).splitlines()]


left = {row["metadata"].get("minhash_cluster_id"): row["id"] for row in rows(work / "output")}
found = {kind: [row["id"] for row in rows(work / "dropped" / kind)] for kind in ("contaminated", "others")}
found["duplicates"] = {row["id"]: left.get(row["metadata"]["minhash_cluster_id"], "") for row in rows(work / "dropped" / "duplicates")}
sys.stdout.write(json.dumps({"seconds": seconds, **found}) + "\n")
