"""Rules every test runs under: no network but loopback, a clean environment, a home folder of its own, a fixed seed, a time limit.

Warnings are errors: the exceptions, third-party ones only, are named in pyproject.toml. The time limit is `timeout` there.
"""

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("noria", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may do other things too
settings.load_profile("noria")

KEPT = {"PATH", "LANG", "LC_ALL", "TERM", "TMPDIR", "TZ", "CI", "COLUMNS", "VIRTUAL_ENV", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE"}
KEPT_PREFIXES = ("PYTEST_", "PYTHON", "COVERAGE_", "HYPOTHESIS_", "NORIA_TEST_")
LOOPBACK = {"127.0.0.1", "::1", "localhost", "0.0.0.0", "::", ""}
SEED = 20260101


def _session_home() -> Path:
    """One folder a session, shared by its workers, so that weights are converted once."""
    session = os.environ.setdefault("NORIA_TEST_SESSION", str(os.getpid()))  # workers of pytest-xdist inherit it
    path = Path(tempfile.gettempdir()) / f"noria-tests-{os.getuid()}" / session
    path.mkdir(parents=True, exist_ok=True)
    return path


SESSION_HOME = _session_home()


def _clean_environment() -> None:
    for name in set(os.environ) - KEPT:
        if not name.startswith(KEPT_PREFIXES):
            del os.environ[name]
    os.environ.update(
        HOME=str(SESSION_HOME),
        NORIA_HOME=str(SESSION_HOME / ".noria"),
        HF_HUB_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false",
        PYTHONHASHSEED="0",
        # Processes that a test starts are not reached by the hook below: a proxy that is not there stops them.
        HTTP_PROXY="http://127.0.0.1:9",
        HTTPS_PROXY="http://127.0.0.1:9",
        NO_PROXY="127.0.0.1,localhost,::1",
    )


def _refuse_network(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook: connecting or looking up a name outside this machine fails the test."""
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    # Not an OSError, which code under test may catch and retry.
    text = host.decode() if isinstance(host, bytes) else str(host or "")
    if text not in LOOPBACK and not text.startswith("127."):
        raise RuntimeError(f"Tests may not use the network: {event} to {text!r}. Use a server on 127.0.0.1.")


_clean_environment()
sys.addaudithook(_refuse_network)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(SESSION_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def _same_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Every test starts in its own empty folder with the same seeds, and leaves the environment as it found it."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    random.seed(SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(SEED)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(SEED)
    yield
    os.environ.clear()
    os.environ.update(before)
