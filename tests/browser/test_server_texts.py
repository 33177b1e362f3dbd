"""What the server writes in English is known to the page in Chinese: a new sentence there fails here."""

import re
from datetime import UTC, datetime
from typing import Any

from noria.evaluate.gate import Attempt, GateConfig, PairedSuite, decide
from noria.lifecycle.releases import Records, promote, roll_back


def paired_suite(role: Any, kind: Any, n: int, gains: int, grouped: bool = False) -> PairedSuite:
    ids = tuple(f"i{k}" for k in range(n))
    after = {item: float(k < abs(gains)) for k, item in enumerate(ids)}
    before = dict.fromkeys(ids, 0.0)
    first, second = (after, before) if gains < 0 else (before, after)
    groups = tuple(f"c{k // 2}" for k in range(n)) if grouped else ()
    return PairedSuite(suite=f"s-{role[:4]}-{kind}", role=role, kind=kind, before=first, after=second, expected_ids=ids, groups=groups)


def test_whatever_the_gate_says_is_known_in_chinese(studio: Any) -> None:
    """server-texts.js follows the sentences of noria/evaluate/gate.py: a new one there fails here."""
    attempt = Attempt(candidate_id="c", live_id="l", level=0.02, failures=0)
    sizes: tuple[tuple[Any, ...], ...] = (
        *(("pass", n, gains, grouped) for n in (10, 120) for gains in (-30, 0, 40) for grouped in (False, True)), ("pass", 1, 1, False),
        *(("score", n, gains, False) for n in (10, 60) for gains in (-30, 1, 40)), ("fact", 1, 1, False), ("fact", 1, -1, False),
    )  # fmt: skip
    said: set[str] = set()
    for kind, n, gains, grouped in sizes:
        roles = ("protected",) if kind == "fact" else ("objective", "protected")
        suites = [paired_suite(role, kind, n, max(-n, min(n, gains)), grouped) for role in roles]
        if kind == "fact":
            suites.append(paired_suite("objective", "pass", 120, 40))
        report = decide(attempt, suites, GateConfig(), datetime.now(UTC))
        said |= {*report.reasons, *(one.reason for one in report.suites), *(one.test for one in report.suites)}
    empty = paired_suite("protected", "pass", 0, 0)
    short = PairedSuite(suite="s-short", role="protected", kind="pass", before={"i0": 0.0}, after={}, expected_ids=("i0",))
    odd = PairedSuite(suite="s-odd", role="protected", kind="score", before={"i0": 0.0}, after={"i0": float("nan")}, expected_ids=("i0",))
    last = Attempt(candidate_id="c", live_id="l", level=0.0, failures=0, required=("s-other",))
    said |= set(decide(last, [empty, short, odd], GateConfig(), datetime.now(UTC)).reasons)
    assert len(said) > 30
    page, _ = studio([])
    chinese = page.evaluate("said => import('/studio/server-texts.js').then(texts => said.map(text => texts.inChinese(text)))", sorted(said))
    left = {text: words for text in chinese if (words := re.findall(r"[A-Za-z]{2,}", re.sub(r"`[^`]*`|'[^']*'|McNemar|BCa|noria\.toml", "", text)))}
    assert left == {}


def test_why_a_release_moved_is_known_in_chinese(studio: Any) -> None:
    """server-texts.js follows what noria/lifecycle/releases.py writes, and what the server says where a person gives no reason."""
    page, runtime = studio([])
    live = runtime.releases.live()
    made = runtime.releases.add(live.artifacts, live.id)
    attempt = Attempt(candidate_id=made.id, live_id=live.id, level=0.02, failures=0)
    report = decide(attempt, [paired_suite("objective", "pass", 120, 40)], GateConfig(), datetime.now(UTC))
    with Records.open(runtime.project) as records:
        promote(records, "r2", report=report)
        roll_back(records, "rollback in the studio")
        promote(records, "r2", force="新的菜单")
        roll_back(records, "")
        said = [move.reason for release in records.releases.list() for move in records.releases.moves(release.id)]
    assert {text.split(":")[0] for text in said} >= {"r2 went live", "r1 went live", "rolled back from r2", "by force"}
    chinese = page.evaluate("said => import('/studio/server-texts.js').then(texts => said.map(text => texts.inChinese(text)))", said)
    assert {text: words for text in chinese if (words := re.findall(r"[A-Za-z]{2,}", re.sub(r"`[^`]*`|McNemar", "", text)))} == {}
    assert "r1 已上线：从 r2 回退：未说明原因" in chinese
    assert any(text.startswith("r2 已上线：`s-obje-pass` 上更好：") for text in chinese)
