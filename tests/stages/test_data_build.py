"""From a pile of text in two languages to a corpus folder: what is planted is found, what is broken is set aside, a kill changes nothing."""

import gzip
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datatrove")

from noria.cli.main import run as main
from noria.data import open_corpus
from noria.data.build import Manifest, begin, build, finish, read_manifest
from noria.data.build_config import BuildConfig
from noria.data.local import LocalExecutor
from noria.data.recipe import Stage
from noria.data.stats import stats
from noria.data.steps import Documents, Step
from noria.errors import ConfigError, DataError, StoreError
from noria.testing import corpus_files as files
from noria.testing.documents import MAKERS, chinese, copied, english
from noria.testing.killing import Nursery

Rows = list[dict[str, Any]]


def write_rows(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(folder: Path, pattern: str) -> Rows:
    return [json.loads(line) for path in sorted(folder.glob(pattern)) for line in gzip.open(path, "rt", encoding="utf-8")]


def run(paths: list[Path], out: Path, against: list[Path] | None = None, **settings: Any) -> Manifest:
    return build(BuildConfig(**{"validation_share": 0.2, **settings}), paths, out, lambda *_: None, against or [])


def pile(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files with good documents in both languages and one planted case of everything that is dropped; evaluation files."""
    rng = random.Random(7)
    good = [{"text": MAKERS[language](rng, 14), "id": f"{language}{n}"} for language in ("en", "zh") for n in range(12)]
    question, frage = english(rng, 1), chinese(rng, 1)
    planted = [
        {"text": good[0]["text"], "id": "equal-en"},
        {"text": copied(good[1]["text"], rng), "id": "near-en"},
        {"text": copied(good[13]["text"], rng), "id": "near-zh"},
        {"text": f"{english(rng, 9)} {question}", "id": "contaminated-en"},
        {"text": f"{chinese(rng, 9)}{frage}", "id": "contaminated-zh"},
        {"text": "Das Rad wird von dem Bach gedreht, den es hebt. " * 3, "id": "german"},
        {"text": english(rng, 2), "id": "short-en"},
        {"text": "这一篇太短了，不能算作文章。", "id": "short-zh"},
        {"text": "The same line again and again and again.\n" * 30, "id": "repeated-en"},
        {"text": "同样的一行，一遍又一遍地出现在这里。\n" * 30, "id": "repeated-zh"},
        {
            "text": f"{english(rng, 9)} Write to ada@example.org or call +1 (202) 555-0143.",
            "id": "personal-en",
            "license": "CC0",
            "source": "letters",
        },
        {"text": f"{chinese(rng, 9)}请致电13812345678，身份证号11010519491231002X。", "id": "personal-zh", "url": "https://zh.example"},
        {"text": 7, "id": "no text"},
    ]
    rows = write_rows(folder / "in/rows.jsonl", good + planted)
    plain = folder / "in/sub/plain.txt"
    plain.parent.mkdir(parents=True)
    plain.write_text(english(rng, 20), encoding="gb18030")
    (folder / "in/broken.txt.gz").write_bytes(b"no gzip")
    (folder / "in/cut.jsonl.gz").write_bytes(gzip.compress((json.dumps({"text": chinese(rng, 40)}) + "\n").encode() * 3)[:-30])
    evaluation = write_rows(folder / "questions.jsonl", [{"question": question, "answer": "x"}, {"question": frage}])
    return [rows.parent], [evaluation]


def test_what_is_planted_is_found_and_the_rest_is_kept(tmp_path: Path) -> None:
    paths, against = pile(tmp_path)
    made = run(paths, tmp_path / "out", against)
    kept = read_rows(tmp_path / "out", "*.jsonl.gz")
    assert {row["id"] for row in kept} >= {f"{language}{n}" for language in ("en", "zh") for n in range(12)} | {"personal-en", "personal-zh"}
    assert len(kept) == 24 + 2 + 1 + len([row for row in kept if "cut.jsonl" in row["source"]])
    dropped = {row["id"]: (row["step"], row["reason"]) for row in read_rows(tmp_path / "out", "dropped/*.jsonl.gz")}
    assert dropped["equal-en"] == ("duplicates", "equal")
    assert dropped["near-en"] == dropped["near-zh"] == ("duplicates", "near")
    assert dropped["contaminated-en"] == dropped["contaminated-zh"] == ("contamination", "questions.jsonl")
    assert dropped["german"] == ("language", "de")
    assert dropped["short-en"] == ("c4", "too_few_sentences")
    assert dropped["short-zh"] == ("chinese", "too_short")
    assert dropped["repeated-en"][0] == "repetition"
    assert dropped["repeated-zh"][0] == "character_repetition"
    assert dropped["line 37"] == ("read", "unread")
    assert dropped[str(tmp_path / "in/broken.txt.gz")] == ("read", "unread")
    assert dropped[str(tmp_path / "in/cut.jsonl.gz")] == ("read", "unread")
    assert made.funnel.came_in.documents == len(kept) + len(dropped)


def test_personal_data_is_replaced_and_what_is_known_of_a_document_stays(tmp_path: Path) -> None:
    paths, against = pile(tmp_path)
    made = run(paths, tmp_path / "out", against)
    by_id = {row["id"]: row for row in read_rows(tmp_path / "out", "*.jsonl.gz")}
    assert by_id["personal-en"]["text"].endswith("Write to <EMAIL_1> or call <PHONE_1>.")
    assert by_id["personal-zh"]["text"].endswith("请致电<PHONE_1>，身份证号<ID_NUMBER_1>。")
    assert made.funnel.redacted == {"EMAIL": 1, "ID_NUMBER": 1, "PHONE": 2}
    del by_id["personal-en"]["text"], by_id["personal-zh"]["text"]
    assert by_id["personal-en"] == {"id": "personal-en", "source": "letters", "license": "CC0", "language": "en"}
    assert by_id["personal-zh"] == {"id": "personal-zh", "source": str(paths[0] / "rows.jsonl"), "url": "https://zh.example", "language": "zh"}


def test_the_manifest_accounts_for_every_document_and_byte(tmp_path: Path) -> None:
    paths, against = pile(tmp_path)
    made = run(paths, tmp_path / "out", against)
    kept = read_rows(tmp_path / "out", "*.jsonl.gz")
    assert made.funnel.went_out.documents == made.contents.total.documents == len(kept)
    assert made.funnel.went_out.bytes == sum(len(row["text"].encode()) for row in kept)
    assert made.funnel.came_in.documents == made.funnel.went_out.documents + sum(loss.documents for loss in made.funnel.dropped)
    assert {name: a.documents for name, a in made.contents.languages.items()} == dict(Counter(row["language"] for row in kept))
    assert made.contents.sources["letters"].documents == 1
    assert made.contents.licenses["CC0"].documents == 1
    assert set(made.contents.splits) == {"train", "validation"}
    assert made.evaluation["texts"] == 2
    assert "datatrove" in made.versions
    found = stats([tmp_path / "out"], lambda *_: None)
    assert found.funnel == made.funnel
    picture = (tmp_path / "out/funnel.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg ")
    assert "contamination" in picture
    assert not (tmp_path / "out/.build").exists()


def test_pretraining_reads_the_corpus_and_nothing_that_was_dropped(tmp_path: Path) -> None:
    paths, against = pile(tmp_path)
    run(paths, tmp_path / "out", against)
    corpus = open_corpus([tmp_path / "out"])
    assert {path.name for path in corpus.files} == {path.name for path in (tmp_path / "out").glob("*.jsonl.gz")}
    assert sorted(d.id for d in corpus) == sorted(row["id"] for row in read_rows(tmp_path / "out", "*.jsonl.gz"))


def many_files(folder: Path, num_files: int = 4) -> Path:
    rng = random.Random(3)
    texts = [MAKERS[language](rng, 12) for language in ("en", "zh") for _ in range(8 * num_files)]
    texts += [copied(text, rng) for text in texts[::5]]
    rng.shuffle(texts)
    for n in range(num_files):
        write_rows(folder / f"part{n}.jsonl", [{"text": text, "id": f"{n}-{i}"} for i, text in enumerate(texts[n::num_files])])
    return folder


def outcome(folder: Path) -> dict[str, bytes | Any]:
    """Everything a corpus is, byte for byte; of the manifest what does not name folders and machines."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and ".build" not in p.parts]  # a kill may leave that, done with or not
    found: dict[str, Any] = {str(p.relative_to(folder)): p.read_bytes() for p in files}
    manifest = json.loads(found.pop("corpus.json"))
    return found | {"funnel": manifest["funnel"], "contents": manifest["contents"]}


def test_the_result_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    source = many_files(tmp_path / "in")
    run([source], tmp_path / "one", tasks=4)
    run([source], tmp_path / "two", tasks=4, workers=2)
    assert outcome(tmp_path / "two") == outcome(tmp_path / "one")


def test_killed_anywhere_it_ends_the_same(tmp_path: Path) -> None:
    source, out = many_files(tmp_path / "in"), tmp_path / "cut"
    run([source], tmp_path / "whole", tasks=4)
    expected = outcome(tmp_path / "whole")
    assert {name.split("-")[0] for name in expected} >= {"train", "validation", "dropped/duplicates"}
    with Nursery(Path(__file__).with_name("corpus_workload.py")) as nursery:
        nursery.live(str(source), str(tmp_path / "counted"), 0)
        num_changes = int((tmp_path / "counted.changes").read_text())
        rng = random.Random(num_changes)
        for _ in range(12):
            nursery.live(str(source), str(out), rng.randint(1, num_changes // 4))
            if (out / "corpus.json").exists():
                assert outcome(out) == expected
                shutil.rmtree(out)
        for after in (0.05, 0.15, 0.3):
            nursery.live(str(source), str(out), 0, kill_after=after)
        nursery.live(str(source), str(out), 0)
    assert outcome(out) == expected


def test_a_finished_folder_is_returned_and_another_request_is_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"text": english(random.Random(n))} for n in range(5)])
    made = run([source], tmp_path / "out")
    changed = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert run([source], tmp_path / "out") == made == read_manifest(tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == changed
    with pytest.raises(ConfigError, match=r"`similarity` was 0\.75 and is 0\.9.*give another `--out`"):
        run([source], tmp_path / "out", similarity=0.9)
    config = BuildConfig()
    begin(config, [source], tmp_path / "begun")
    with pytest.raises(ConfigError, match="`paths` was"):
        build(config, [tmp_path], tmp_path / "begun", lambda *_: None)
    write_rows(source, [{"text": english(random.Random(9))}])
    with pytest.raises(ConfigError, match="begun with other files, or they have changed"):
        build(config, [source], tmp_path / "begun", lambda *_: None)
    with pytest.raises(ConfigError, match="made from other files, or they have changed"):
        run([source], tmp_path / "out")
    source.unlink()
    assert run([source], tmp_path / "out") == made, "what is gone has not changed"


def test_a_folder_with_something_else_in_it_is_refused_and_nothing_in_it_is_lost(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"text": english(random.Random(1))}])
    mine = tmp_path / "out/notes-00000.jsonl.gz"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="is not empty and was not begun by `noria data build`"):
        run([source], tmp_path / "out")
    mine.rename(tmp_path / "kept")
    begin(BuildConfig(validation_share=0.2), [source], tmp_path / "out")
    (tmp_path / "kept").rename(mine)
    run([source], tmp_path / "out")
    assert mine.read_bytes() == b"mine"


