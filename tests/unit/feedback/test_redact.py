"""What is personal goes, what is ordinary stays, and one value has one placeholder all through a conversation."""

import json
import time
from datetime import date, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.data.personal import Span, luhn, resident_id, without_overlaps
from noria.feedback import FeedbackConfig, PersonalData, Redactor
from noria.schema import Message, ToolCall

REDACTOR = Redactor()


def redacted(text: str) -> str:
    return REDACTOR.conversation().text(text)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("Write to ada.l+desk@mail.example.co.uk, please", "Write to <EMAIL_1>, please"),
        ("我的邮箱是ada@example.com谢谢", "我的邮箱是<EMAIL_1>谢谢"),
        ("guest@hotel.local", "<EMAIL_1>"),
        ("Call +1 (202) 555-0143 today", "Call <PHONE_1> today"),
        ("call 202-555-0143", "call <PHONE_1>"),
        ("+44 20 7946 0958 or +49 30 901820", "<PHONE_1> or <PHONE_2>"),
        ("电话13812345678，或+86 139-1234-5678", "电话<PHONE_1>，或<PHONE_2>"),
        ("座机010-62345678", "座机<PHONE_1>"),
        ("身份证11010519491231002X。", "身份证<ID_NUMBER_1>。"),
        ("SSN: 536-22-8712. Next", "SSN: <ID_NUMBER_1>. Next"),
        ("my social security number is 536228712", "my social security number is <ID_NUMBER_1>"),
        ("NI AB 12 34 56 C, again AB 12 34 56 C", "NI <ID_NUMBER_1>, again <ID_NUMBER_1>"),
        ("National Insurance number: AB123456C", "National Insurance number: <ID_NUMBER_1>"),
        ("银行卡号6222 0212 3456 7890 128", "银行卡号<CARD_1>"),
        ("card 4111 1111 1111 1111 ok", "card <CARD_1> ok"),
        ("卡号4111111111111111谢谢", "卡号<CARD_1>谢谢"),
        ("pay to DE89 3704 0044 0532 0130 00 now", "pay to <IBAN_1> now"),
        ("月租￥3500 13812345678 张先生", "月租￥3500 <PHONE_1> 张先生"),
        ("￥350 138 1234 5678，￥3500,13912345678", "￥350 <PHONE_1>，￥3500,<PHONE_2>"),
        ("押金￥100,138-0013-8000", "押金￥100,<PHONE_1>"),
        ("$350 202-555-0143", "$350 <PHONE_1>"),
        ("13812345678元旦放假，13912345678块", "<PHONE_1>元旦放假，<PHONE_2>块"),
        ("(010)62345678元旦放假", "<PHONE_1>元旦放假"),
        ("１３８１２３４５６７８，即138-1234-5678", "<PHONE_1>，即<PHONE_1>"),
        ("身份证１１０１０５１９４９１２３１００２Ｘ。", "身份证<ID_NUMBER_1>。"),
        ("from 192.168.10.4 and 2001:db8:0:1::17", "from <IP_1> and <IP_2>"),
    ],
)
def test_personal_data_go(text: str, becomes: str) -> None:
    assert redacted(text) == becomes


@pytest.mark.parametrize(
    "text",
    [
        "on 2026-03-04 at 18:30, or 2026-03-04T18:30:00Z, or 04/03/2026 at 6:30 pm",
        "2026年3月4日18点30分，3月5号",
        "from 2026-03-04 to 2026-03-08 18:30-20:15",
        "$1,250,000.00, €12.50, ￥1234567.89, 12500000 yuan, 1,000,000 dollars",
        "共计1280000元，￥3 500 000，$ 1 234 567.50, €1.234.567,89, 1,234,567,890.12 USD, $12345678901",
        "room 512 for 4 guests, 123456 points, code 99",
        "bookings 1 22 333 4444 and 55555",
        "version 1.2.3, section 4.5.6",
        "std::vector<int> face::add ::",
        "11:30, 12:45, 13:00",
        "me @ home, a@b",
        "booking AB123456C, part 536228712X, model GB 12 34 56 A, on 12 34 56 a",
        "000-12-3456, 666-12-3456, 123-00-4567, 1-536-22-8712, ISBN 978-0-306-40615-7, CAS 7732-18-5",
        "takes 100 20 3000, then 536 22 8712 and 536.22.8712 in the table",
        "110105194912310021",  # a resident number whose check character is wrong
        "4111 1111 1111 1112",  # a card number that fails the check
        "GB00 WEST 1234 5698 7654 32",  # an IBAN that fails the check
    ],
)
def test_ordinary_numbers_stay(text: str) -> None:
    assert redacted(text) == text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 999_999), max_size=6), st.sampled_from([", ", " and ", "、", "; "]))
def test_numbers_of_up_to_six_digits_stay(numbers: list[int], between: str) -> None:
    text = f"take {between.join(map(str, numbers))} please"
    assert redacted(text) == text


