"""Dates and times as English speakers type them: rules that turn a lower-cased message into canonical forms.

In: text (lower case) and the day on which it was said. Out: `Span`s with `2026-03-04` or `18:30` (an hour that may be morning or evening
gives both, `07:30|19:30`). Dates without a year are read as the next such day from `today` on; "next Friday" is Friday of the next week
(weeks begin on Monday), "Friday" alone the next one after today. Not covered: durations, time zones, years alone, months alone.
"""

import calendar
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True)
class Span:
    """A recognised piece of the message and the canonical forms it stands for (two for a range)."""

    start: int
    end: int
    values: tuple[str, ...]


HOURS = {w: n for n, w in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"), 1)}
_MINUTES = {
    "five": 5, "ten": 10, "fifteen": 15, "quarter": 15, "twenty": 20, "twenty five": 25, "half": 30,
    "thirty": 30, "thirty five": 35, "forty": 40, "forty five": 45, "fifty": 50, "fifty five": 55,
}  # fmt: skip
_ORDINAL_WORDS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth", "thirteenth",
    "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth", "twenty-first", "twenty-second",
    "twenty-third", "twenty-fourth", "twenty-fifth", "twenty-sixth", "twenty-seventh", "twenty-eighth", "twenty-ninth", "thirtieth", "thirty-first",
)  # fmt: skip
_ORDINALS = {word: n for n, word in enumerate(_ORDINAL_WORDS, 1)}
_MONTH_NAMES = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_MONTHS = {form: n for n, name in enumerate(_MONTH_NAMES, 1) for form in (name, name[:3])} | {"sept": 9}
WEEKDAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WEEKDAYS = {
    **{form: n for n, name in enumerate(WEEKDAY_NAMES) for form in (name.lower(), name[:3].lower())},
    "tues": 1,
    "wensday": 2,
    "wednsday": 2,
    "wendsday": 2,
    "thur": 3,
    "thurs": 3,
    "thrusday": 3,
    "saterday": 5,
}
_HOLIDAYS = {"christmas eve": (12, 24), "christmas day": (12, 25), "christmas": (12, 25), "new year's eve": (12, 31), "new years eve": (12, 31),
             "new year's day": (1, 1), "new years day": (1, 1), "valentine's day": (2, 14), "valentines day": (2, 14)}  # fmt: skip
_COUNTS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "ten": 10}


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted((re.escape(w).replace("\\-", "[- ]").replace("\\ ", "[- ]") for w in words), key=len, reverse=True))


_MONTH = f"(?P<month>{_any(_MONTHS)})\\.?"
_WEEKDAY = f"(?P<weekday>{_any(_WEEKDAYS)})"
_DAY = f"(?P<day>\\d{{1,2}}|{_any(_ORDINALS)})"
_NTH = "(?:st|nd|rd|th)"
_LEAD = f"(?:\\b(?:{_any(_WEEKDAYS)})\\.?,?\\s+)?"
_YEAR = r"(?:,?\s+(?P<year>20\d\d)\b)?"
_NO_DAY2 = r"(?!\s*[:.]\d|\s*[ap]\.?m\b|\s*\w*(?:people|person|guest|night|day|room|adult|ticket|o'clock))"
_TO = rf"(?:\s*(?:-|–|to|till|until|through|thru|and|&|or)\s*(?:the\s+)?(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?{_NO_DAY2}\b)?"
_FROM = r"(?:(?P<day1>\d{1,2})(?:st|nd|rd|th)?\s*(?:-|–|to|till|until|through|thru|and|&|or)\s*(?:the\s+)?)?"
_NOT_A_DAY = (
    r"(?!\s*(?:street|avenue|ave|road|st\b|floor|time|one|row|grade|person|party|option|birthday|anniversary|cinema|century|place|visit|"
    r"choice|edition|district|room|table|seat|flight|movie|song|restaurant|result|\w+\s+(?:street|avenue|floor)))"
)

