"""Runs a stage of a corpus on this machine: datatrove's executor base, with processes that do not outlive the one that started them.

datatrove's own `LocalPipelineExecutor` runs the recipe as well, but when it is killed its helper processes stay, and one of them may still write
while the same command runs again.
"""

import ctypes
import multiprocessing
import signal
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from copy import copy, deepcopy
from pathlib import Path

from datatrove.executor.base import DistributedEnvVars, PipelineExecutor
from filelock import FileLock, Timeout

from noria.data.recipe import Stage
from noria.data.steps import quiet
from noria.errors import StoreError

_PR_SET_PDEATHSIG = 1
_MAX_WAIT_SECONDS = 60.0


class LocalExecutor(PipelineExecutor):
    """The tasks of one stage that are not done yet, one after another or several at a time."""

    def __init__(self, stage: Stage, log_dir: Path, num_workers: int) -> None:
        super().__init__(stage.steps, str(log_dir.absolute()))
        self.lock_dir = log_dir.absolute() / "locks"
        self.num_tasks = stage.num_tasks
        self.num_workers = num_workers

    def run(self) -> None:
        quiet()
        ranks = self.get_incomplete_ranks()
        if self.num_workers == 1 or len(ranks) < 2:
            for rank in ranks:
                self.run_task(rank)
            return
        # A server that forks clean processes: this one has threads, which a fork of it would not have.
        context = multiprocessing.get_context("forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn")
        before = set(multiprocessing.active_children())
        with ProcessPoolExecutor(min(self.num_workers, len(ranks)), context, initializer=_die_with_parent) as pool:
            try:
                for task in as_completed([pool.submit(self.run_task, rank) for rank in ranks]):
                    task.result()
            except BrokenProcessPool as error:
                raise StoreError(
                    "A task was ended from outside, most likely for want of memory. Set fewer `workers` and run the same command again."
                ) from error
            except BaseException:
                for process in set(multiprocessing.active_children()) - before:  # else leaving the pool waits for all the others
                    process.kill()
                raise

    def run_task(self, rank: int) -> None:
        """Run one task with steps of its own, alone: a process of a run that was killed may take a second to end."""
        task = copy(self)
        task.pipeline = deepcopy(self.pipeline)
        self.lock_dir.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.lock_dir / f"{rank:05d}", timeout=_MAX_WAIT_SECONDS, is_singleton=False):
                task._run_for_rank(rank, local_rank=1)
        except Timeout as error:
            raise StoreError(
                f"A process of an earlier run still works in '{self.lock_dir.parent}'. Stop it, then run the same command again."
            ) from error

    @property
    def world_size(self) -> int:
        return self.num_tasks

    def get_distributed_env(self, node_rank: int = -1) -> DistributedEnvVars:
        del node_rank
        return DistributedEnvVars(
            datatrove_node_ips="localhost",
            datatrove_cpus_per_task="1",
            datatrove_mem_per_cpu="-1",
            datatrove_gpus_on_node="0",
            datatrove_executor="LOCAL",
        )


def _die_with_parent() -> None:
    """End this process when the one that forked it ends, however it does (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
