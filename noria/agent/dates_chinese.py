"""Dates and times as Chinese speakers type them; the same in and out as `dates_english`.

`下周三` is Wednesday of the next week (weeks begin on Monday), `周三` alone the next one after today. Not covered: durations, lunar calendar.
"""

import re
from collections.abc import Iterator
from datetime import date, timedelta

from noria.agent.dates_english import Span, day_of_month, later, weekday_of_week

_DIGITS = {c: n for n, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_NUM = r"(?:\d{1,2}|[零〇一二两三四五六七八九十廿]{1,3})"
_RELATIVE = {"大后天": 3, "后天": 2, "明天": 1, "明日": 1, "明儿": 1, "今天": 0, "今日": 0, "今儿": 0, "昨天": -1}
_WORDS = {"今晚": 0, "今早": 0, "今晨": 0, "明早": 1, "明晚": 1, "明晨": 1, "后晚": 2, "昨晚": -1}
_HOLIDAYS = {"元旦": (1, 1), "情人节": (2, 14), "劳动节": (5, 1), "国庆": (10, 1), "平安夜": (12, 24), "圣诞": (12, 25), "跨年夜": (12, 31)}
_WEEKDAY = r"(?:周|星期|礼拜)(?P<weekday>[一二三四五六日天]|[1-7])(?!\d)"

_EXPLICIT = re.compile(
    rf"(?:(?P<year>20\d\d|二[〇零]\S\S)年|(?P<rel>今年|明年))?(?P<month>{_NUM})月份?(?P<day>{_NUM})(?:号|日)?"
    rf"(?:(?:到|至|-|~|—|和)(?P<day2>{_NUM})(?:号|日)(?!\d))?(?![点:\d])"
)
_OF_MONTH = re.compile(rf"(?P<which>这个?月|本月|当月|下个?月|下下个?月)的?(?P<day>{_NUM})(?:号|日)(?:(?:到|至|-|~|—|和)(?P<day2>{_NUM})(?:号|日))?")
_BARE_DAY = re.compile(
    rf"(?<![\d月第零〇一二两三四五六七八九十廿])(?P<day>{_NUM})(?:号|日)?(?:(?<=[号日])|(?=(?:到|至|-|~)\d))(?:(?:到|至|-|~|—|和)(?P<day2>{_NUM})(?:号|日))?"
    r"(?![楼房桌线厅店口机码院门馆车床位间游程元本期语报常])"
)
_WEEK = re.compile(rf"(?P<which>下下个?|下个?|这个?|本|上个?)?{_WEEKDAY}")
_WEEKEND = re.compile(r"(?P<which>下下个?|下个?|这个?|本)?(?:周末|星期末)")
_IN_DAYS = re.compile(rf"(?<![第\d])(?P<n>{_NUM})(?P<unit>天|周|个星期|个礼拜)(?:之|以)?后")
_PLAIN = re.compile("|".join(sorted([*_RELATIVE, *_WORDS], key=len, reverse=True)))
_HOLIDAY = re.compile("|".join(_HOLIDAYS))
_MONTH_END = re.compile(r"(?P<which>这个?|本|下个?)?月(?:底|末)")


def number(text: str) -> int | None:
    """The value of up to two digits or Chinese numerals up to 99; None where they make no number."""
    if text.isascii() and text.isdigit():
        return int(text)
    text = text.replace("廿", "二十")
    tens, ten, ones = text.partition("十")
    if not ten:
        value = "".join(str(_DIGITS[c]) for c in text if c in _DIGITS)
        return int(value) if value and len(value) <= 2 else None
    if len(tens) > 1 or len(ones) > 1:
        return None
    return (_DIGITS[tens] if tens else 1) * 10 + (_DIGITS[ones] if ones else 0)


def dates(text: str, today: date) -> Iterator[Span]:
    """All dates in `text`, overlapping readings included."""
    for m in _EXPLICIT.finditer(text):
        month = number(m["month"]) or 0
        year = _year(m, today)
        yield from _span(m, *(later(today, month, day, year) if 1 <= month <= 12 else None for day in _days(m)))
    for m in _OF_MONTH.finditer(text):
        ahead = m["which"].count("下")
        yield from _span(m, *(day_of_month(today, day, ahead) for day in _days(m)))
    for m in _BARE_DAY.finditer(text):
        yield from _span(m, *(day_of_month(today, day) for day in _days(m)))
    yield from _weekdays(text, today)
    for m in _IN_DAYS.finditer(text):
        if (count := number(m["n"])) is not None:
            yield from _span(m, today + timedelta(days=count * (1 if m["unit"] == "天" else 7)))
    for m in _PLAIN.finditer(text):
        yield from _span(m, today + timedelta(days=_RELATIVE.get(m[0], _WORDS.get(m[0], 0))))
    for m in _HOLIDAY.finditer(text):
        yield from _span(m, later(today, *_HOLIDAYS[m[0]]))
    for m in _MONTH_END.finditer(text):
        first = day_of_month(today, 1, 2 if m["which"] and "下" in m["which"] else 1)
        yield from _span(m, first - timedelta(days=1) if first else None)


def _year(m: re.Match[str], today: date) -> int | None:
    if m["year"]:
        digits = "".join(c if c.isdigit() and c.isascii() else str(_DIGITS.get(c, "")) for c in m["year"])
        return int(digits) if len(digits) == 4 else None
    return {"今年": today.year, "明年": today.year + 1}.get(m["rel"] or "")


def _days(m: re.Match[str]) -> list[int]:
    found = (number(m[name]) for name in ("day", "day2") if m[name])
    return [day for day in found if day is not None and 1 <= day <= 31]


def _span(m: re.Match[str], *found: date | None) -> Iterator[Span]:
    values = tuple(d.isoformat() for d in found if d)
    if values:
        yield Span(m.start(), m.end(), values)


def _weekdays(text: str, today: date) -> Iterator[Span]:
    for m in _WEEK.finditer(text):
        weekday = "一二三四五六日".find(m["weekday"]) if m["weekday"] in "一二三四五六日" else 6 if m["weekday"] == "天" else int(m["weekday"]) - 1
        which = m["which"] or ""
        if which:
            yield from _span(m, weekday_of_week(today, weekday, which.count("下") - which.count("上")))
        else:
            yield from _span(m, today + timedelta(days=(weekday - today.weekday() - 1) % 7 + 1))
    for m in _WEEKEND.finditer(text):
        ahead = (m["which"] or "").count("下")
        yield from _span(m, today if not ahead and today.weekday() > 4 else weekday_of_week(today, 5, ahead))


_PARTS = {
    "凌晨": "early", "早上": "morning", "早晨": "morning", "清晨": "morning", "上午": "morning", "今早": "morning", "明早": "morning",
    "早餐": "morning", "中午": "noon", "午餐": "noon", "午饭": "noon", "下午": "afternoon", "傍晚": "evening", "晚上": "evening",
    "今晚": "evening", "明晚": "evening", "晚餐": "evening", "晚饭": "evening", "夜里": "night", "半夜": "night", "深夜": "night",
    "午夜": "night",
}  # fmt: skip
_PART = re.compile("|".join(_PARTS))
_PART_BEFORE = re.compile(rf"(?P<part>{'|'.join(_PARTS)}|早|晚)的?\s*$")
_LONG_PART_BEFORE = re.compile(rf"(?:{'|'.join(_PARTS)})的?\s*$")
_BEFORE = rf"(?P<before>差(?P<less>一刻|{_NUM}分))?(?P<hour>{_NUM})"
_MINUTE = rf"(?P<minute>钟|整|半|[一1]刻|[三3]刻|{_NUM}分?(?![号日月人位个间天张]))?"
_NO_POINT = "(?!建议|要求|意见|原因|理由|内容|问题|[一二]?下)"
_TIME = re.compile(rf"(?<![\d:零〇一二两三四五六七八九十有差早晚快慢]){_BEFORE}(?:点{_NO_POINT}|时(?=\d|{_NUM}分)){_MINUTE}")
_LATE_TIME = re.compile(rf"(?<=[早晚上里晨午天餐饭]){_BEFORE}点{_MINUTE}")
_COLON = re.compile(r"(?<![\d:])(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?![\d:])")


def times(text: str) -> Iterator[Span]:
    """All clock times in `text`; `07:30|19:30` where the part of the day is not said."""
    seen: set[int] = set()
    for pattern in (_TIME, _LATE_TIME):
        for m in pattern.finditer(text):
            if m.start("hour") not in seen and (clock := _clock(m)):
                hour, minute = clock
                part = _part(text, m.start(), m.end())
                if hour == 1 and not m["minute"] and not _LONG_PART_BEFORE.search(text[max(0, m.start() - 8) : m.start()]):
                    continue  # "一点" and "晚一点" are "a little"
                seen.add(m.start("hour"))
                yield Span(m.start(), m.end(), (_resolved(hour, minute, part, m["hour"].startswith("0")),))
    for m in _COLON.finditer(text):
        part = _part(text, m.start(), m.end())
        if part:  # otherwise the English rules have read it
            yield Span(m.start(), m.end(), (_resolved(int(m["hour"]), int(m["minute"]), part, m["hour"].startswith("0")),))


def _clock(m: re.Match[str]) -> tuple[int, int] | None:
    hour, said = number(m["hour"]), m["minute"]
    if hour is None or hour > 24:
        return None
    if said in (None, "钟", "整"):
        minute = 0
    elif said == "半":
        minute = 30
    elif said.endswith("刻"):
        minute = 45 if said[0] in "三3" else 15
    else:
        minute = number(said.rstrip("分"))
    if minute is None or minute > 59:
        return None
    if m["before"]:
        less = 15 if m["less"] == "一刻" else number(m["less"].rstrip("分")) or 0
        return ((hour - 1) or 12, 60 - less) if less else (hour, minute)
    return hour, minute


def _part(text: str, start: int, end: int) -> str | None:
    if before := _PART_BEFORE.search(text[max(0, start - 8) : start]):
        return {"早": "morning", "晚": "evening"}.get(before["part"]) or _PARTS[before["part"]]
    nearest = min(_PART.finditer(text), key=lambda p: min(abs(p.start() - end), abs(p.end() - start)), default=None)
    if nearest and not re.match(r"好", text[nearest.end() :]):
        return _PARTS[nearest[0]]
    return None


def _resolved(hour: int, minute: int, part: str | None, zero: bool) -> str:
    if hour > 12 or hour == 0 or (part is None and (hour >= 10 or zero)):
        return f"{hour % 24:02d}:{minute:02d}"
    if part is None:
        return f"{hour:02d}:{minute:02d}|{hour + 12:02d}:{minute:02d}"
    if part == "afternoon":
        hour = hour % 12 + 12
    elif part == "evening":
        hour = 0 if hour == 12 else hour + 12
    elif part == "night":
        hour = hour % 12 + (12 if 5 < hour < 12 else 0)
    elif part == "noon":
        hour = hour if hour > 9 else hour + 12
    else:
        hour = hour % 12
    return f"{hour:02d}:{minute:02d}"