_EXPLICIT = [
    re.compile(r"(?<![\d/.-])(?P<year>20\d\d)[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?![\d/-])"),
    re.compile(rf"{_LEAD}\b{_MONTH}\s+(?:the\s+)?{_DAY}{_NTH}?\b(?!:\d)(?!\s*[ap]\.?m\b){_TO}{_YEAR}"),
    re.compile(rf"{_LEAD}\b{_FROM}{_DAY}{_NTH}?\s+(?:day\s+)?(?:of\s+)?{_MONTH}(?!\w){_YEAR}"),
]
_DAY_OF_MONTH = re.compile(
    rf"{_LEAD}\b{_FROM}{_DAY}{_NTH}?\s+(?:day\s+)?(?:of|in)?\s*(?P<which>this|the|the current|next|the next|the coming)\s+month\b"
)
_BARE_DAY = re.compile(rf"{_LEAD}\b(?:the|on)\s+(?:{_FROM}(?P<day>\d{{1,2}}){_NTH}|(?P<word>{_any(_ORDINALS)}))\b{_NOT_A_DAY}")
_LONE_DAY = re.compile(rf"(?:^|\b(?:from|until|till|to|by|and|or|for)\s)\s*(?P<day>\d{{1,2}}){_NTH}\b{_NOT_A_DAY}")
_SLASH = re.compile(r"(?<![\d/.])(?P<a>\d{1,2})/(?P<b>\d{1,2})(?:/(?P<year>(?:20)?\d\d))?(?![\d/])")
_OF_WEEK = re.compile(rf"\b{_WEEKDAY}\s+(?:of\s+)?(?P<which>this|next|the\s+coming|the\s+following)\s+week\b")
_THE_WEEKDAY = re.compile(
    rf"\b(?:(?P<which>this|this coming|coming|next|on|by|until|till|from|to|every)\s+)?{_WEEKDAY}(?:s\b)?\b(?!\s+(?:of\s+)?(?:this|next)\s+week)"
)
_AFTER_WEEKDAY = re.compile(rf"\ba\s+week\s+(?:from|after)\s+(?:next\s+)?{_WEEKDAY}\b")
_WEEKEND = re.compile(r"\b(?P<which>this|next|the|the coming|coming)\s+week-?end\b")
_RELATIVE = re.compile(
    r"\b(?:(?P<dat>(?:the\s+)?day\s+after\s+(?:tomorrow|tommorow|tomorow|tmrw))|(?P<tom>tomorrow|tommorow|tommorrow|tomorow|tmrw|tmr)"
    r"|(?P<tod>today|tonight|this\s+(?:morning|afternoon|evening))"
    r"|(?P<yes>yesterday)|(?P<eom>(?:the\s+)?(?:end|last\s+day)\s+of\s+(?:the|this)\s+month))\b"
)
_NUMBER = rf"\d{{1,2}}|{_any(_COUNTS)}"
_IN_DAYS = re.compile(
    rf"\b(?:in\s+(?P<n>{_NUMBER})\s+(?P<unit>day|week)s?\b(?!'? time\w)|"
    rf"(?P<n2>{_NUMBER})\s+(?P<unit2>day|week)s?\s+from\s+(?P<base>now|today|tomorrow))"
)
_HOLIDAY = re.compile(rf"\b(?:{_any(_HOLIDAYS)})\b")
_CLOSING = re.compile(r"(?:\ball|\bneed|\bneeded|\bwant|\beverything|\bthat'?s it|\bdone|'ll do)(?:\s+i\s+\w+)?\s+(?:for\s+)?$")


def later(today: date, month: int, day: int, year: int | None = None) -> date | None:
    """The next such day from `today` on, or of `year`; None where there is none."""
    for candidate in (year,) if year else range(today.year, today.year + 9):
        try:
            found = date(candidate, month, day)
        except ValueError:
            continue
        if year or found >= today:
            return found
    return None


def day_of_month(today: date, day: int, months_ahead: int | None = None) -> date | None:
    """The next `day` of a month from today on, or the one `months_ahead` of this month."""
    for ahead in range(13) if months_ahead is None else (months_ahead,):
        year, month = divmod(today.month - 1 + ahead, 12)
        try:
            found = date(today.year + year, month + 1, day)
        except ValueError:
            continue
        if months_ahead is not None or found >= today:
            return found
    return None


def weekday_of_week(today: date, weekday: int, weeks_ahead: int) -> date:
    """The weekday (Monday is 0) of the week that lies `weeks_ahead` of today's."""
    return today + timedelta(days=weekday - today.weekday() + 7 * weeks_ahead)


