"""Dates and times in what users say: the agent's own rules beside public libraries, on the Schema-Guided Dialogue data.

    python benchmarks/dates.py --data DIR [--no-rivals]

DIR holds *_sample.jsonl, whose user turns name the canonical value of each date and time they mention. Reported: the share of values among the
recognised forms, forms recognised besides them, and milliseconds a message. What the system says is measured, too: the rules were not written with
it in view. Rivals read every third message, for one of them takes 50 ms a message. Writes benchmarks/results/dates.json.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path

from _harness import print_figures, rival_python, write_results

from noria.agent import hints

TODAY = date(2019, 3, 1)
"""The day on which all dialogues of the data take place."""
NO_MOMENT = {"wait_time", "transfer_time"}
"""Slots that hold durations."""
Sample = tuple[str, list[str]]

RIVALS = {
    "recognizers_text": (
        ["recognizers-text-date-time==1.0.2a2", "emoji<2"],
        """
from recognizers_date_time import DateTimeRecognizer
from recognizers_text import Culture
model = DateTimeRecognizer(Culture.English).get_datetime_model()
def read(text):
    for found in model.parse(text, NOW):
        for value in (found.resolution or {}).get("values", []):
            for part in " ".join(str(value.get(key, "")) for key in ("value", "start", "end")).split():
                yield part[:5] if len(part) == 8 else part
""",
    ),
    "dateparser": (
        ["dateparser==1.5.0"],
        """
from dateparser.search import search_dates
def read(text):
    for _, found in search_dates(text, languages=["en"], settings={"RELATIVE_BASE": NOW, "PREFER_DATES_FROM": "future"}) or []:
        yield found.strftime("%Y-%m-%d")
        yield found.strftime("%H:%M")
""",
    ),
}
RIVAL_MAIN = """
import json, sys, time, warnings
from datetime import datetime
warnings.simplefilter("ignore")
NOW = datetime(2019, 3, 1)
{reader}
list(read("tomorrow at 5 pm"))
texts = json.load(open(sys.argv[1]))
started = time.perf_counter()
found = [sorted(set(read(text))) for text in texts]
print(json.dumps({{"found": found, "seconds": time.perf_counter() - started}}))
"""


def read_samples(data: Path, speaker: str) -> list[Sample]:
    """What a speaker says, and the canonical values of the dates and times in it."""
    samples: list[Sample] = []
    for path in sorted(data.glob("*_sample.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            turns = [turn for turn in json.loads(line)["turns"] if turn["speaker"] == speaker]
            samples += [(turn["utterance"], _values(turn)) for turn in turns]
    return samples


def _values(turn: dict[str, list[dict[str, list[dict[str, list[str]]]]]]) -> list[str]:
    actions = [action for frame in turn["frames"] for action in frame["actions"]]
    return [
        value
        for action in actions
        if str(action["slot"]).endswith(("date", "time")) and action["slot"] not in NO_MOMENT
        for value in action["canonical_values"]
        if value != "dontcare"
    ]


def score(samples: Sequence[Sample], found: Iterable[Sequence[str]], seconds: float) -> dict[str, float]:
    values = right = besides = 0
    for (_, wanted), forms in zip(samples, found, strict=True):
        values += len(wanted)
        right += sum(value in forms for value in wanted)
        besides += len(set(forms) - set(wanted))
    return {"values": values, "recall": round(right / values, 4), "besides": besides, "milliseconds": round(1000 * seconds / len(samples), 3)}


def timed(samples: Sequence[Sample], read: Callable[[str], Sequence[str]]) -> dict[str, float]:
    read("tomorrow at 5 pm")
    started = time.perf_counter()
    found = [read(text) for text, _ in samples]
    return score(samples, found, time.perf_counter() - started)


def rival(name: str, samples: Sequence[Sample]) -> dict[str, float]:
    requirements, reader = RIVALS[name]
    with tempfile.TemporaryDirectory() as work:
        texts = Path(work) / "texts.json"
        texts.write_text(json.dumps([text for text, _ in samples]))
        command = [str(rival_python(name, *requirements)), "-c", RIVAL_MAIN.format(reader=reader), str(texts)]
        answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return score(samples, answer["found"], answer["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the Schema-Guided Dialogue samples")
    parser.add_argument("--no-rivals", action="store_true", help="measure the agent's rules only")
    arguments = parser.parse_args()
    users = read_samples(arguments.data, "USER")
    measured = {"noria": timed(users, lambda text: hints(text, TODAY))}
    measured["noria_on_system"] = timed(read_samples(arguments.data, "SYSTEM"), lambda text: hints(text, TODAY))
    if not arguments.no_rivals:
        measured["noria_third"] = timed(users[::3], lambda text: hints(text, TODAY))
        measured |= {name: rival(name, users[::3]) for name in RIVALS}
    figures = {f"{name}_{figure}": value for name, values in measured.items() for figure, value in values.items()}
    print_figures(figures)
    write_results("dates", figures)


if __name__ == "__main__":
    main()
