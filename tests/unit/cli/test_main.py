"""The command line: order, JSON on stdout, one sentence on stderr, exit codes. Real projects, no model."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from noria import __version__
from noria.cli.main import COMMANDS, run
from noria.config import Project
from noria.lifecycle.releases import Records
from noria.serve import first_release


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(["new", str(tmp_path / "desk"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"project": str(tmp_path / "desk"), "template": "front-desk"}
    return tmp_path / "desk"


def test_a_project_is_called_as_its_folder_in_any_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new", str(tmp_path / "前台 one")]) == 0
    assert "&& noria serve" in capsys.readouterr().out
    assert Project.load(tmp_path / "前台 one").about.name == "前台-one"


def test_help_lists_the_commands_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    places = [shown.index(f"│ {name} ") for name in COMMANDS]
    assert places == sorted(places)
    for later in ("align", "compress", "audit"):
        assert f" {later} " not in shown


@pytest.mark.parametrize("arguments", [[], ["release"], ["data"]])
def test_nothing_said_shows_help_and_no_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert "Usage" in shown.out + shown.err
    assert "noria:" not in shown.err


def test_help_is_quick() -> None:
    took = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "noria.cli.main", "--help"], check=True, capture_output=True)
        after = os.times()
        took.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(took) < 0.5, "seconds of processor time"


@pytest.mark.parametrize(
    "arguments",
    [
        ["tune", "--task", "classify", "--train", "ROWS", "--eval", "ROWS", "--out", "LONG"],
        ["predict", "--task", "classify", "--data", "ROWS", "--model", "LONG", "--out", "said.jsonl"],
        ["evaluate", "--task", "classify", "--data", "ROWS", "--model", "LONG"],
    ],
)
def test_a_name_that_the_system_refuses_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"Row {n}", "label": "ab"[n % 2]}) + "\n" for n in range(8)), encoding="utf-8")
    given = {"ROWS": str(rows), "LONG": str(tmp_path / ("a" * 300)), "said.jsonl": str(tmp_path / "said.jsonl")}
    assert run([given.get(argument, argument) for argument in arguments]) == 2
    assert "longer than this system's names" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["improve", "--minutes", "many"], "Invalid value for '--minutes'"),
        (["fly"], "No such command 'fly'"),
        (["release"], ""),
        (["release", "list"], "No `noria.toml` in"),
        (["release", "list", "--project", "nowhere"], "is no project"),
        (["new", "x", "--template", "castle"], "There is no template 'castle'; allowed: front-desk"),
        (["evaluate", "--data", "none.jsonl", "--task", "sing"], "`--task` is 'sing'; allowed: tools, chat, suite, classify, score, embed"),
        (["evaluate", "--data", "none.jsonl"], "'none.jsonl' cannot be read"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_2(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err.splitlines()) <= 1


def test_an_unknown_section_is_named(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (desk / "noria.toml").open("a") as file:
        file.write("\n[gatte]\nalpha = 0.1\n")
    assert run(["release", "list", "--project", str(desk)]) == 2
    assert "unknown section `[gatte]`" in capsys.readouterr().err


def test_releases_on_the_command_line(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Records.open(Project.load(desk)) as records:
        first = records.releases.add({"engine": "smollm2-135m"})
        records.releases.move(first.id, "live", "first")
        records.releases.add({"engine": "smollm2-135m"}, first.id, {"feedback_used": 12, "minutes": 3.5})
    at = ["--project", str(desk), "--json"]
    assert run(["release", "list", *at]) == 0
    rows = json.loads(capsys.readouterr().out)["releases"]
    assert [(row["number"], row["state"], row["feedback_used"]) for row in rows] == [(1, "live", None), (2, "candidate", 12)]
    assert run(["release", "list", "--project", str(desk)]) == 0
    assert "candidate" in capsys.readouterr().out
    assert run(["release", "promote", "r2", *at]) == 2
    assert "The gate has not judged r2" in capsys.readouterr().err
    assert run(["release", "promote", "r2", "--force", "a test", *at]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "live"
    assert run(["release", "rollback", "--reason", "enough", *at]) == 0
    assert json.loads(capsys.readouterr().out)["number"] == 1
    assert run(["release", "show", "r2", *at]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "retired"
    assert run(["release", "show", "r2", "--project", str(desk)]) == 0
    assert "by force: a test" in " ".join(capsys.readouterr().out.split())
    assert run(["release", "list", "--project", str(desk)]) == 0
    assert "r1 live: rolled back from r2: enough" in " ".join(capsys.readouterr().out.split())
    assert run(["release", "diff", "r1", "r2", *at]) == 0
    assert json.loads(capsys.readouterr().out)["parts"] == {}
    assert run(["release", "rollback", *at]) == 2
    assert "r1 is the first release" in capsys.readouterr().err


def test_a_changed_prompt_is_shown_line_by_line(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project.load(desk)
    with Records.open(project) as records:
        first_release(project, records.releases, records.artifacts)
    (desk / "prompts/system.md").write_text((desk / "prompts/system.md").read_text() + "Be brief.\n")
    (desk / "noria.toml").write_text(re.sub(r"(?m)^max_tokens = .*", "max_tokens = 77", (desk / "noria.toml").read_text()))
    assert run(["release", "new", "--project", str(desk)]) == 0
    capsys.readouterr()
    assert run(["release", "diff", "r1", "r2", "--project", str(desk)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "  changed prompts/system.md" in shown
    assert "  +++ r2/prompts/system.md" in shown
    assert "  +Be brief." in shown
    assert any(line.startswith("  config.agent.max_tokens: ") and line.endswith(" -> 77") for line in shown)


def test_feedback_on_the_command_line(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = desk / "thumbs.jsonl"
    file.write_text('{"receipt": "turn_x", "kind": "thumb", "value": true}\n')
    assert run(["feedback", "import", str(file), "--project", str(desk)]) == 2
    assert "turn_x" in capsys.readouterr().err
    assert run(["feedback", "stats", "--project", str(desk), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == 0
    assert run(["improve", "--project", str(desk)]) == 2
    assert "There is nothing to learn from yet" in capsys.readouterr().err


def test_knowledge_on_the_command_line(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = desk.parent / "sauna.md"
    page.write_text("# Sauna\n\nThe sauna in the tower opens at four.\n")
    at = ["--project", str(desk), "--json"]
    assert run(["knowledge", "add", str(page), *at]) == 0
    assert json.loads(capsys.readouterr().out)["failed"] == {}
    assert run(["knowledge", "search", "sauna tower", "--num-results", "1", *at]) == 0
    found = json.loads(capsys.readouterr().out)["passages"]
    assert found[0]["document"].endswith("sauna.md")
    assert run(["knowledge", "check", *at]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    capsys.readouterr()
    assert run(["knowledge", "add", "nowhere.md", *at]) == 2
    assert "'nowhere.md' does not exist" in capsys.readouterr().err.replace(str(Path.cwd()) + "/", "")


def test_doctor_says_what_to_do(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--project", str(desk), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    states = {finding["what"]: finding["state"] for finding in told["findings"]}
    assert states["weights"] == states["tools"] == states["database"] == states["suite safety"] == "ok"
    (desk / "evals" / "safety.jsonl").write_text((desk / "evals" / "safety.jsonl").read_text().splitlines()[0] + "\n")
    (desk / "tools.py").write_text("def broken(:\n")
    assert run(["doctor", "--project", str(desk)]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 items are too few" in shown
    assert "the tools file cannot be loaded" in shown


def test_doctor_advises_a_chinese_project_on_english_weights(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "noria.toml").write_text('[project]\nname = "desk"\nlanguage = "zh"\n', encoding="utf-8")
    assert run(["doctor", "--project", str(desk), "--json"]) == 0
    language = next(finding for finding in json.loads(capsys.readouterr().out)["findings"] if finding["what"] == "language")
    assert language["state"] == "advice"
    assert "speak Chinese" in language["do"]
    with (desk / "noria.toml").open("a", encoding="utf-8") as file:
        file.write('[engine]\nkind = "remote"\nurl = "http://localhost:1/v1"\nmodel = "speaks-both"\n')
    run(["doctor", "--project", str(desk), "--json"])
    assert "language" not in [finding["what"] for finding in json.loads(capsys.readouterr().out)["findings"]]


def test_doctor_tells_which_engine_reads_the_weights(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "weights").mkdir()
    (desk / "weights" / "config.json").write_text('{"model_type": "gpt2"}')
    for engine, state in (("openvino", "fault"), ("transformers", "ok")):
        (desk / "noria.toml").write_text(f'[project]\nname = "desk"\n[model]\nbase = "weights"\n[engine]\nkind = "{engine}"\n')
        run(["doctor", "--project", str(desk), "--json"])
        weights = next(finding for finding in json.loads(capsys.readouterr().out)["findings"] if finding["what"] == "weights")
        assert weights["state"] == state
        assert ("architecture 'gpt2'" in weights["found"] and "to 'transformers'" in weights["found"]) == (state == "fault")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('[agent]\nmax_tokens = "many"', "[agent]: field `max_tokens` is 'many'"),
        ("[train]\nbatch_tokns = 512", "[train]: unknown field `batch_tokns`"),
        ("[gate]\nmargins = 3", "[gate]: field `margins` is 3"),
        ("[gate]\nmargins = { smaltalk = 0.15 }", "a margin for 'smaltalk', which is no suite of `evals/`"),
        ("[foo]", "unknown section `[foo]`"),
        ('[project]\nname = "desk"\nlanguage = "fr"', "[project]: field `language` is 'fr'"),
        ('[project]\nname = "desk:raw"', "[project]: field `name` is 'desk:raw': use up to 64 letters"),
        ('[project]\nname = "_"', "a letter or digit first"),
        ('[agent]\nprompt = "prompts/none.md"', "The system prompt '"),
    ],
)
def test_doctor_finds_what_is_wrong_in_the_project_file(desk: Path, capsys: pytest.CaptureFixture[str], settings: str, words: str) -> None:
    project = "" if "[project]" in settings else '[project]\nname = "desk"\n'
    (desk / "noria.toml").write_text(project + settings + "\n", encoding="utf-8")
    assert run(["doctor", "--project", str(desk)]) in (1, 2)
    told = capsys.readouterr()
    assert words in " ".join((told.out + told.err).split())


def test_a_file_where_a_folder_belongs(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = desk / "noria.toml"
    assert run(["doctor", "--project", str(file)]) == 2
    assert "is a file. Name the project's folder." in capsys.readouterr().err
    for out in (file, file / "below" / "it"):
        assert run(["feedback", "export", str(out), "--project", str(desk)]) == 2
        assert f"'{file}' is a file; name a folder" in capsys.readouterr().err


def test_a_corrupt_database_is_said(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / ".noria").mkdir(exist_ok=True)
    (desk / ".noria" / "noria.db").write_bytes(b"this is no database, whatever its name says" * 100)
    assert run(["release", "list", "--project", str(desk)]) == 1
    assert "is corrupt" in capsys.readouterr().err


def test_a_wrong_log_level_is_said(desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NORIA_LOG", "loud")
    assert run(["release", "list", "--project", str(desk)]) == 2
    assert "NORIA_LOG is 'loud'; allowed: debug, info, warning, error" in capsys.readouterr().err
