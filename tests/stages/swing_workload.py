"""A run of several processes that keeps the mean of its best weights: `torchrun ... swing_workload.py FOLDER`."""

import sys
from pathlib import Path

from noria.testing.swing import swing_run
from noria.train.processes import join_processes

if __name__ == "__main__":
    swing_run(Path(sys.argv[1]), rate=0.95, num_best=3, processes=join_processes()).run(10)
