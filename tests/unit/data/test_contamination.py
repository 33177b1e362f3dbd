"""Evaluation texts are found wherever they stand, in either language; texts that only look alike are not."""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from noria.data.contamination import read_evaluation
from noria.data.readers import MAX_ROW_BYTES
from noria.errors import DataError
from noria.testing.documents import MAKERS

QUESTION = "Which of the two travellers had carried the heavier load across the frozen river that winter?"
FRAGE = "两位旅行者当中，究竟是哪一位在那个冬天扛着更重的行李走过了结冰的河面？"


def evaluation(folder: Path, *rows: object, name: str = "questions.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("asked", [QUESTION, FRAGE])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_passage_inside_a_longer_document_is_found(tmp_path: Path, asked: str, language: str) -> None:
    known = read_evaluation((evaluation(tmp_path, {"question": asked, "answers": {"text": ["the younger"]}}),))
    before, after = MAKERS[language](random.Random(1), 8), MAKERS[language](random.Random(2), 8)
    assert known.find(f"{before}\n\n{after}") is None
    for planted in (asked, asked.upper(), asked.replace(" ", "\n"), asked.replace("，", ", ").rstrip("?？")):
        found = known.find(f"{before} {planted} {after}")
        assert found is not None
        assert found[0] == "questions.jsonl"


def test_a_part_of_a_passage_is_enough_and_a_shorter_one_is_not(tmp_path: Path) -> None:
    known = read_evaluation((evaluation(tmp_path, {"messages": [{"role": "user", "content": QUESTION}]}),))
    words = QUESTION.split()
    assert known.find("He asked: " + " ".join(words[2:15]) + " and went.") is not None
    assert known.find("He asked: " + " ".join(words[2:14]) + " and went.") is None


def test_short_texts_are_found_whole_and_the_shortest_not_at_all(tmp_path: Path) -> None:
    known = read_evaluation((evaluation(tmp_path, {"text": "How many eggs does the brown hen lay", "label": "yes"}),))
    assert (known.num_texts, known.num_short) == (1, 1)
    assert known.find("Well, how many eggs does the brown hen lay? Nobody knows.") is not None
    assert known.find("Yes, how many eggs does the hen lay, yes.") is None


def test_every_planted_passage_of_many_is_found(tmp_path: Path) -> None:
    rng = random.Random(3)
    passages = [MAKERS[language](rng, 1) for language in ("en", "zh") for _ in range(100)]
    known = read_evaluation((evaluation(tmp_path, *({"text": p} for p in passages)),))
    assert all(known.find(MAKERS["en" if p.isascii() else "zh"](rng, 6) + p) for p in passages)
    others = [MAKERS[language](rng, 12) for language in ("en", "zh") for _ in range(100)]
    assert not [text for text in others if known.find(text)]


def test_csv_and_compressed_rows_and_plain_text_are_read(tmp_path: Path) -> None:
    table = tmp_path / "items.csv"
    table.write_text(f'question,answer\n"{QUESTION}",b\n', encoding="utf-8")
    rows = tmp_path / "rows.jsonl.gz"
    rows.write_bytes(gzip.compress(json.dumps({"q": FRAGE}).encode()))
    plain = tmp_path / "plain.txt"
    plain.write_text("The last of the lamps went out long before anybody had come to look for the keys.", encoding="utf-8")
    known = read_evaluation((table, rows, plain))
    assert [known.find(text) and known.find(text)[0] for text in (QUESTION, FRAGE, plain.read_text())] == ["items.csv", "rows.jsonl.gz", "plain.txt"]


def test_a_table_is_decoded_as_other_text_is_and_may_have_long_cells(tmp_path: Path) -> None:
    table = tmp_path / "items.csv"
    table.write_bytes(f'question,more\n"{FRAGE}","{"长" * 140_000}"\n'.encode("gb18030"))
    assert read_evaluation((table,)).find(FRAGE) is not None
    table.with_name("latin.csv").write_bytes("où sont les clés du vieux café de la vallée, s'il vous plaît".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv': It is not UTF-8 .* must be read whole"):
        read_evaluation((table.with_name("latin.csv"),))
    long = tmp_path / "long.csv.gz"
    long.write_bytes(gzip.compress(b"x" * (MAX_ROW_BYTES + 1)))
    with pytest.raises(DataError, match=r"long\.csv\.gz': field larger than"):
        read_evaluation((long,))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("not json\n", "line 1: not JSON"),
        ('{"label": "yes"}\n', "holds no text of 8 words or 12 ideographs"),
    ],
)
def test_a_file_about_which_nothing_can_be_promised_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=reason):
        read_evaluation((path,))
    with pytest.raises(DataError, match="No file"):
        read_evaluation((tmp_path / "none.jsonl",))
    (tmp_path / "a.exe").write_bytes(b"x")
    with pytest.raises(DataError, match="no kind that is read as an evaluation file"):
        read_evaluation((tmp_path / "a.exe",))


@pytest.mark.parametrize("name", ["bad.jsonl.gz", "bad.csv.gz", "bad.jsonl.xz", "bad.json.zst"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda _: b"not packed at all", lambda data: data[:20] + b"x" * 30])
def test_a_damaged_archive_is_one_sentence(tmp_path: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    packer = {".gz": "gzip", ".xz": "lzma", ".zst": "zstandard"}[Path(name).suffix]
    pack = pytest.importorskip(packer).compress
    rows = "".join(json.dumps({"text": f"{number} " * 12}) + "\n" for number in range(99))
    (tmp_path / name).write_bytes(damage(pack(rows.encode())))
    with pytest.raises(DataError, match=rf"{name}'.*must be read whole"):
        read_evaluation((tmp_path / name,))