@settings(max_examples=30, deadline=None)
@given(st.builds(datetime.combine, st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.times()))
def test_dates_and_times_stay(moment: datetime) -> None:
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%d/%m/%Y", "%m/%d/%Y %H:%M", "%Y/%m/%d", "%d.%m.%Y"):
        text = f"on {moment.strftime(form)}"
        assert redacted(text) == text


@settings(max_examples=60, deadline=None)
@given(st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True), st.sampled_from(["{}", "电话{}吧", "call {}!", "(+86 {})", "tel:{}"]))
def test_every_chinese_mobile_number_goes(number: str, around: str) -> None:
    assert number not in redacted(around.format(number))
    assert "<PHONE_1>" in redacted(around.format(number))


@given(st.from_regex(r"[1-9][0-9]{16}", fullmatch=True))
def test_one_check_character_fits_a_resident_number(start: str) -> None:
    assert sum(resident_id(start + last) for last in "0123456789X") == 1


@given(st.from_regex(r"[0-9]{15}", fullmatch=True))
def test_one_check_digit_fits_a_card_number(start: str) -> None:
    assert sum(luhn(start + last) for last in "0123456789") == 1


def test_a_value_has_one_placeholder_in_texts_calls_and_results() -> None:
    conversation = REDACTOR.conversation()
    said = Message(role="user", content="I am Ada, +86 138-1234-5678 or ADA@example.com", hints=("13812345678",))
    call = Message(
        role="assistant",
        tool_calls=(
            ToolCall(id="c", name="book", arguments={"phone": 13812345678, "who": {"mails": ["ada@example.com", "bob@example.com"]}, "n": 2}),
        ),
    )
    result = Message(role="tool", content='{"phone": 13812345678, "total": 1250000, "ok": true}', tool_call_id="c")
    said, call, result = conversation.messages([said, call, result])
    assert (said.content, said.hints) == ("I am Ada, <PHONE_1> or <EMAIL_1>", ("<PHONE_1>",))
    assert call.tool_calls[0].arguments == {"phone": "<PHONE_1>", "who": {"mails": ["<EMAIL_1>", "<EMAIL_2>"]}, "n": 2}
    assert json.loads(result.content) == {"phone": "<PHONE_1>", "total": 1250000, "ok": True}
    assert conversation.counts == {"PHONE": 1, "EMAIL": 2}
    other = REDACTOR.conversation()
    assert other.text("bob@example.com") == "<EMAIL_1>", "each conversation counts anew"


def test_a_result_without_personal_data_is_left_as_it_was() -> None:
    for content in ('{"b": 1,  "a": 2.50}', "{not json", "[]", "plain"):
        message = Message(role="tool", content=content)
        assert REDACTOR.conversation().message(message) == message


def test_the_house_s_own_values_are_kept() -> None:
    config = FeedbackConfig(keep=("desk@inn.example", "+1 202 555 0199"))
    conversation = Redactor(config).conversation(public=["You are the desk of the inn. Phone: +44 20 7946 0958."])
    text = "desk@inn.example, 202-555-0199, +44 20 7946 0958, ada@example.com"
    assert conversation.text(text) == "desk@inn.example, 202-555-0199, +44 20 7946 0958, <EMAIL_1>"


def test_only_what_is_asked_for_is_redacted() -> None:
    text = "ada@example.com https://example.com/a?b=1 13812345678"
    assert Redactor(FeedbackConfig(redact=("url",))).conversation().text(text).startswith("ada@")
    assert "<URL_1>" in Redactor(FeedbackConfig(redact=("email", "url"))).conversation().text("see https://example.com/a?b=1")
    assert Redactor(FeedbackConfig(redact=())).conversation().text(text) == text


SPAN = st.builds(lambda start, length: Span(start, start + length, "phone"), st.integers(0, 40), st.integers(1, 9))


@given(st.lists(SPAN, max_size=12))
def test_of_spans_that_overlap_the_longer_one_stays(spans: list[Span]) -> None:
    kept = without_overlaps(spans)
    assert all(left.end <= right.start for left, right in pairwise(kept))
    for gone in set(spans) - set(kept):
        assert any(gone.start < k.end and k.start < gone.end and k.end - k.start >= gone.end - gone.start for k in kept)


def test_many_spans_are_told_apart_at_once() -> None:
    spans = [Span(20 * n, 20 * n + 11, "phone") for n in range(20_000)]
    began = time.process_time()
    assert without_overlaps(reversed(spans)) == tuple(spans)
    assert time.process_time() - began < 2


def test_ordinary_texts_are_passed_over_quickly() -> None:
    """The libraries behind the recognisers are not even loaded for a text that cannot hold anything; 20,000 texts take a moment."""
    data = PersonalData(("email", "phone", "card", "iban", "ip", "id_number"), ("US", "CN"))
    texts = [f"A table for {n % 9} on 2026-03-{n % 28 + 1:02} at 18:30, room {n % 500}, please." for n in range(20_000)]
    began = time.process_time()
    assert not any(data.find(text) for text in texts)
    assert time.process_time() - began < 5
    assert "_recognizers" not in vars(data)
