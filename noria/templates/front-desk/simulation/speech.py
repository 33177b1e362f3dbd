"""Dates, times, numbers and whole requests as people say them. In: canonical values and a seeded `Random`. Out: text.

The sentences stand in `phrasings.en.toml` and `phrasings.zh.toml`; here is only how they are put together.
"""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ZH_NUMBERS = "零一二三四五六七八九十"


@cache
def phrasings(language: str) -> dict[str, Any]:
    path = Path(__file__).parent / f"phrasings.{language}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def slot_of(tool: str, argument: str) -> str:
    """The name phrasings know an argument by: `room` of `book_room` is a kind, elsewhere a number."""
    return "room_kind" if tool == "book_room" and argument == "room" else argument


class Speaker:
    """One person's way of speaking in one language; `split` chooses the sentences."""

    def __init__(self, language: str, split: str, rng: Random, today: date) -> None:
        self.language, self.split, self.rng, self.today = language, split, rng, today
        self._texts = phrasings(language)

    def request(self, tool: str, arguments: Mapping[str, Any], withheld: Sequence[str] = ()) -> str:
        """A whole sentence asking for `tool` with all arguments but the withheld ones."""
        section, parts = self._texts[tool][self.split], self._texts[tool]["parts"]
        told = [slot_of(tool, a) for a in arguments if a not in withheld]
        spoken = self._spoken(tool, arguments)
        if "room_kind" not in told and tool == "book_room":
            spoken["room"] = self._texts["spoken"]["room_kind"]["none"]
        forms = [self.rng.choice(parts[slot]) for slot in told if slot in parts]
        if not section.get("fixed") and self.language == "en":
            self.rng.shuffle(forms)
        joined = " ".join(forms)
        return sentence(self.rng.choice(section["patterns"]).replace("{parts}", joined), spoken)

    def answer(self, tool: str, argument: str, value: Any) -> str:
        """The reply to a question for one argument."""
        slot = slot_of(tool, argument)
        return sentence(self.rng.choice(self._texts["answers"][self.split][slot]), self._spoken(tool, {argument: value}))

    def say(self, name: str, **values: Any) -> str:
        """One sentence of a section that has `train` and `evaluation`; arguments are canonical values."""
        section: Any = self._texts
        for part in name.split("."):
            section = section[part]
        spoken: dict[str, str] = {}
        for slot, value in values.items():
            spoken |= self._slot(slot, value)
        return sentence(self.rng.choice(section[self.split]), spoken)

    def _spoken(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, str]:
        spoken: dict[str, str] = {}
        for argument, value in arguments.items():
            spoken |= self._slot(slot_of(tool, argument), value)
        return spoken

    def _slot(self, slot: str, value: Any) -> dict[str, str]:
        """The placeholders a value fills."""
        if slot == "date":
            day, with_preposition = self._day(date.fromisoformat(value))
            return {"date": with_preposition, "day": day}
        if slot == "time":
            return {"time": (spoken_time if self.language == "en" else spoken_time_chinese)(time.fromisoformat(value), self.rng)}
        if slot in ("guests", "nights"):
            words = NUMBERS[value] if self.language == "en" else ("两" if value == 2 else ZH_NUMBERS[value])
            return {slot: self.rng.choice([str(value), words])}
        if slot == "room_kind":
            return {"room": self.rng.choice(self._texts["spoken"]["room_kind"][value])}
        if slot in ("item", "problem", "place", "diet", "person"):
            forms = self._texts["spoken"][slot][value]
            return {slot: self.rng.choice(forms if isinstance(forms, list) else forms[self.split])}
        return {slot: str(value)}

    def _day(self, day: date) -> tuple[str, str]:
        """A day bare and with its preposition."""
        forms = (spoken_days if self.language == "en" else spoken_days_chinese)(day, self.today)
        return self.rng.choice(forms)


