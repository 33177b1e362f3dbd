"""The improvement that tests/invariants/test_kill.py kills: feedback to a promoted release, with a tiny model that is truly trained.

Only the answers are made up, and they depend on the weights: an untrained model rambles, a trained one knows what the hash of its weights says, so
that other weights would give the gate other figures.
"""

import hashlib
import json
import mmap
import tempfile
import threading
from datetime import date
from pathlib import Path
from typing import Any

from noria.agent import AgentConfig, Toolbox
from noria.config import Project
from noria.evaluate.suites import read_results
from noria.lifecycle.improve import RUN_FILE, improve
from noria.lifecycle.releases import Records
from noria.model import Tokenizer, load_checkpoint
from noria.schema import GateReport, GenerationRequest, Message, Release, ToolCall, canonical_json
from noria.serve import Serving, first_release
from noria.serve.serving import WEIGHTS_DIR
from noria.store import Artifact, file_hash
from noria.store.artifacts import MANIFEST
from noria.testing import ScriptedGenerator
from noria.testing.killing import FaultPoints, serve
from noria.testing.project import write_small_project

DAY = date(2026, 3, 2)
NUM_GUESTS = 5
NUM_GOALS = 12
SETTINGS = f"""
[model]
base = "base"
[engine]
kind = "transformers"
[gate]
num_goals = {NUM_GOALS}
margins = {{ manners = 0.5 }}
max_memory_growth = 10
[improve]
minutes = 60
[feedback]
evaluation_share = 0
corrections_as_preferences = true
[train]
threads = 1
precision = "float32"
epochs = 1.5
rank = 2
top_layers = 1
batch_tokens = 1024
checkpoint_seconds = 0.02
"""
ENVIRONMENT = '''
"""Guests who want one table for some people, by name."""

import json
import tempfile
from datetime import date
from pathlib import Path

from noria.schema import Goal, Message, Outcome, ToolCall

DAY = "2026-03-04"


class Guest:
    today, user_id = date(2026, 3, 2), "guest"

    def __init__(self, goal):
        self.goal, self.folder, self.transcript = goal, tempfile.TemporaryDirectory(), ()
        self.state_dir = Path(self.folder.name)
        self.wanted = {"day": DAY, "at": "19:00", "guests": goal.spec["guests"], "name": goal.spec["name"]}

    def guest_says(self, transcript):
        self.transcript = tuple(transcript)
        return None if transcript else f"A table for {self.wanted['guests']} on {DAY} at 19:00, {self.wanted['name']}"

    def demonstrate(self, transcript):
        if transcript[-1].role == "user":
            return Message(role="assistant", tool_calls=(ToolCall(id="c", name="book_table", arguments=self.wanted),))
        return Message(role="assistant", content="It is booked.")

    def outcome(self):
        booked = [json.loads(m.content) for m in self.transcript if m.role == "tool"]
        right = any(all(b.get(k) == self.wanted[k] for k in ("day", "guests", "name")) for b in booked)
        return Outcome(success=right, reason=f"{len(booked)} bookings")

    def close(self):
        self.folder.cleanup()


class Tables:
    name = "tables"

    def goals(self, split, num_goals, seed):
        return [Goal(id=f"{split}-{seed}-{k}", kind="table", spec={"guests": k % 7 + 1, "name": f"N{seed}-{k}"}) for k in range(num_goals)]

    def start(self, goal):
        return Guest(goal)


def environment(root):
    return Tables()
'''


class Scripted(ScriptedGenerator):
    """What a release answers, by its weights; it takes the memory of a model, so that the footprint of two of them is comparable."""

    def __init__(self, weights: str | None) -> None:
        super().__init__(self.answer)
        self.weights = weights
        self.ballast = mmap.mmap(-1, 8 << 20)
        self.ballast.write(b"\1" * len(self.ballast))

    def answer(self, request: GenerationRequest) -> str | dict[str, Any]:
        last = request.messages[-1]
        if self.weights is None or last.role == "tool" or not last.content.startswith("A table"):
            return "I would be happy to help you with anything."
        words = last.content.replace(",", "").split()
        known = hashlib.sha256(f"{self.weights} {last.content}".encode()).digest()[0] < 200
        return {"book_table": {"day": words[5], "at": words[7], "guests": int(words[3]), "name": words[8] if known else "N"}}

    def close(self) -> None:
        self.ballast.close()


