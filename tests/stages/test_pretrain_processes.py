"""Two processes train what one trains."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from noria.testing.tiny_text import tiny_texts
from noria.train.checkpoint import load_best

pytestmark = pytest.mark.timeout(300)
SETTINGS = {
    "tokenizer": "characters", "width": 32, "layers": 2, "heads": 2, "context": 16, "batch_tokens": 64, "micro_batch_tokens": 16, "steps": 40,
    "threads": 1, "num_validations": 4, "precision": "float32",
}  # fmt: skip


def run(folder: Path, out: str, num_processes: int, **settings: Any) -> list[dict[str, float]]:
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in tiny_texts()), encoding="utf-8")
    given = [f"--set={name}={value}" for name, value in {**SETTINGS, **settings}.items()]
    launch(num_processes, "-m", "noria.cli.main", "pretrain", "--corpus", str(corpus), "--out", str(folder / out), *given)
    return [json.loads(line) for line in (folder / out / "curve.jsonl").read_text().splitlines()]


def launch(num_processes: int, *arguments: str) -> None:
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    command = [sys.executable, *(several if num_processes > 1 else []), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=250, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


LONGER = {"context": 32, "batch_tokens": 128, "micro_batch_tokens": 32}


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"objective": "clm", "optimizer": "adamw", "learning_rate": 2e-3}, 1e-4),
        ({"objective": "mlm-nsp", "optimizer": "adamw", "learning_rate": 2e-3, **LONGER}, 1e-4),
        ({"objective": "denoise", "optimizer": "adamw", "learning_rate": 2e-3, **LONGER}, 1e-4),
        ({"objective": "clm", "optimizer": "adamw", "learning_rate": 2e-3, "shard": True, "average": 0.9}, 1e-4),
        ({"objective": "clm", "optimizer": "muon"}, 2e-3),  # its iteration in bf16 makes much of the last digit
    ],
)
def test_two_processes_give_the_curve_of_one(tmp_path: Path, settings: dict[str, Any], tolerance: float) -> None:
    one, two = run(tmp_path, "one", 1, **settings), run(tmp_path, "two", 2, **settings)
    assert len(one) == len(two) == 40
    assert one[-1]["loss"] < one[0]["loss"]
    for a, b in zip(one, two, strict=True):
        assert a["tokens"] == b["tokens"]
        assert a["loss"] == pytest.approx(b["loss"], abs=tolerance)


def test_two_processes_take_the_mean_that_one_takes(tmp_path: Path) -> None:
    for number in (1, 2):
        launch(number, str(Path(__file__).with_name("swing_workload.py")), str(tmp_path / str(number)))
    one, two = (load_best(tmp_path / str(number)) for number in (1, 2))
    assert one is not None
    assert two is not None
    assert one["mean_of"] == two["mean_of"] == 3
    assert one["weights"]["weight"].item() == pytest.approx(two["weights"]["weight"].item(), abs=1e-6)
