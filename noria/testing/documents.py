"""Documents made up of word lists, English and Chinese: as many as wanted, all different, that good quality rules let pass.

In: a random generator. Out: texts of sentences in paragraphs; and the same text with the small changes by which copies differ.
"""

import random
from collections.abc import Callable


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split(";"))


_WHO = _list(
    "the miller;a young engineer;the harbour master;our neighbour;an old teacher;the librarian;a travelling doctor;the village council;"
    "the night porter;a group of students;the gardener;her brother;the museum guide;a tired pilot;the chief accountant;the weaver;"
    "the ferry captain;a small committee;the radio operator;the baker's daughter;an honest lawyer;the forest ranger;a visiting professor;"
    "the station keeper;the translator;a retired sailor;the bridge inspector;the kitchen staff;a patient nurse;the clockmaker"
)
_DID = _list(
    "repaired;described;measured;forgot;examined;carried;painted;exchanged;discovered;protected;criticized;borrowed;counted;cleaned;"
    "explained;followed;improved;ordered;rejected;studied;trusted;welcomed;wrapped;compared;collected;announced;defended;finished;guarded;"
    "imagined;joined;lifted;moved;named;opened;planned;questioned;received;sorted;tested"
)
_WHAT = _list(
    "water wheel;copper kettle;winter timetable;wooden bridge;letter from the coast;collection of maps;broken telescope;garden wall;"
    "list of visitors;recipe for bread;set of brass keys;portrait of the founder;barrel of salt;new regulation;bundle of newspapers;"
    "machine for weaving;pair of lamps;report on the harvest;song about the river;basket of apples;drawing of the valley;"
    "contract with the city;lesson in grammar;theory of tides;stone staircase;library catalogue;glass cabinet;fishing net;"
    "budget for the school;history of the region;signal tower;medical cabinet;pottery oven;railway carriage;violin case;census table;"
    "chess board;diary of the expedition;engine room;flag of the harbour"
)
_WHEN = _list(
    "before breakfast;on a quiet afternoon;during the flood;after the meeting;in early spring;while the rain fell;shortly before midnight;"
    "at the end of the season;without any help;in front of the town hall;with great care;in spite of the cold;for the third time;"
    "under the old oak;near the southern gate;on the way home;in a crowded room;against all advice;with the help of friends;"
    "as soon as the snow melted"
)
_WHY = _list(
    "because {} wanted it to be ready;so that the children of {} could learn from it;and nobody but {} had expected that;"
    "which is why {} has never returned;although {} had planned to wait;and that is how the story of {} begins;"
    "since the road to {} was closed;but the result surprised even {};"
    "until {} had left with their luggage;and the newspaper of {} wrote about it;as if it were the custom in {};"
    "for the machine of {} was older than the house"
)
_WHO_ZH = _list(
    "老磨坊主;一位年轻的工程师;港口的负责人;我们的邻居;那位退休教师;图书管理员;巡回医生;村里的议事会;值夜班的门房;几名学生;花匠;"
    "她的哥哥;博物馆的讲解员;疲惫的飞行员;总会计师;织布的工人;渡船船长;一个小组;无线电操作员;面包师的女儿;正直的律师;护林员;"
    "来访的教授;车站站长;翻译;老水手;桥梁检查员;厨房的员工;细心的护士;钟表匠"
)
_DID_ZH = _list(
    "修好了;描述了;测量了;忘记了;检查了;搬走了;粉刷了;交换了;发现了;保护了;批评了;借走了;清点了;打扫了;解释了;跟随着;改进了;"
    "订购了;拒绝了;研究了;信任着;迎来了;包好了;比较了;收集了;宣布了;守住了;完成了;想象着;加入了;举起了;挪动了;打开了;计划着;"
    "质疑了;收到了;整理了;试验了"
)
_WHAT_ZH = _list(
    "那架水车;铜水壶;冬季时刻表;木桥;海边来信;一套旧地图;坏掉的望远镜;花园的围墙;访客名单;做面包的方子;黄铜钥匙;创始人的画像;一桶盐;"
    "新的规定;一捆报纸;织布机;一对油灯;收成报告;关于河流的歌;一篮苹果;山谷的素描;与城市的合同;语法课;潮汐理论;石阶;图书目录;玻璃柜;"
    "渔网;学校的预算;地方志;信号塔;药品柜;陶窑;火车车厢;小提琴盒;人口统计表;棋盘;考察日记;机房;港口的旗帜"
)
_WHEN_ZH = _list(
    "早饭之前;在安静的下午;洪水期间;会议结束以后;初春时节;下雨的时候;临近午夜;到了季末;没有任何帮助;在市政厅门前;小心翼翼地;冒着严寒;"
    "第三次;在老橡树下;在南门附近;回家的路上;在拥挤的房间里;不顾众人劝告;在朋友的帮助下;雪刚融化的时候"
)
_WHY_ZH = _list(
    "因为{}希望它早日完工;好让{}的孩子们从中学到东西;除了{}没有人料到这一点;这就是{}再没有回来的原因;尽管{}原来打算再等一等;{}的故事就是这样开始的;"
    "因为通往{}的道路已经封闭;结果连{}也感到意外;直到{}带着行李离开;第二天{}的报纸就报道了此事;仿佛这是{}的习俗;"
    "毕竟{}的机器比房子还要老"
)