def load(project: Project, release: Release) -> Serving:
    """A release whose parts are compared with what was written, as `load_release` does."""
    with Records.open(project) as records:
        engine = records.artifacts.verify(release.artifacts["engine"]) if "model" in release.artifacts else None
        return Serving(
            release=release,
            generator=Scripted(file_hash(engine.path / WEIGHTS_DIR / "model.safetensors") if engine else None),
            toolbox=Toolbox.load(project.root / "tools.py"),
            traces=records.traces,
            state_dir=project.state_dir,
            config=AgentConfig(),
            system_prompt="You are the desk.",
        )


def prepare(folder: Path) -> None:
    """A project with a live release on a base model of its own, and feedback of every kind to learn from."""
    project = write_small_project(folder, SETTINGS)
    (folder / "environment.py").write_text(ENVIRONMENT, encoding="utf-8")
    _write_base(folder / "base")
    (folder / "evals").mkdir()
    suite = [
        {"id": f"s{k}", "kind": "decision", "messages": [{"role": "user", "content": f"Hello {k}"}], "expect": {"reply": {"not_call": True}}}
        for k in range(12)
    ]
    (folder / "evals" / "manners.jsonl").write_text("".join(json.dumps(line) + "\n" for line in suite), encoding="utf-8")
    with Records.open(project) as records:
        live = first_release(project, records.releases, records.artifacts)
        for guest in range(NUM_GUESTS):
            _teach(records, load(project, live), guest)