def dates(text: str, today: date) -> Iterator[Span]:
    """All dates in `text`, overlapping readings included (the caller keeps the longest)."""
    for pattern in _EXPLICIT:
        for m in pattern.finditer(text):
            yield from _span(m, *_explicit(m, today))
    for m in _DAY_OF_MONTH.finditer(text):
        ahead = 1 if "next" in m["which"] or "coming" in m["which"] else 0
        yield from _span(m, *(day_of_month(today, d, ahead) for d in _days(m)))
    for m in _BARE_DAY.finditer(text):
        days = _days(m) if m["day"] else [_ORDINALS[m["word"].replace(" ", "-")]]
        if m["day"] or m["word"] not in ("first", "second", "third") or m.end() == len(text.rstrip(" .!?")):
            yield from _span(m, *(day_of_month(today, d) for d in days))
    for m in _LONE_DAY.finditer(text):
        yield from _span(m, day_of_month(today, int(m["day"])))
    for m in _SLASH.finditer(text):
        yield from _span(m, _slash(m, text, today))
    yield from _weekdays(text, today)
    yield from _relative(text, today)


def _span(m: re.Match[str], *found: date | None) -> Iterator[Span]:
    values = tuple(d.isoformat() for d in found if d)
    if values:
        yield Span(m.start(), m.end(), values)


def _days(m: re.Match[str]) -> list[int]:
    """Day numbers of a match in the order of mention: `day1` to `day`, or `day` to `day2`."""
    groups = m.groupdict()
    found = [groups.get("day1"), groups["day"], groups.get("day2")]
    return [int(d) if d.isdigit() else _ORDINALS[d.replace(" ", "-")] for d in found if d]


def _explicit(m: re.Match[str], today: date) -> list[date | None]:
    month = int(m["month"]) if m["month"].isdigit() else _MONTHS[m["month"]]
    year = int(m["year"]) if m["year"] else None
    return [later(today, month, day, year) if 1 <= month <= 12 else None for day in _days(m)]


def _slash(m: re.Match[str], text: str, today: date) -> date | None:
    """`3/8` is March 8th, `28/3` the 28th of March; without a year only where a preposition says that a date is meant."""
    a, b = int(m["a"]), int(m["b"])
    told = re.search(r"\b(?:on|from|to|until|till|by|date|and|for)\s+$|-\s*$", text[max(0, m.start() - 12) : m.start()])
    if not m["year"] and (not told or (a, b) == (24, 7)):
        return None
    month, day = (b, a) if a > 12 else (a, b)
    year = (int(m["year"]) + (2000 if int(m["year"]) < 100 else 0)) if m["year"] else None
    return later(today, month, day, year) if 1 <= month <= 12 else None


def _weekdays(text: str, today: date) -> Iterator[Span]:
    for m in _OF_WEEK.finditer(text):
        yield from _span(m, weekday_of_week(today, _WEEKDAYS[m["weekday"]], 0 if m["which"] == "this" else 1))
    for m in _AFTER_WEEKDAY.finditer(text):
        yield from _span(m, _coming(today, _WEEKDAYS[m["weekday"]]) + timedelta(days=7))
    for m in _THE_WEEKDAY.finditer(text):
        which, weekday = m["which"], _WEEKDAYS[m["weekday"]]
        if which == "every" or (m["weekday"] in ("sat", "sun", "wed", "mon", "thu", "fri") and which is None):
            continue  # "sat" and "sun" are words of their own
        if which == "next":
            yield from _span(m, weekday_of_week(today, weekday, 1))
        elif which and which.startswith("this") and weekday == today.weekday():
            yield from _span(m, today)
        else:
            yield from _span(m, _coming(today, weekday))
    for m in _WEEKEND.finditer(text):
        yield from _span(m, weekday_of_week(today, 5, 1) if m["which"] == "next" else today if today.weekday() > 4 else weekday_of_week(today, 5, 0))


def _coming(today: date, weekday: int) -> date:
    """The next such weekday after today."""
    return today + timedelta(days=(weekday - today.weekday() - 1) % 7 + 1)


