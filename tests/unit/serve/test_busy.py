"""A conversation is answered by one thread of one process at a time, and a dead process holds nothing."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread, Timer
from time import sleep

import pytest

from noria.errors import ServeError
from noria.serve.busy import CLIENT_GONE, Busy

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


class Holder:
    """Holds conversation c1 in a thread until it is let go."""

    def __init__(self, busy: Busy) -> None:
        self._busy, self._held, self.free = busy, Event(), Event()
        Thread(target=self._hold, daemon=True).start()
        assert self._held.wait(10)

    def _hold(self) -> None:
        with self._busy.alone("c1"):
            self._held.set()
            self.free.wait(10)


def test_who_has_patience_gets_it_when_it_is_free(tmp_path: Path) -> None:
    busy = Busy(tmp_path / "busy.lock")
    holder = Holder(busy)
    with pytest.raises(ServeError, match="is being answered"), busy.alone("c1", 0.05):
        pass
    Timer(0.05, holder.free.set).start()
    with busy.alone("c1", 10):
        pass
    busy.close()


def test_who_waits_gets_it_in_the_order_of_coming(tmp_path: Path) -> None:
    busy = Busy(tmp_path / "busy.lock")
    holder = Holder(busy)
    order: list[int] = []

    def wait(number: int) -> None:
        with busy.alone("c1", 10):
            order.append(number)

    waiting = [Thread(target=wait, args=[number], daemon=True) for number in range(8)]
    for number, thread in enumerate(waiting, 1):
        thread.start()
        while sum(len(queue) for queue in busy._waiting.values()) < number:
            sleep(0.001)
    holder.free.set()
    for thread in waiting:
        thread.join(10)
    assert order == list(range(8))
    assert not busy._waiting
    busy.close()


def test_who_gave_up_is_not_let_in(tmp_path: Path) -> None:
    busy = Busy(tmp_path / "busy.lock")
    holder = Holder(busy)
    with pytest.raises(ServeError, match="went away") as caught, busy.alone("c1", 10, lambda: True):
        pass
    assert caught.value.status == CLIENT_GONE
    holder.free.set()
    with busy.alone("c1", 10):
        pass
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
