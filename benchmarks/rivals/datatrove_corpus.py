"""datatrove's own steps to the ends of `benchmarks/corpus.py`: filters, MinHash, decontamination. Runs in datatrove's own environment.

Prints one JSON line: the seconds of all stages, and the ids of what was dropped as a duplicate (each with that of the document left of its cluster),
as contaminated, and by a filter.
"""

import argparse
import gzip
import json
import struct
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
    [JsonlReader(f"{work}/filtered"), MinhashDedupFilter(f"{work}/remove", exclusion_writer=dropped("duplicates")), JsonlWriter(f"{work}/output")],
    tasks,
)
seconds = time.perf_counter() - started


def ids_of(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in gzip.decompress(path.read_bytes()).splitlines()]


def ids(kind: str) -> list[str]:
    return [name for path in (work / "dropped" / kind).rglob("*.gz") for name in ids_of(path)]


def clusters() -> dict[str, int]:
    """The cluster of each document that is in one; a task's documents are numbered as it reads them, one file each."""
    found = {}
    for rank, path in enumerate(sorted((work / "filtered").rglob("*.gz"))):
        numbers, names = work / "remove" / f"{rank:06d}.clusters", ids_of(path)
        if numbers.is_file():
            found |= {names[number]: cluster for number, cluster in struct.iter_unpack("<2I", numbers.read_bytes())}
    return found


found = {kind: ids(kind) for kind in ("contaminated", "others")}
cluster_of, gone = clusters(), set(ids("duplicates"))
left = {cluster: name for name, cluster in cluster_of.items() if name not in gone}
found["duplicates"] = {name: left[cluster_of[name]] for name in gone}
sys.stdout.write(json.dumps({"seconds": seconds, **found}) + "\n")