class EndedFromOutside(Step):
    """As a task that takes more memory than there is."""

    name = "ended"

    def run(self, data: Documents = None, rank: int = 0, world_size: int = 1) -> Documents:
        del data, world_size
        if rank == 1:
            os._exit(9)
        return None


class Refused(Step):
    """One task fails at once; the others would take an hour."""

    name = "refused"

    def run(self, data: Documents = None, rank: int = 0, world_size: int = 1) -> Documents:
        del data, world_size
        if rank == 1:
            raise DataError("No.")
        time.sleep(3600)
        return None


@pytest.mark.parametrize(
    ("step", "error", "told"), [(EndedFromOutside(), StoreError, "want of memory. Set fewer `workers`"), (Refused(), DataError, "No")]
)
def test_a_task_that_is_ended_or_fails_ends_the_run(tmp_path: Path, step: Step, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        LocalExecutor(Stage(name="cleaning", steps=[step], num_tasks=4), tmp_path / "logs", 2).run()


def test_the_recipe_is_the_same_when_sent_to_another_process(tmp_path: Path) -> None:
    """As datatrove's executors for Slurm and Ray send it: pickled by dill, its tasks run one by one, in any order."""
    import dill
    from datatrove.executor.local import LocalPipelineExecutor

    from noria.data.recipe import executors

    source = many_files(tmp_path / "in", 3)
    run([source], tmp_path / "whole", tasks=3)
    recipe = begin(BuildConfig(validation_share=0.2, tasks=3), [source], tmp_path / "sent")
    for executor in executors(recipe, LocalPipelineExecutor):
        for rank in reversed(range(executor.world_size)):
            dill.loads(dill.dumps(executor, fmode=dill.CONTENTS_FMODE))._run_for_rank(rank)
    finish(recipe)
    assert outcome(tmp_path / "sent") == outcome(tmp_path / "whole")


def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No file or folder"):
        run([tmp_path / "nowhere"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/a.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"No text in .* \(passed over: 1 of \.png\)"):
        run([tmp_path / "empty"], tmp_path / "out")
    (tmp_path / "empty/a.txt").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"No document is left of 1: most were dropped by `read` \(unread\)"):
        run([tmp_path / "empty"], tmp_path / "none")
    assert "no text" in read_rows(tmp_path / "none", "dropped/*.gz")[0]["detail"]
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="No document was read"):
        run([tmp_path / "empty.jsonl"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    source = write_rows(tmp_path / "a.jsonl", [{"text": english(random.Random(1))}])
    with pytest.raises(DataError, match="not JSON"):
        (tmp_path / "bad.jsonl").write_text("x", encoding="utf-8")
        run([source], tmp_path / "out", [tmp_path / "bad.jsonl"])
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"text": "short", "id": str(n)} for n in range(300)] + [{"text": english(random.Random(1))}])
    out = tmp_path / "out"
    begin(BuildConfig(), [source], out)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    (out / ".build/kept").mkdir()
    (out / ".build/kept/00000.bands").symlink_to(full)
    with pytest.raises(StoreError, match="is full"):
        build(BuildConfig(), [source], out, lambda *_: None)
    (out / ".build/kept/00000.bands").unlink()
    assert build(BuildConfig(), [source], out, lambda *_: None).contents.total.documents == 1