def _relative(text: str, today: date) -> Iterator[Span]:
    for m in _RELATIVE.finditer(text):
        if m["tod"] == "today" and _CLOSING.search(text[max(0, m.start() - 40) : m.start()]):
            continue  # "that is all for today" closes a conversation
        if m["eom"]:
            yield from _span(m, day_of_month(today, calendar.monthrange(today.year, today.month)[1], 0))
        else:
            yield from _span(m, today + timedelta(days=2 if m["dat"] else 1 if m["tom"] else -1 if m["yes"] else 0))
    for m in _IN_DAYS.finditer(text):
        number, unit = m["n"] or m["n2"], m["unit"] or m["unit2"]
        days = (int(number) if number.isdigit() else _COUNTS[number]) * (7 if unit == "week" else 1) + (m["base"] == "tomorrow")
        yield from _span(m, today + timedelta(days=days))
    for m in _HOLIDAY.finditer(text):
        yield from _span(m, later(today, *_HOLIDAYS[re.sub(r"[- ]", " ", m[0])]))


_HOUR = rf"(?P<hour>\d{{1,2}}|{_any(HOURS)})"
_CLOCK = [
    re.compile(r"(?<![\d:.,$/-])(?P<hour>[01]?\d|2[0-4])[:](?P<minute>[0-5]\d)(?::[0-5]\d)?(?![\d:%])"),
    re.compile(r"(?<![\d:.,$/-])(?P<hour>1?\d|2[0-3])[.](?P<minute>[0-5]\d)(?=\s*[ap]\.?m\b)"),
    re.compile(r"(?<![\d:.,$/-])(?P<hour>1[0-2]|\d)(?P<minute>[0-5]\d)(?=\s*[ap]\.?m\b)"),
    re.compile(r"(?<![\d:.,$/-])(?P<hour>[01]\d|2[0-3])(?:h|:)?(?P<minute>[0-5]\d)(?=\s*(?:hours|hrs)\b)"),
    re.compile(
        r"\b(?P<past>half|(?:a\s+)?quarter|ten|five|twenty(?:[- ]five)?|\d{1,2}(?=\s+min))(?:\s+min(?:ute)?s?)?"
        rf"\s+(?P<way>past|after|to|till|before|of)\s+{_HOUR}\b(?![:/])"
    ),
    re.compile(rf"\b{_HOUR}[- ](?P<minute_word>fifteen|thirty[- ]five|thirty|forty[- ]five|twenty[- ]five|forty|fifty)\b"),
    re.compile(r"\b(?P<fixed>noon|midday|midnight)\b"),
]  # fmt: skip
_HOUR_ONLY = re.compile(rf"(?<![\w:.,$/-]){_HOUR}(?![\w:/%-]|[.,]\d)")
_AT = re.compile(r"\b(?:at|by|around|about|from|between|until|till|after|before|@)\s*$")
_AFTER_HOUR = re.compile(
    r"\s*(?:[.,!?;)]|$|\s(?:tomorrow|today|tonight|on|this|next|please|and|or|if|with|in|sharp|would|is|works|if|until|till|to|then|instead|for)\b)"
)
_O_CLOCK = re.compile(r"""\s*o['’`"´]?\s?clock\b""")
_NOUN = re.compile(
    r"\s*-?(?:people|persons?|guests?|adults?|kids?|children|tickets?|nights?|days?|rooms?|seats?|of us|pax|beds?|tables?|weeks?|months?|years?|"
    r"dollars?|stars?|minutes?|mins?|hours?)\b"
)
_NUMBERED = re.compile(r"\b(?:room|table|number|no\.?|gate|flight|floor|bus|platform)\s*#?$|#$")
_PART_AFTER = re.compile(
    r"(?:\s*(?:to|-|–|until|till|and|or)\s*\d{1,2}(?::\d\d)?(?=\s*[ap]\.?m\b|\s+in\s+the))?\s*,?\s*(?:(?P<ap>[ap])\.?\s?m\b\.?|(?:in\s+the\s+(?:early\s+|late\s+)?|at\s+|this\s+|tomorrow\s+|(?:today|tomorrow)\s+in\s+the\s+)?"
    r"(?P<part>morning|afternoon|evening|night|noon)\b|(?P<tonight>tonight)\b)"
)
_PART_BEFORE = re.compile(r"\b(?P<part>morning|afternoon|evening|night|tonight|noon|am|pm)\s*(?:,\s*)?(?:(?:at|around|by|about)\s+)?$")
_PART = re.compile(r"\b(?P<part>morning|afternoon|evening|tonight|night(?!s)|breakfast|brunch|lunch|dinner|supper)\b")
_GREETING = re.compile(r"\bgood\s+(?:morning|afternoon|evening|night)\b")
_PM = {"p", "pm", "afternoon", "evening", "tonight", "dinner", "supper"}


