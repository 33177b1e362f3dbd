"""Words of a text as the index and the query see them: lower-cased words for English, character bigrams for Chinese.

The same function makes both sides, so a mixed text ("WiFi密码") is found from either language. Chinese is written without spaces; overlapping
pairs of characters find what a dictionary would, and need none. Not covered: synonyms, spelling mistakes.
"""

import re
import unicodedata

_RUN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+|[^\W_]+(?:['’][^\W_]+)?")
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_MIXED = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+|[^\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_ENGLISH = (
    "a an and any are as at be been but by can could did do does for from had has have having he her here him his how i if in into is it its just "
    "let like me more most my no nor not of on one or our out over own please she should so some such than that the their them then there these they "
    "this those to too up us was we were what when where which while who whom why will with would you your"
)
_CHINESE_PAIRS = (
    "什么 怎么 怎样 如何 为什 哪些 哪个 哪里 哪儿 多少 几个 是否 可以 能否 请问 一下 一个 这个 那个 我们 你们 他们 的是 是什 是哪 是多 有什 有哪 "
    "是谁 的人 么样 何时 何地 谁是 有多 是在 在哪 是怎 个是 么是"
)
STOP_ENGLISH = frozenset(_ENGLISH.split(" "))
STOP_PAIRS = frozenset(_CHINESE_PAIRS.split(" "))
STOP_CHARACTERS = frozenset("的了是在有和与及或也都就很吗呢吧啊呀哦嘛么被把于之其这那哪谁你我他她它们您请")


def words(text: str) -> list[str]:
    """All words of `text` in order, repeated ones too."""
    found: list[str] = []
    for run in _RUN.findall(unicodedata.normalize("NFKC", text).lower()):
        for part in _MIXED.findall(run):
            if _CHINESE.match(part):
                found += [part] if len(part) == 1 else [part[i : i + 2] for i in range(len(part) - 1)]
            else:
                found.append(part.replace("’", "'").removesuffix("'s").replace("'", ""))
    return [word for word in found if word]


def query_words(text: str, max_words: int = 64) -> list[str]:
    """The words that carry a query, each once; when all are stop words, all of them."""
    every = list(dict.fromkeys(words(text)))
    telling = [word for word in every if not _is_stop(word)]
    return (telling or every)[:max_words]


def _is_stop(word: str) -> bool:
    return word in STOP_ENGLISH or word in STOP_PAIRS or all(c in STOP_CHARACTERS for c in word)
