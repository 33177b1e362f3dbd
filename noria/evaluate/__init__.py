"""Evaluation: suites and metrics, paired comparison, the error budget and the gate.

In: a generator and items, or results of two releases on the same items. Out: results files and a `GateReport`. Which release is evaluated,
when, and what becomes of it is decided in `lifecycle`.
"""

from noria.evaluate.suites import Item, ItemResult, Suite, SuiteRun, load_suite, run_suite

__all__ = ["Item", "ItemResult", "Suite", "SuiteRun", "load_suite", "run_suite"]