def times(text: str) -> Iterator[Span]:
    """All clock times in `text`."""
    for pattern in _CLOCK:
        for m in pattern.finditer(text):
            if (clock := _clock(m)) is not None:
                yield Span(m.start(), m.end(), (clock if m.groupdict().get("fixed") else _resolved(text, m, *_split(clock)),))
    for m in _HOUR_ONLY.finditer(text):
        hour = int(m["hour"]) if m["hour"].isdigit() else HOURS[m["hour"]]
        if hour <= 24 and _is_hour(text, m, hour):
            yield Span(m.start(), m.end(), (_resolved(text, m, hour, 0),))


def _split(clock: str) -> tuple[int, int]:
    hour, minute = clock.split(":")
    return int(hour), int(minute)


def _clock(m: re.Match[str]) -> str | None:
    """`hour:minute` as said, before morning or evening is known; None when it is no time of day."""
    groups = m.groupdict()
    if groups.get("fixed"):
        return "00:00" if m["fixed"] == "midnight" else "12:00"
    hour = int(m["hour"]) if m["hour"].isdigit() else HOURS[m["hour"]]
    if groups.get("past"):
        word = re.sub(r"^a\s+", "", m["past"]).replace("-", " ")
        minute = int(word) if word.isdigit() else _MINUTES[word]
        if m["way"] in ("to", "till", "before", "of"):
            hour, minute = (hour - 1 or 12) if hour <= 12 else hour - 1, 60 - minute
    else:
        minute = int(groups["minute"]) if groups.get("minute") else _MINUTES[groups["minute_word"].replace("-", " ")]
    if hour > 24 or not 0 <= minute < 60:
        return None
    return f"{m['hour'] if m['hour'].startswith('0') else hour % 24}:{minute:02d}"


def _is_hour(text: str, m: re.Match[str], hour: int) -> bool:
    """Whether a lone number is an hour: something next to it must say so."""
    if hour == 0 or _NUMBERED.search(text[max(0, m.start() - 12) : m.start()]):
        return False
    if _O_CLOCK.match(text, m.end()) or _PART_AFTER.match(text, m.end()):
        return True
    if _NOUN.match(text, m.end()):
        return False
    before = text[max(0, m.start() - 30) : m.start()]
    return bool(_PART_BEFORE.search(before) or (_AT.search(before) and _AFTER_HOUR.match(text, m.end())))


def _resolved(text: str, m: re.Match[str], hour: int, minute: int) -> str:
    """24-hour form: from am, pm or the part of the day next to it, else anywhere in the message; both forms where nothing tells."""
    clock = _O_CLOCK.match(text, m.end())
    part = part_of_day(text, m.start(), clock.end() if clock else m.end())
    if hour > 12 or hour == 0:
        return f"{hour % 24:02d}:{minute:02d}"
    if part is None:
        if hour >= 10 or m.group().startswith("0"):
            return f"{hour:02d}:{minute:02d}"
        return f"{hour:02d}:{minute:02d}|{hour + 12:02d}:{minute:02d}"
    return f"{to_24(hour, part):02d}:{minute:02d}"


def part_of_day(text: str, start: int, end: int) -> str | None:
    """The part of the day that belongs to a time at [start, end): behind it, before it, else the nearest in the message."""
    if after := _PART_AFTER.match(text, end):
        return after["ap"] or after["part"] or "tonight"
    if (before := _PART_BEFORE.search(text[max(0, start - 30) : start])) and not _GREETING.search(text[max(0, start - 40) : start]):
        return before["part"]
    greetings = [g.span() for g in _GREETING.finditer(text)]
    others = [p for p in _PART.finditer(text) if not any(a <= p.start() < b for a, b in greetings)]
    nearest = min(others, key=lambda p: min(abs(p.start() - end), abs(p.end() - start)), default=None)
    return nearest["part"] if nearest else None


def to_24(hour: int, part: str) -> int:
    """An hour of 1 to 12 in a part of the day, on the 24-hour clock."""
    if part in _PM:
        late = part in ("evening", "tonight", "dinner", "supper")
        return 0 if hour == 12 and late else hour % 12 + 12
    if part == "night":
        return hour % 12 + (12 if 5 < hour < 12 else 0)
    if part in ("lunch", "brunch", "noon"):
        return hour if hour > 9 else hour + 12
    return hour % 12