@pytest.mark.parametrize("rule", ["repetition", "gopher", "c4", "fineweb", "chinese"])
def test_each_rule_can_be_left_out(tmp_path: Path, rule: str) -> None:
    english_text = (
        "This note is short, but it says all that there is to say of the matter. Nobody has to read further than the third sentence to know "
        "where the keys of the old mill are kept. They hang behind the door of the kitchen."
    )
    texts = [english_text, "很短，但是完整。"]
    source = write_rows(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    every = ("repetition", "gopher", "c4", "fineweb", "chinese")
    assert run([source], tmp_path / "none", rules=()).contents.total.documents == 2
    with_one = BuildConfig(rules=(rule,), min_words=50)
    assert set(BuildConfig().rules) == set(every)
    left = {"repetition": 2, "gopher": 1, "c4": 1, "fineweb": 2, "chinese": 1}[rule]
    assert build(with_one, [source], tmp_path / "one", lambda *_: None).contents.total.documents == left


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8_and_halves_of_characters_end_no_build(tmp_path: Path) -> None:
    pile = tmp_path / os.fsdecode(b"pile-\xff")
    row = {"text": english(random.Random(1)), "source": "half \ud83d", "license": "CC \ud83d", "url": "https://\ud83d"}
    pile.mkdir()
    (pile / os.fsdecode(b"\xff.jsonl")).write_text(json.dumps(row), encoding="utf-8")
    evaluation = write_rows(tmp_path / os.fsdecode(b"\xff.jsonl"), [{"text": row["text"]}, {"text": chinese(random.Random(2))}])
    (pile / os.fsdecode(b"b.\xff")).write_bytes(b"")
    made = run([pile], tmp_path / "out", rules=[])
    assert dict(made.contents.sources) == {"half \ufffd": made.contents.total}
    assert run([pile], tmp_path / "out", rules=[]) == made
    with pytest.raises(DataError, match="No document is left of 1: most were dropped by `contamination` \\(\ufffd\\.jsonl\\)"):
        run([pile], tmp_path / "none", [evaluation], rules=[])


def test_sources_can_stay_together(tmp_path: Path) -> None:
    rng = random.Random(4)
    source = write_rows(tmp_path / "a.jsonl", [{"text": english(rng), "source": f"book {n % 10}"} for n in range(40)])
    run([source], tmp_path / "out", split_by="source", validation_share=0.3)
    sides = [{row["source"] for row in read_rows(tmp_path / "out", f"{split}-*.gz")} for split in ("train", "validation")]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]


