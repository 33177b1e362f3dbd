"""Dates and times in messages become the right canonical forms, in both languages, and nothing else does."""

import time
from datetime import date

import pytest

from noria.agent import hints

TODAY = date(2026, 3, 3)  # a Tuesday

ENGLISH = {
    "the 4th of March": ("2026-03-04",),
    "March 8th": ("2026-03-08",),
    "March 14th 2027": ("2027-03-14",),
    "May 1": ("2026-05-01",),
    "January 5": ("2027-01-05",),
    "the twenty-first of march": ("2026-03-21",),
    "on the tenth": ("2026-03-10",),
    "the 8th of this month": ("2026-03-08",),
    "5th of next month": ("2026-04-05",),
    "The 2nd is fine": ("2026-04-02",),
    "8th": ("2026-03-08",),
    "today": ("2026-03-03",),
    "tomorrow": ("2026-03-04",),
    "the day after tomorrow": ("2026-03-05",),
    "next Monday": ("2026-03-09",),
    "Friday next week": ("2026-03-13",),
    "Sunday this week": ("2026-03-08",),
    "this Friday": ("2026-03-06",),
    "on Saturday": ("2026-03-07",),
    "this weekend": ("2026-03-07",),
    "Friday the 13th": ("2026-03-13",),
    "in 3 days": ("2026-03-06",),
    "in two weeks": ("2026-03-17",),
    "end of the month": ("2026-03-31",),
    "from the 5th to the 8th": ("2026-03-05", "2026-03-08"),
    "March 5 to 8": ("2026-03-05", "2026-03-08"),
    "2026-04-01 until 04/03/2026": ("2026-04-01", "2026-04-03"),
    "half past 6 in the evening": ("18:30",),
    "quarter to 3 in the afternoon": ("14:45",),
    "6:30 pm": ("18:30",),
    "6.30pm": ("18:30",),
    "11 in the morning": ("11:00",),
    "evening 4": ("16:00",),
    "twelve pm": ("12:00",),
    "12 am": ("00:00",),
    "2 o'clock in the afternoon": ("14:00",),
    "16:45": ("16:45",),
    "tonight at seven thirty": ("2026-03-03", "19:30"),
    "dinner tomorrow at 8 for two": ("2026-03-04", "20:00"),
    "between 6 and 7 pm": ("18:00", "19:00"),
    "noon on Friday": ("12:00", "2026-03-06"),
    "a table for 4 at 7:30": ("07:30|19:30",),
    "A table for 4 tomorrow, March 4th": ("2026-03-04",),
}
CHINESE = {
    "下周三晚上七点半": ("2026-03-11", "19:30"),
    "后天下午3点": ("2026-03-05", "15:00"),
    "3月8号到10号，两个人": ("2026-03-08", "2026-03-10"),
    "星期五中午十二点": ("2026-03-06", "12:00"),
    "明天早上八点一刻": ("2026-03-04", "08:15"),
    "下个月5号": ("2026-04-05",),
    "本月二十一日": ("2026-03-21",),
    "这周六": ("2026-03-07",),
    "二〇二七年五月一日": ("2027-05-01",),
    "三天后": ("2026-03-06",),
    "今晚19:00": ("2026-03-03", "19:00"),
    "八点": ("08:00|20:00",),
    "差一刻八点": ("07:45|19:45",),
    "我要订table，明天7:30 pm": ("2026-03-04", "19:30"),
}
NOTHING = [
    "",
    "A table for 4 people please",
    "I may come with 2 kids",
    "on 3rd Street",
    "That is all for today",
    "room 12 at night",
    "we stay 3 nights in 2 double rooms for $120.50",
    "call +1 415 555 2671",
    "24/7",
    "有一点贵，晚一点可以吗？",
    "房间在3号楼203号房",
    "早上好！",
    "February 30",
    "🙂🙂",
]


@pytest.mark.parametrize(("text", "expected"), [*ENGLISH.items(), *CHINESE.items()])
def test_the_canonical_forms_in_order_of_mention(text: str, expected: tuple[str, ...]) -> None:
    assert hints(text, TODAY) == expected


@pytest.mark.parametrize("text", NOTHING)
def test_what_is_no_date_gives_no_hint(text: str) -> None:
    assert hints(text, TODAY) == ()


def test_hints_survive_any_text_fast() -> None:
    hostile = [
        "9" * 5000,
        "the " * 3000,
        "1st " * 2000,
        "星期" * 2000,
        "at 7 " * 1000,
        "quarter to " * 500,
        "\x00\ud800",
        "１２：３０",
        "March " * 900,
    ]
    started = time.perf_counter()
    for text in hostile:
        hints(text, TODAY)
    assert time.perf_counter() - started < 5


def test_full_width_digits_are_read() -> None:
    assert hints("明天１８：３０", TODAY) == ("2026-03-04", "18:30")


def test_a_leap_day_is_the_next_there_is() -> None:
    assert hints("February 29", date(2026, 3, 3)) == ("2028-02-29",)
