"""Only one process improves a project; the system frees the lock when its holder is killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from noria.config import Project
from noria.errors import StoreError
from noria.lifecycle.lock import project_lock

HOLDER = """
import sys, time
from pathlib import Path
from noria.config import Project
from noria.lifecycle.lock import project_lock
with project_lock(Project.load(Path(sys.argv[1])), "improve"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    (tmp_path / "noria.toml").write_text('[project]\nname = "p"\n')
    project = Project.load(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"process {holder.pid}"), project_lock(project, "improve"):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with project_lock(project, "improve"):
        pass