def test_files_of_many_kinds_in_one_pile(tmp_path: Path) -> None:
    pytest.importorskip("markitdown")
    folder = tmp_path / "in"
    folder.mkdir()
    rng = random.Random(8)
    files.parquet(folder / "a.parquet", {"text": [english(rng), chinese(rng)]})
    (folder / "b.html").write_text(f"<article>{''.join(f'<p>{p}</p>' for p in english(rng).split(chr(10) * 2))}</article>", encoding="utf-8")
    (folder / "c.docx").write_bytes(files.docx(chinese(rng).replace("\n", "")))
    (folder / "d.xml").write_text(files.WIKI.replace(files.CHINESE, chinese(rng)), encoding="utf-8")
    (folder / "e.mbox").write_text(files.MAILBOX.replace(files.ENGLISH, english(rng)), encoding="utf-8")
    files.warc(folder / "f.warc.gz", {"https://a.example": f"<article>{english(rng).replace(chr(10) * 2, '<p>')}</article>"}, compressed=True)
    (folder / "g.pdf").write_bytes(b"no pdf")
    (folder / "h.parquet").write_bytes(b"no parquet")
    run([folder], tmp_path / "out")
    kept = {Path(row["source"]).name for row in read_rows(tmp_path / "out", "*.jsonl.gz")}
    assert kept == {"a.parquet", "b.html", "c.docx", "d.xml", "e.mbox", "f.warc.gz"}
    unread = {Path(row["source"]).name for row in read_rows(tmp_path / "out", "dropped/read-*.gz")}
    assert unread == {"g.pdf", "h.parquet", "e.mbox"}


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths, against = pile(tmp_path)
    (paths[0] / "test.jsonl").write_text(json.dumps({"text": english(random.Random(1))}), encoding="utf-8")
    asked = ["data", "build", str(paths[0]), "--out", "out", "--against", str(against[0]), "--set", "languages=['en']"]
    assert main([*asked, "--set", "similarity=none"]) == 0
    shown = capsys.readouterr()
    assert "contamination" in shown.out
    assert "`noria pretrain --corpus out`" in shown.out
    assert shown.err.splitlines()[:2] == ["cleaning ...", "cleaning: done"]
    assert "Passed over: 1 file named `test` or `eval`." in shown.err
    assert main(["data", "stats", "out", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["contents"]["languages"]) == ["en"]
    assert not [loss for loss in found["funnel"]["dropped"] if loss["reason"] == "near"]
    assert main(["data", "stats", str(paths[0] / "rows.jsonl"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["contents"]["total"]["documents"] == 36
    assert main(["data", "build", "nowhere", "--out", "other"]) == 2
    assert capsys.readouterr().err == "noria: No file or folder 'nowhere'. Check the paths given.\n"
    assert main(["data", "build", str(paths[0]), "--out", "other", "--set", "rules=['best']"]) == 2
    assert "field `rules.0` is 'best'" in capsys.readouterr().err
