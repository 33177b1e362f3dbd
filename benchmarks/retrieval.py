"""How well the knowledge search finds the right paragraph: nDCG@10 and time on collections in the BEIR layout.

    python benchmarks/retrieval.py --data DIR [--data DIR ...]

Each DIR holds corpus.jsonl, queries.jsonl and qrels.tsv. Every paragraph becomes a Markdown file, as a user's documents are, so that parsing and
chunking are part of what is measured; a document counts where its best chunk stands. Writes benchmarks/results/retrieval.json.
"""

import argparse
import json
import math
import re
import tempfile
import time
from contextlib import closing
from pathlib import Path

from _harness import print_figures, write_results

from noria.knowledge import KnowledgeBase

DEPTH = 10


def read_qrels(path: Path) -> dict[str, set[str]]:
    """Query to the documents that answer it."""
    relevant: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, document, score = line.split("\t")
        if int(score) > 0:
            relevant.setdefault(query, set()).add(document)
    return relevant


def write_documents(corpus: Path, folder: Path) -> dict[str, str]:
    """One Markdown file a paragraph; file name to id."""
    names: dict[str, str] = {}
    for number, line in enumerate(corpus.read_text(encoding="utf-8").splitlines()):
        record = json.loads(line)
        name = f"{number:06d}.md"
        title = record.get("title", "").replace("_", " ")
        (folder / name).write_text(f"# {title}\n\n{record['text']}" if title else record["text"], encoding="utf-8")
        names[f"documents/{name}"] = record["_id"]
    return names


def ndcg(found: list[str], relevant: set[str]) -> float:
    gain = sum(1 / math.log2(rank + 2) for rank, document in enumerate(found[:DEPTH]) if document in relevant)
    return gain / sum(1 / math.log2(rank + 2) for rank in range(min(DEPTH, len(relevant))))


def measure(data: Path, work: Path) -> dict[str, float]:
    folder = work / "documents"
    folder.mkdir()
    names = write_documents(data / "corpus.jsonl", folder)
    queries = {r["_id"]: r["text"] for r in map(json.loads, (data / "queries.jsonl").read_text(encoding="utf-8").splitlines())}
    relevant = read_qrels(data / "qrels.tsv")
    with closing(KnowledgeBase(work / "index.db", root=work)) as knowledge:
        started = time.perf_counter()
        knowledge.add([folder])
        indexed = time.perf_counter()
        scores = []
        for query in relevant:
            found = [names[passage.document] for passage in knowledge.search(queries[query], 2 * DEPTH)]
            scores.append(ndcg(list(dict.fromkeys(found)), relevant[query]))
        searched = time.perf_counter()
        num_chunks = knowledge.check().num_chunks
    return {
        "documents": len(names),
        "chunks": num_chunks,
        "queries": len(scores),
        "ndcg_10": round(sum(scores) / len(scores), 4),
        "documents_per_second": round(len(names) / (indexed - started), 1),
        "milliseconds_per_query": round(1000 * (searched - indexed) / len(scores), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", required=True, help="a collection in the BEIR layout; may be given again")
    figures: dict[str, float] = {}
    for data in parser.parse_args().data:
        with tempfile.TemporaryDirectory() as work:
            measured = measure(data, Path(work))
        label = re.sub(r"\W", "_", data.resolve().name)
        figures |= {f"{label}_{name}": value for name, value in measured.items()}
    print_figures(figures)
    write_results("retrieval", figures)


if __name__ == "__main__":
    main()
