"""A conversation is answered by one thread of one process at a time, and a dead process holds nothing."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread, Timer

import pytest

from noria.errors import ServeError
from noria.serve.busy import Busy

HOLD = """
import sys, time
from pathlib import Path
from noria.serve.busy import Busy
with Busy(Path(sys.argv[1])).alone("c1"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_answer_in_this_process_is_refused(tmp_path: Path) -> None:
    busy = Busy(tmp_path / "busy.lock")
    with busy.alone("c1"), busy.alone("c2"), pytest.raises(ServeError, match="is being answered"), busy.alone("c1"):
        pass
    with busy.alone("c1"):
        pass
    busy.close()


def test_who_has_patience_gets_it_when_it_is_free(tmp_path: Path) -> None:
    busy = Busy(tmp_path / "busy.lock")
    held, free = Event(), Event()

    def hold() -> None:
        with busy.alone("c1"):
            held.set()
            free.wait()

    holder = Thread(target=hold)
    holder.start()
    held.wait()
    with pytest.raises(ServeError, match="is being answered"), busy.alone("c1", 0.05):
        pass
    Timer(0.05, free.set).start()
    with busy.alone("c1", 10):
        pass
    holder.join()
    busy.close()


def test_another_process_holds_it_until_it_dies(tmp_path: Path) -> None:
    busy = Busy(tmp_path / "busy.lock")
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "busy.lock")], stdout=subprocess.PIPE, text=True, env=os.environ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ServeError, match="is being answered"), busy.alone("c1"):
            pass
        with busy.alone("c2"):
            pass
        other.kill()
    with busy.alone("c1"):
        pass
    busy.close()