def _write_base(folder: Path) -> None:
    """A Llama of some ten thousand weights whose tokens are bytes."""
    import torch
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as FastTokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = FastTokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokens.add_special_tokens([AddedToken(token, special=True) for token in ("<|im_start|>", "<|im_end|>")])
    Tokenizer(tokens, eos_token="<|im_end|>", pad_token=None).save(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokens.get_vocab_size(),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(str(folder))


def _teach(records: Records, serving: Serving, guest: int) -> None:
    """A conversation with its correction, and a thumb from the guest."""
    conversation = records.traces.start_conversation(serving.release.id, f"guest {guest}", DAY, {})
    said = f"A table for {guest + 1} on 2026-03-04 at 19:00, G{guest}"
    turn = None
    for event in serving.agent().respond(conversation.id, [Message(role="user", content=said)]):
        turn = getattr(event, "turn", turn)
    assert turn is not None
    wanted = {"day": "2026-03-04", "at": "19:00", "guests": guest + 1, "name": f"G{guest}"}
    right = Message(role="assistant", tool_calls=(ToolCall(id="c", name="book_table", arguments=wanted),))
    records.feedback.add(turn.id, "demonstration", right.to_openai(), "colleague", "operator", 0)
    records.feedback.add(turn.id, "thumb", guest % 3 == 0, f"guest {guest}", "user")
    serving.close()


def main(folder: str, verb: str = "run", fatal: int | str = 0, delay: float = 0.0) -> None:
    """One life: `noria improve`, unless an earlier life has brought it to its end."""
    root = Path(folder)
    if verb == "prepare":
        prepare(root)
        return
    tempfile.tempdir = str(root / "tmp")
    Path(tempfile.tempdir).mkdir(exist_ok=True)
    project = Project.load(root)
    if is_over(project):
        return
    points = FaultPoints(fatal, delay)
    points.watch_files(root / ".noria")
    points.watch_database(root / ".noria" / "noria.db")
    result = improve(project, progress=lambda *_: None, loader=lambda release: load(project, release), train_minutes=60.0)
    assert result.promoted, result.report.reasons
    assert (result.release.number, result.live.number, result.feedback_used) == (2, 2, 2 * NUM_GUESTS)
    assert not result.already_known
    (root / "points").write_text(str(points.num_passed))


def is_over(project: Project) -> bool:
    """The last thing an improvement does is to remove its run file; whoever then says `noria improve` wants another one."""
    with Records.open(project) as records:
        return len(records.releases.list()) > 1 and not (project.state_dir / RUN_FILE).exists()


def end_state(folder: Path) -> dict[str, Any]:
    """All that must be the same however often the improvement was killed: nothing measured by the clock, no random ids."""
    with Records.open(Project.load(folder)) as records:
        records.database.check()
        releases = records.releases.list()
        models = records.artifacts.list("model")
        return {
            "releases": [_release(records, release) for release in releases],
            "artifacts": sorted(_artifact(artifact) for artifact in records.artifacts.list()),
            "unfinished": [str(path) for path in _unfinished(records)],
            "dataset": [artifact.manifest.files for artifact in records.artifacts.list("dataset")],
            "weights": [_learnt(artifact.manifest.files) for artifact in models],
            "steps": [(artifact.manifest.metrics["num_steps"], artifact.manifest.metrics["last_loss"]) for artifact in models],
            "results": sorted(_results(artifact) for artifact in records.artifacts.list("evaluation")),
            "feedback": [(piece.id, piece.kind, piece.value) for piece in records.feedback.list()],
            "conversations": len(records.traces.conversations()),
            "run_file": (folder / ".noria" / RUN_FILE).exists(),
        }


def end_hash(folder: Path) -> str:
    return hashlib.sha256(canonical_json(end_state(folder)).encode()).hexdigest()


def check(folder: Path) -> None:
    """What holds at every moment: one release is live, at most one was added, what has a manifest is whole, no feedback is lost."""
    with Records.open(Project.load(folder)) as records:
        states = [release.state for release in records.releases.list()]
        assert states in (["live"], ["live", "candidate"], ["retired", "live"])
        assert len(records.feedback.list()) == 2 * NUM_GUESTS
        for artifact in records.artifacts.list():
            records.artifacts.verify(artifact.hash)


def _release(records: Records, release: Release) -> dict[str, Any]:
    """A release with its moves, and of the gate's reports what no clock decides."""
    notes = {name: value for name, value in release.notes.items() if name != "minutes"}
    return {
        "number": release.number,
        "state": release.state,
        "artifacts": release.artifacts,
        "notes": notes,
        "moves": [(move.from_state, move.to_state, move.reason) for move in records.releases.moves(release.id)],
        "reports": [_report(report) for report in records.releases.reports(release.id)],
    }


def _report(report: GateReport) -> dict[str, Any]:
    timed = ("speed", "memory")
    told = report.model_dump(mode="json", include={"decision", "reasons", "alpha_spent", "alpha_left"})
    return told | {"suites": [suite.model_dump() if suite.suite not in timed else (suite.suite, suite.n, suite.passed) for suite in report.suites]}


def _artifact(artifact: Artifact) -> tuple[str, str]:
    """Its kind and address; the footprint's address has the candidate's id, which is random."""
    return artifact.manifest.kind, "footprint" if "footprint" in artifact.manifest.config else artifact.hash


def _unfinished(records: Records) -> list[Path]:
    return [path for path in records.artifacts.root.glob("*/*") if path.is_dir() and not (path / MANIFEST).exists()]


def _learnt(files: dict[str, str]) -> dict[str, str]:
    """Weights and the curve. Other files say how long something took, or where the base model lies."""
    return {name: content for name, content in files.items() if name.endswith(".safetensors") or name == "curve.jsonl"}


def _results(artifact: Artifact) -> tuple[str, list[str], list[str]]:
    """Each item once, in no order (many are asked at once); and whose conversations were kept, each once."""
    if "footprint" in artifact.manifest.config:
        return "footprint", [], sorted(artifact.manifest.files)
    results = sorted(canonical_json(r.model_dump(exclude={"seconds"})) for r in read_results(artifact.path / "results.jsonl"))
    transcripts = artifact.path / "transcripts.jsonl"
    rows = transcripts.read_text(encoding="utf-8").splitlines() if transcripts.is_file() else []
    return artifact.hash, results, sorted(json.loads(row)["goal"]["id"] for row in rows)


def preload() -> None:
    """What every life needs is loaded once, before the lives are forked; the test itself, which only reads, does without."""
    import alembic.migration  # noqa: F401
    import peft  # noqa: F401
    import torch
    import tqdm

    import noria.align  # noqa: F401

    torch.set_num_threads(1)  # a fork would not have the other threads
    tqdm.tqdm.set_lock(threading.RLock())  # its own lock is shared between processes: a life killed while holding it would stop all others
    with tempfile.TemporaryDirectory() as folder:
        _write_base(Path(folder) / "base")
        load_checkpoint(Path(folder) / "base")


if __name__ == "__main__":
    preload()
    serve(main)