_SYLLABLES = _list("ba;bel;cor;dan;del;ema;fen;gar;hol;ila;jor;kas;lin;mar;nev;oda;pel;quin;ros;sal;tam;ul;vor;wen;yar;zel;bri;cla;dro;fra")
_SURNAMES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜"
_GIVEN = "文明建国志强秀英桂兰玉梅海燕春生伟光宏达立新家宝天成永福长江东升德胜思远若水"


def english(rng: random.Random, num_sentences: int = 14) -> str:
    """A text in English, a few sentences a paragraph; no thirteen words of it without a name."""

    def name() -> str:
        return "".join(rng.choices(_SYLLABLES, k=rng.randint(3, 4))).capitalize()

    def sentence() -> str:
        core = f"{rng.choice(_WHO)} of {name()} {rng.choice(_DID)} the {rng.choice(_WHAT)} from {name()}"
        when = f"{rng.choice(_WHEN)} in {name()} in {rng.randint(1000, 1999)}"
        first = f"{when}, {core}" if rng.random() < 0.4 else f"{core} {when}"
        text = f"{first}, {rng.choice(_WHY).format(name())}" if rng.random() < 0.7 else f"{first} with {rng.randint(2, 900)} others from {name()}"
        return text[0].upper() + text[1:] + "."

    return _paragraphs([sentence() for _ in range(num_sentences)], rng, " ")


def chinese(rng: random.Random, num_sentences: int = 14) -> str:
    """A text in Chinese, a few sentences a paragraph; no twenty characters of it without a part of a name."""

    def name() -> str:
        return rng.choice(_SURNAMES) + "".join(rng.choices(_GIVEN, k=2))

    def sentence() -> str:
        core = f"{rng.choice(_WHO_ZH)}{name()}{rng.choice(_DID_ZH)}{name()}的{rng.choice(_WHAT_ZH)}"
        end = rng.choice(_WHY_ZH).format(name()) if rng.random() < 0.7 else f"一共有{rng.randint(2, 900)}件是{name()}送来的"
        return f"{rng.randint(1000, 1999)}年，{rng.choice(_WHEN_ZH)}，{name()}同{core}，{end}。"

    return _paragraphs([sentence() for _ in range(num_sentences)], rng, "")


MAKERS: dict[str, Callable[..., str]] = {"en": english, "zh": chinese}


def copied(text: str, rng: random.Random) -> str:
    """The text as a careless copy has it: some words changed, a sentence lost, a line added, punctuation and white space otherwise."""
    edits = rng.sample((_change_words, _lose_sentence, _add_line, _change_case, _change_space), k=rng.randint(1, 3))
    for edit in edits:
        text = edit(text, rng)
    return text


def _paragraphs(sentences: list[str], rng: random.Random, space: str) -> str:
    paragraphs: list[list[str]] = [[]]
    for sentence in sentences:
        if len(paragraphs[-1]) >= rng.randint(3, 5):
            paragraphs.append([])
        paragraphs[-1].append(sentence)
    return "\n\n".join(space.join(paragraph) for paragraph in paragraphs)


def _is_chinese(text: str) -> bool:
    return any("\u4e00" <= c <= "\u9fff" for c in text[:50])


def _change_words(text: str, rng: random.Random) -> str:
    """One word in fifty, or one character in a hundred."""
    if _is_chinese(text):
        characters = list(text)
        for place in rng.sample(range(len(characters)), len(characters) // 100 + 1):
            if characters[place] not in "\n，。":
                characters[place] = rng.choice("甲乙丙丁戊己庚辛")
        return "".join(characters)
    words = text.split(" ")
    for place in rng.sample(range(len(words)), len(words) // 70 + 1):
        if "\n" not in words[place]:
            words[place] = rng.choice(("certainly", "somewhat", "indeed", "altogether"))
    return " ".join(words)


def _lose_sentence(text: str, rng: random.Random) -> str:
    end = "。" if _is_chinese(text) else ". "
    parts = text.split(end)
    if len(parts) > 12:
        del parts[rng.randrange(1, len(parts) - 1)]
    return end.join(parts)


def _add_line(text: str, rng: random.Random) -> str:
    line = (
        ("转载请注明出处。", "本文由读者提供。")
        if _is_chinese(text)
        else ("Shared by a reader of this page.", "First printed in the evening edition.")
    )
    return f"{text}\n\n{rng.choice(line)}" if rng.random() < 0.5 else f"{rng.choice(line)}\n\n{text}"


def _change_case(text: str, rng: random.Random) -> str:
    return text.replace("，", ",") if _is_chinese(text) else text.upper() if rng.random() < 0.2 else text.replace(",", ";")


def _change_space(text: str, rng: random.Random) -> str:
    return text.replace("\n\n", "\n" if rng.random() < 0.5 else "\n\n\n")
