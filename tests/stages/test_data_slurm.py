"""The recipe of a corpus under datatrove's Slurm executor: its own scripts, run by a stand-in for `sbatch`."""

import json
import os
import random
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datatrove")

from noria.data.build import begin, build, finish
from noria.data.build_config import BuildConfig
from noria.testing.documents import MAKERS, copied

SBATCH = """#!/bin/bash
script="${@: -1}"
range=$(grep -oE "^#SBATCH --array=[0-9]+-[0-9]+" "$script" | grep -oE "[0-9]+-[0-9]+")
for task in $(seq ${range%-*} ${range#*-}); do SLURM_ARRAY_TASK_ID=$task SLURM_JOB_ID=7 SLURM_NODELIST=localhost bash "$script" >&2; done
echo "Submitted batch job 7"
"""
COMMANDS = {"sbatch": SBATCH, "srun": '#!/bin/bash\nshift 3\nexec "$@"\n', "scontrol": "#!/bin/bash\necho localhost\n"}


@pytest.mark.slow
def test_slurm_jobs_make_the_same_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datatrove.executor import SlurmPipelineExecutor

    from noria.data.recipe import executors

    (tmp_path / "bin").mkdir()
    for name, script in COMMANDS.items():
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]))
    rng = random.Random(1)
    texts = [MAKERS[language](rng, 12) for language in ("en", "zh") for _ in range(15)]
    for number in range(3):
        rows = [*texts[number::3], copied(texts[number - 1], rng)]
        (tmp_path / f"{number}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows), encoding="utf-8")
    config, sources = BuildConfig(tasks=3, validation_share=0.3), sorted(tmp_path.glob("*.jsonl"))
    build(config, sources, tmp_path / "here", lambda *_: None)
    recipe = begin(config, sources, tmp_path / "there")
    executors(recipe, partial(SlurmPipelineExecutor, time="1:00:00", partition="cpu"))[-1].run()
    finish(recipe)
    assert rows_of(tmp_path / "there") == rows_of(tmp_path / "here")


def rows_of(folder: Path) -> dict[str, Any]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.jsonl.gz"))}
