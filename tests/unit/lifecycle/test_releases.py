"""Releases move only with a passing report and undamaged parts; the error budget is counted from what is written down."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from noria.config import Project
from noria.errors import ArtifactError, DataError
from noria.evaluate.gate import GateConfig
from noria.lifecycle.improve import conclude
from noria.lifecycle.releases import Records, budget, describe, diff, promote, release_of_folder, roll_back, verify_parts
from noria.schema import GateReport, Release
from noria.serve import first_release
from noria.serve.freeze import frozen_agent


@pytest.fixture
def records(tmp_path: Path) -> Records:
    (tmp_path / "noria.toml").write_text('[project]\nname = "p"\n')
    return Records.open(Project.load(tmp_path))


def part(records: Records, text: str) -> str:
    """An artifact with one file."""
    return records.artifacts.build("engine", {}, {"text": text}, 0, lambda folder: {"size": (folder / "model.gguf").write_text(text)}).hash


def first(records: Records) -> Release:
    release = records.releases.add({"engine": part(records, "one")})
    return records.releases.move(release.id, "live", "first")


def candidate(records: Records, text: str) -> Release:
    live = records.releases.live()
    assert live is not None
    return records.releases.add({"engine": part(records, text)}, live.id)


def report(records: Records, release: Release, decision: str = "promote", live: str | None = None) -> GateReport:
    now_live = records.releases.live()
    assert now_live is not None
    return GateReport(
        candidate_id=release.id,
        live_id=live or now_live.id,
        decision=decision,  # type: ignore[arg-type]
        reasons=(f"because {decision}",),
        suites=(),
        alpha_spent=0.0 if decision == "promote" else 0.025,
        alpha_left=0.05,
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


def state(records: Records, release: Release) -> str:
    return records.releases.get(release.id).state


def test_the_gate_decides(records: Records) -> None:
    r1, r2, r3, r4 = first(records), candidate(records, "two"), candidate(records, "three"), candidate(records, "four")
    assert conclude(records, r2, report(records, r2, "reject")).state == "rejected"
    assert conclude(records, r3, report(records, r3, "refuse")).state == "candidate"
    assert conclude(records, r4, report(records, r4)).state == "live"
    assert [state(records, r) for r in (r1, r2, r3, r4)] == ["retired", "rejected", "candidate", "live"]
    assert [r.decision for r in records.releases.reports(r3.id)] == ["refuse"]
    assert records.releases.moves(r4.id)[-1].reason == "because promote"


def test_what_the_gate_rejected_goes_live_by_force_alone(records: Records) -> None:
    first(records)
    r2 = candidate(records, "two")
    conclude(records, r2, report(records, r2, "reject"))
    with pytest.raises(DataError, match=r"did not let r2 pass"):
        promote(records, "r2")
    assert promote(records, "r2", force="the suite was wrong").state == "live"


def test_without_a_passing_report_only_force_promotes(records: Records) -> None:
    first(records)
    r2 = candidate(records, "two")
    with pytest.raises(DataError, match="The gate has not judged r2"):
        promote(records, "r2")
    records.releases.add_report(report(records, r2, "refuse"))
    with pytest.raises(DataError, match=r"did not let r2 pass: because refuse Only `--force REASON`"):
        promote(records, "r2")
    with pytest.raises(DataError, match="needs a reason"):
        promote(records, "r2", force=" ")
    assert promote(records, "r2", force="the hotel moved").state == "live"
    assert records.releases.moves(r2.id)[-1].reason == "by force: the hotel moved"
    assert promote(records, "r2").state == "live"


def test_a_report_against_an_earlier_release_is_stale(records: Records) -> None:
    r1 = first(records)
    r2, r3 = candidate(records, "two"), candidate(records, "three")
    promote(records, r2.id, report=report(records, r2))
    records.releases.add_report(report(records, r3, live=r1.id))
    with pytest.raises(DataError, match="r3 was compared with r1, but r2 is live now"):
        promote(records, "r3")


def test_a_damaged_candidate_does_not_go_live(records: Records) -> None:
    r1 = first(records)
    r2 = candidate(records, "two")
    (records.artifacts.get(r2.artifacts["engine"]).path / "model.gguf").write_text("tw0")
    with pytest.raises(ArtifactError, match=r"model\.gguf"):
        promote(records, r2.id, report=report(records, r2))
    assert state(records, r1) == "live"
    assert records.releases.reports(r2.id) == []


def test_base_weights_that_are_missing_do_not_go_live(records: Records) -> None:
    first(records)
    release = records.releases.add({"engine": "no-such-weights"}, "r1")
    with pytest.raises(Exception, match="No model 'no-such-weights'"):
        verify_parts(records, release)


def test_rollback_goes_to_the_last_good_release(records: Records) -> None:
    r1 = first(records)
    r2, r3 = candidate(records, "two"), None
    promote(records, r2.id, report=report(records, r2))
    r3 = candidate(records, "three")
    promote(records, r3.id, report=report(records, r3))
    (records.artifacts.get(r2.artifacts["engine"]).path / "model.gguf").write_text("broken")
    assert roll_back(records, "guests complained").id == r1.id
    assert [state(records, r) for r in (r1, r2, r3)] == ["live", "retired", "retired"]
    assert records.releases.moves(r1.id)[-1].reason == "rolled back from r3: guests complained"
    with pytest.raises(DataError, match="r1 is the first release"):
        roll_back(records, "again")
    assert roll_back(records, "a mistake", to="r3").id == r3.id


def test_rollback_names_only_what_was_live(records: Records) -> None:
    with pytest.raises(DataError, match="No release is live"):
        roll_back(records, "")
    first(records)
    candidate(records, "two")
    with pytest.raises(DataError, match="r2 is candidate; only a release that was live"):
        roll_back(records, "", to="r2")


def test_the_budget_counts_every_candidate_that_was_not_promoted(records: Records) -> None:
    config = GateConfig()
    first(records)
    assert budget(records, config).level == pytest.approx(0.025)
    r2 = candidate(records, "two")
    assert budget(records, config).level == pytest.approx(0.05 / 6), "a candidate that was only written down has lost its share"
    promote(records, r2.id, report=report(records, r2))
    assert budget(records, config).level == pytest.approx(0.025), "a promotion gives it back"
    r3, r4 = candidate(records, "three"), candidate(records, "four")
    conclude(records, r3, report(records, r3, "reject"))
    promote(records, r4.id, force="we know better")
    found = budget(records, config)
    assert (found.failures, found.left) == (2, pytest.approx(0.05 / 3))
    assert budget(records, config, before=r3.number).failures == 0


def test_diff_says_what_changed(records: Records) -> None:
    r1 = first(records)
    prompts = part(records, "prompt")
    records.releases.add({"engine": part(records, "two"), "prompts": prompts}, r1.id, {"minutes": 3.0})
    told = diff(records, "r1", "r2")
    assert set(told["parts"]) == {"engine", "prompts"}
    assert told["parts"]["engine"]["config"] == {"text": {"before": "one", "after": "two"}}
    assert told["parts"]["prompts"]["before"] is None
    assert told["notes"] == {"minutes": {"before": None, "after": 3.0}}
    assert diff(records, "r1", "r1")["parts"] == {}


def test_describe_is_plain(records: Records) -> None:
    r1 = first(records)
    told = describe(records, "r1")
    assert told["id"] == r1.id
    assert told["moves"][0]["to_state"] == "live"
    assert told["reports"] == []


def project_with_prompt(tmp_path: Path) -> Records:
    (tmp_path / "noria.toml").write_text('[project]\nname = "p"\n\n[agent]\nmax_tokens = 64\n')
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "system.md").write_text("Be kind.")
    return Records.open(Project.load(tmp_path))


def test_a_changed_folder_becomes_a_release_without_training(tmp_path: Path) -> None:
    records = project_with_prompt(tmp_path)
    with pytest.raises(DataError, match="there is nothing to release"):
        release_of_folder(records)
    (tmp_path / "prompts" / "system.md").write_text("Be brief.")
    release = release_of_folder(records)
    live = records.releases.live()
    assert live is not None
    assert release.notes["changed"] == ["prompts"]
    assert {part for part in live.artifacts if live.artifacts[part] != release.artifacts[part]} == {"prompts"}
    assert release_of_folder(records).id == release.id
    assert budget(records, GateConfig()).failures == 0
    with pytest.raises(DataError, match="The gate has not judged"):
        promote(records, release.id)
    assert promote(records, release.id, force="new opening hours").state == "live"
    assert budget(records, GateConfig()).failures == 0


TOOLS = """from noria.agent import tool


