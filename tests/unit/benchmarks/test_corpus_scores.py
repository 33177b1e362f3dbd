"""The benchmark of corpora counts a duplicate only where it was dropped for the document that it is a copy of."""

import gzip
import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def test_only_planted_pairs_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    corpus = importlib.import_module("corpus")
    rows = [("en-copy-0", "en-7"), ("en-8", "en-copy-1"), ("en-9", "en-copy-2"), ("en-1", "en-2")]
    (tmp_path / "dropped").mkdir()
    with gzip.open(tmp_path / "dropped/duplicates-00000.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": name, "detail": f"0.912 like {original}"}) + "\n" for name, original in rows)
    planted = corpus.Planted(copies={"en-copy-0": "en-7", "en-copy-1": "en-8", "en-copy-2": "en-3", "en-copy-3": "en-4"})
    found = corpus.scores(planted, corpus.read_duplicates(tmp_path), set(), set())
    assert found["duplicate_recall"] == 2 / 4
    assert found["duplicate_precision"] == 2 / 4
