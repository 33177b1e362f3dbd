"""Which files of a pile are read: of a built corpus its splits, of one that is half built nothing."""

import gzip
import json
import os
import sys
from pathlib import Path

import pytest

from noria.data import open_corpus
from noria.data.corpus import EVALUATION, passed_over_sentences
from noria.errors import DataError


def written(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(gzip.compress(b'{"text": "x"}\n') if name.endswith(".gz") else b"{}")


def found_below(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in open_corpus([folder]).files]


def test_what_a_corpus_dropped_does_not_come_back_from_the_folder_above(tmp_path: Path) -> None:
    written(tmp_path, "corpora/one/corpus.json", "corpora/one/train-00000.jsonl.gz", "corpora/one/validation-00000.jsonl.gz")
    written(tmp_path, "corpora/one/dropped/read-00000.jsonl.gz", "corpora/two.jsonl", "corpora/one/funnel.svg")
    splits = ["one/train-00000.jsonl.gz", "one/validation-00000.jsonl.gz"]
    assert found_below(tmp_path / "corpora") == [*splits, "two.jsonl"]
    assert found_below(tmp_path) == [f"corpora/{name}" for name in (*splits, "two.jsonl")]
    assert open_corpus([tmp_path]).passed_over == {}


def test_a_corpus_that_is_not_built_to_its_end_is_passed_over_below_a_folder_and_refused_by_name(tmp_path: Path) -> None:
    written(tmp_path, "in/a.jsonl", "in/out/.build/request.json", "in/out/dropped/read-00000.jsonl.gz", "in/out/train-00000.jsonl.gz")
    assert found_below(tmp_path / "in") == ["a.jsonl"]
    assert [path.name for path in open_corpus([tmp_path / "in" / "*"]).files] == ["a.jsonl"]
    with pytest.raises(DataError, match=r"in/out' is not built to its end\. Run its `noria data build` again"):
        open_corpus([tmp_path / "in/out"])


def test_folders_that_only_look_like_corpora_are_read(tmp_path: Path) -> None:
    written(tmp_path, "a/corpus.json", "a/b.jsonl", "c/.build/main.txt", "c/d.jsonl")
    assert found_below(tmp_path) == ["a/b.jsonl", "c/d.jsonl"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8_are_told_in_whole_characters(tmp_path: Path) -> None:
    good, bad, other = (tmp_path / os.fsdecode(name) for name in (b"a-\xff.txt", b"b-\xff.jsonl", b"c.\xff"))
    good.write_text("text", encoding="utf-8")
    bad.write_text(json.dumps({"text": 1}), encoding="utf-8")
    other.write_bytes(b"")
    corpus = open_corpus([tmp_path])
    assert [(d.text, d.id) for d in corpus] == [("text", f"{tmp_path}/a-\ufffd.txt")]
    assert corpus.left_out[0][0] == f"{tmp_path}/b-\ufffd.jsonl"
    assert corpus.passed_over == {".\ufffd": 1}


def test_what_models_are_measured_with_is_passed_over(tmp_path: Path) -> None:
    for name in ("test.jsonl", "test-00000-of-00001.jsonl.gz", "eval.txt", "train.jsonl", "test.md", "testing.txt"):
        (tmp_path / name).write_bytes(b"")
    corpus = open_corpus([tmp_path])
    assert [path.name for path in corpus.files] == ["test.md", "testing.txt", "train.jsonl"]
    assert corpus.passed_over == {EVALUATION: 3}
    [told] = passed_over_sentences(corpus.passed_over)
    assert told.startswith("Passed over: 3 files named `test` or `eval`. What models are measured with is not trained on;")
    with pytest.raises(DataError, match=r"No text in .* \(passed over: 1 of those named `test` or `eval`\)"):
        open_corpus([tmp_path / "test.jsonl"])


def test_kinds_that_are_not_read_are_told_in_one_sentence() -> None:
    assert passed_over_sentences({}) == []
    assert passed_over_sentences({".png": 1}) == ["Passed over, for they are of kinds that are not read: 1 file (1 of .png)."]
    many = {f".{number}": number for number in range(1, 8)} | {".js": 1200, EVALUATION: 1}
    evaluation, others = passed_over_sentences(many)
    assert evaluation.startswith("Passed over: 1 file named `test` or `eval`.")
    assert others.endswith("are not read: 1,228 files (1,200 of .js, 7 of .7, 6 of .6, 5 of .5, 4 of .4 and 3 more kinds).")