def spoken_days(day: date, today: date) -> list[tuple[str, str]]:
    """Ways to say a day of the next weeks: (bare, with preposition). "next Friday" is Friday of the next week, "Friday" the next one."""
    ahead = (day - today).days
    name, month = WEEKDAYS[day.weekday()], MONTHS[day.month - 1]
    suffix = "th" if day.day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    said = (f"the {day.day}{suffix} of {month}", f"{month} {day.day}", f"{day.day} {month}", f"the {day.day}{suffix}")
    forms = [(form, f"on {form}") for form in said]
    if ahead == 1:
        return [("tomorrow", "tomorrow")]
    if ahead == 2:
        forms = [("the day after tomorrow", "the day after tomorrow"), *forms[:2]]
    if ahead <= 7:
        forms += [(name, f"on {name}")] * 3
    if _next_week(day, today):
        forms += [(f"next {name}", f"next {name}")] * 3
    return forms


def spoken_time(at: time, rng: Random) -> str:
    """A clock time that can only be read one way."""
    hour, minute = at.hour % 12 or 12, at.minute
    part = "in the morning" if at.hour < 12 else "in the afternoon" if at.hour < 18 else "in the evening"
    half = "am" if at.hour < 12 else "pm"
    forms = [f"{at.hour}:{minute:02d}", f"{hour}:{minute:02d} {half}" if minute else f"{hour} {half}"]
    if at.hour != 12:
        following = NUMBERS[hour % 12 + 1]
        said = {0: NUMBERS[hour], 15: f"quarter past {NUMBERS[hour]}", 30: f"half past {NUMBERS[hour]}", 45: f"quarter to {following}"}.get(minute)
        forms += [f"{said} {part}"] if said and not (minute == 45 and at.hour in (11, 17)) else []
    else:
        forms = forms[:1]
    if at.hour < 10:
        forms[0] = f"{at.hour:02d}:{minute:02d}"
    return rng.choice(forms)


def spoken_days_chinese(day: date, today: date) -> list[tuple[str, str]]:
    ahead = (day - today).days
    if ahead <= 2:
        said = ["今天", "明天", "后天"][ahead]
        return [(said, said)]
    weekday = "一二三四五六日"[day.weekday()]
    forms = [f"{day.month}月{day.day}日", f"{day.month}月{day.day}号"]
    if ahead <= 7 and not _next_week(day, today):
        forms += [f"周{weekday}", f"星期{weekday}"]
    if _next_week(day, today):
        forms += [f"下周{weekday}"] * 2
    return [(said, said) for said in forms]


def spoken_time_chinese(at: time, rng: Random) -> str:
    part = "早上" if at.hour < 9 else "上午" if at.hour < 12 else "中午" if at.hour == 12 else "下午" if at.hour < 18 else "晚上"
    hour = at.hour if at.hour <= 12 else at.hour - 12
    said = "两" if hour == 2 else ZH_NUMBERS[hour] if hour <= 10 else "十" + ZH_NUMBERS[hour - 10]
    minute = {0: "", 15: "一刻", 30: "半", 45: "三刻"}[at.minute]
    return rng.choice([f"{part}{said}点{minute}", f"{at.hour:02d}:{at.minute:02d}"])


def sentence(pattern: str, values: Mapping[str, str]) -> str:
    """Fill the placeholders, tidy white space before marks, begin with a capital."""
    text = re.sub(r"\{(\w+)\}", lambda m: str(values[m[1]]), pattern)
    text = re.sub(r"\s+([.,?!，。？！])", r"\1", re.sub(r"\s+", " ", text)).strip()
    return text[:1].upper() + text[1:]


def num_phrasings(language: str, split: str) -> int:
    """Different ways to word a request, whole or with one part left out, before any date, time, number or name is filled in."""
    total = 0
    texts = phrasings(language)
    for tool in (name for name, section in texts.items() if isinstance(section, dict) and "parts" in section):
        section, parts = texts[tool][split], texts[tool]["parts"]
        in_order = section.get("fixed") or language == "zh"
        for left_out in (None, *parts):
            forms = [len(options) for slot, options in parts.items() if slot != left_out]
            total += len(section["patterns"]) * math.prod(forms) * (1 if in_order else math.factorial(len(forms)))
    return total


def _next_week(day: date, today: date) -> bool:
    monday = today - timedelta(days=today.weekday())
    return 7 <= (day - monday).days < 14