@tool
def open_door(room: int) -> str:
    \"\"\"Open a door\"\"\"
    return "open"


@tool
def {name}(room: int{more}) -> str:
    \"\"\"Clean a room\"\"\"
    return "clean"
"""


def test_diff_names_lines_tools_and_documents(tmp_path: Path) -> None:
    records = project_with_prompt(tmp_path)
    (tmp_path / "tools.py").write_text(TOOLS.format(name="clean", more=""))
    (tmp_path / "knowledge").mkdir()
    for name in ("breakfast", "pool", "rooms"):
        (tmp_path / "knowledge" / f"{name}.md").write_text(f"# {name}\n\nFrom 7 to 10.\n")
    first_release(records.project, records.releases, records.artifacts)
    (tmp_path / "prompts" / "system.md").write_text("Be kind.\nBe brief.")
    (tmp_path / "tools.py").write_text(TOOLS.format(name="clean", more=", soon: bool = True").replace("open_door", "lock_door"))
    (tmp_path / "knowledge" / "pool.md").unlink()
    (tmp_path / "knowledge" / "spa.md").write_text("# Spa\n\nFrom 9 to 20.\n")
    (tmp_path / "knowledge" / "rooms.md").write_text("# Rooms\n\nUntil 11.\n")
    release_of_folder(records)
    parts = diff(records, "r1", "r2")["parts"]
    assert parts["prompts"]["contents"] == {
        "added": [], "removed": [], "changed": ["prompts/system.md"],
        "lines": {"prompts/system.md": ["--- r1/prompts/system.md", "+++ r2/prompts/system.md", "@@ -1 +1,2 @@", " Be kind.", "+Be brief."]},
    }  # fmt: skip
    assert parts["tools"]["contents"] == {"added": ["lock_door"], "removed": ["open_door"], "changed": ["clean"]}
    assert parts["knowledge"]["contents"] == {
        "added": ["knowledge/spa.md"], "removed": ["knowledge/pool.md"], "changed": ["knowledge/rooms.md"],
    }  # fmt: skip


def test_diff_says_which_part_is_damaged(tmp_path: Path) -> None:
    records = project_with_prompt(tmp_path)
    r1 = first_release(records.project, records.releases, records.artifacts)
    (tmp_path / "prompts" / "system.md").write_text("Be brief.")
    release_of_folder(records)
    (records.artifacts.get(r1.artifacts["prompts"]).path / "prompts/system.md").write_text("Be rude.")
    assert "system.md" in diff(records, "r1", "r2")["parts"]["prompts"]["contents"]["error"]


def test_diff_does_not_read_weights(records: Records) -> None:
    r1 = first(records)
    candidate(records, "two")
    (records.artifacts.get(r1.artifacts["engine"]).path / "model.gguf").write_text("damaged")
    assert "contents" not in diff(records, "r1", "r2")["parts"]["engine"]


def test_a_release_keeps_the_agents_settings(tmp_path: Path) -> None:
    records = project_with_prompt(tmp_path)
    r1 = first_release(records.project, records.releases, records.artifacts)
    (tmp_path / "noria.toml").write_text('[project]\nname = "p"\n\n[agent]\nmax_tokens = 32\n')
    records = Records.open(Project.load(tmp_path))
    prompts = [records.artifacts.get(release.artifacts["prompts"]).path for release in (r1, release_of_folder(records))]
    assert [frozen_agent(records.project, path).max_tokens for path in prompts] == [64, 32]
