"""Fixed replies of the agent in English and Chinese, and the few words of users that the framework itself understands."""

import re
from collections.abc import Mapping
from typing import Any, Literal

Language = Literal["en", "zh"]

_PHRASES: dict[str, dict[Language, str]] = {
    "budget": {
        "en": "I have reached the limit of what I may do at once and stopped here; what was done so far stays. Please tell me how to go on.",
        "zh": "我已达到单次处理的上限，先停在这里；已完成的部分保留不变。请告诉我接下来怎么做。",
    },
    "stuck": {
        "en": "I am sorry, I could not work this out. Could you say it in another way?",
        "zh": "抱歉，我没能处理好这个请求。您可以换一种说法吗？",
    },
    "unknown": {
        "en": "I was interrupted while doing this: {what}. I do not know whether it went through, so I did not repeat it. "
        "Could you check, or shall I try again?",
        "zh": "我在执行“{what}”时被中断，不确定是否已经完成，因此不会自动重复。请您确认一下，或者告诉我是否需要重试？",
    },
    "ask": {"en": "Shall I do this: {what}? Please answer yes or no.", "zh": "确认执行“{what}”吗？请回答“是”或“否”。"},
}
_YES = re.compile(
    r"^\W*(?:yes|yep|yeah|yup|sure|ok|okay|please do|go ahead|do it|confirm|confirmed|correct|that'?s right|right|of course|absolutely|certainly)\b"
)
_YES_ZH = re.compile(
    r"\W*(?:(?:是的?|对的?|好的?|好啊|可以的?|行|确认|没问题|没错|要的?|嗯|同意)[吧啊呀]?[\s，,。.！!、]*)+(?:谢谢|多谢|请办理|就这样)?\W*"
)
"""The whole message: behind a Chinese yes anything may follow that makes it none (要多少钱)."""
_NOT_YES = re.compile(r"\b(?:no|not|don'?t|wait|but|instead|cancel that|stop|never|rather|actually)\b|[不别等改没](?!问题|错)|[?？]")


def phrase(name: str, language: Language, **values: str) -> str:
    """The fixed reply `name` in a language."""
    return _PHRASES[name][language].format(**values)


def language_of(text: str, otherwise: Language = "en") -> Language:
    """The language of a message: Chinese when Chinese characters carry it, English when letters do."""
    chinese = sum("\u4e00" <= c <= "\u9fff" for c in text)
    words = len(re.findall(r"[A-Za-z]+", text))
    if chinese == words == 0:
        return otherwise
    return "zh" if chinese >= words else "en"


def is_yes(text: str) -> bool:
    """Whether a message is an explicit yes and nothing that takes it back."""
    lower = text.lower()
    return bool(_YES.match(lower) or _YES_ZH.fullmatch(lower)) and not _NOT_YES.search(lower)


def describe_call(description: str, arguments: Mapping[str, Any]) -> str:
    """A call as people read it: what it does and every value it would use."""
    values = ", ".join(f"{name}: {value}" for name, value in arguments.items())
    return f"{description} ({values})" if values else description
