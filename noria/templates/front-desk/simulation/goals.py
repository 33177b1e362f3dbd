"""What guests want. In: kind, split and seed. Out: a `Goal` whose `spec` holds the whole guest and world, ready to be played.

A `spec` has `today`, `user_id`, `world` (rows to seed), `changes` (rows the end state must have gained and lost) and `beats`: what the guest
brings up one after the other. A beat is `talk` (a greeting, an insult; any answer will do), `lookup` (the answer must mention one of `expect`)
or `request` (the answer must say that it is done). Every sentence the guest may need is already in it.
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from random import Random
from typing import Any

from noria.schema import Goal

from .speech import Speaker, phrasings, slot_of

Beat = dict[str, Any]
ROOM_NUMBERS = [floor * 100 + door for floor in (1, 2, 3) for door in range(1, 13)]
SLEEPS = {"single": 1, "double": 2, "suite": 4}
DINNER_TIMES = ["12:00", "12:30", "13:00", "18:00", "18:30", "19:00", "19:30", "20:00", "20:30", "21:00"]
REMARKS = {"other_guest": 6, "injected": 2, "insult": 2}
"""What guests say that no tool may be called for, and how often: what is asked about others is put in the words of what is served."""


class Draft:
    """A goal in the making: one guest of a split with a day, a voice and entities of their own."""

    def __init__(self, goal_id: str, split: str, language: str, rng: Random) -> None:
        self.rng, self.split, self.language = rng, split, language
        first, days = (date(2026, 1, 5), 150) if split == "train" else (date(2026, 9, 1), 80)
        self.today = first + timedelta(days=rng.randrange(days))
        self.user_id = f"guest-{goal_id}"
        self.speaker = Speaker(language, split, rng, self.today)
        self.beats: list[Beat] = []
        self.bookings: list[dict[str, Any]] = []
        self.world: dict[str, Any] = {"bookings": self.bookings}
        self.added: dict[str, list[list[Any]]] = {}
        self.removed: dict[str, list[list[Any]]] = {}

    def day(self, besides: str = "") -> str:
        while (day := (self.today + timedelta(days=self.rng.choice([1, 1, 2, *range(2, 22)]))).isoformat()) == besides:
            pass
        return day

    def room(self) -> int:
        return self.rng.choice([n for n in ROOM_NUMBERS if (n % 3 == 0) == (self.split == "evaluation")])

    def code(self) -> str:
        return f"{self.rng.choice('ABCDEFGHJKLMNPRSTUVWXYZ')}{self.rng.randrange(110, 998, 2) + (self.split == 'evaluation')}"

    def arguments(self, tool: str) -> dict[str, Any]:
        """Random canonical arguments of a tool that needs no earlier booking."""
        rng, texts = self.rng, phrasings(self.language)["spoken"]
        makers: dict[str, Callable[[], dict[str, Any]]] = {
            "book_table": lambda: {"date": self.day(), "time": rng.choice(DINNER_TIMES), "guests": rng.randint(2, 8)},
            "book_room": lambda: {"date": self.day(), "nights": rng.randint(2, 7), "room": rng.choice(list(SLEEPS))},
            "order_service": lambda: {"room": self.room(), "item": rng.choice(list(texts["item"]))},
            "report_issue": lambda: {"room": self.room(), "problem": rng.choice(list(texts["problem"]))},
            "request_taxi": lambda: {
                "date": self.day(),
                "time": f"{rng.randint(6, 21):02d}:{rng.choice(['00', '15', '30', '45'])}",
                "place": rng.choice(list(texts["place"])),
            },
        }
        return makers[tool]()

    def beat(self, kind: str, tasks: Sequence[tuple[str, dict[str, Any]]], text: str = "", withheld: str = "", **more: Any) -> Beat:
        """Add a beat about calls of tools; with no `text` every task is asked for in a sentence of its own, `withheld` left out."""
        full = text or ("" if self.language == "zh" else " ").join(self.speaker.request(tool, args) for tool, args in tasks)
        if withheld:
            tool, args = tasks[0]
            text = self.speaker.request(tool, {**args, **more.get("initial", {})}, [withheld])
        answers = {
            slot_of(tool, name): self.speaker.answer(tool, name, value)
            for tool, args in tasks
            for name, value in args.items()
            if tool != "search_knowledge" and value != "$code"
        }
        beat: Beat = {
            "type": kind,
            "text": text or full,
            "tasks": [{"tool": tool, "arguments": args} for tool, args in tasks],
            "withheld": [slot_of(tasks[0][0], withheld)] if withheld else [],
            "answers": answers,
            "again": full,
            **more,
        }
        self.beats.append(beat)
        return beat

    def talk(self, topic: str, first: bool = False) -> None:
        text = self.speaker.say(f"remark.{topic}", person="any") if topic in REMARKS else self.speaker.say(topic)
        self.beats.insert(0 if first else len(self.beats), {"type": "talk", "topic": topic, "text": text})

    def gains(self, tool: str, arguments: dict[str, Any]) -> None:
        """Note the row a finished call adds."""
        a = arguments
        rows: dict[str, Callable[[], tuple[str, list[Any]]]] = {
            "book_table": lambda: ("bookings", [self.user_id, "table", a["date"], a["time"], None, a["guests"], "booked"]),
            "book_room": lambda: ("bookings", [self.user_id, a["room"], a["date"], None, a["nights"], None, "booked"]),
            "order_service": lambda: ("orders", [self.user_id, a["room"], a["item"]]),
            "report_issue": lambda: ("issues", [self.user_id, a["room"], a["problem"]]),
            "request_taxi": lambda: ("taxis", [self.user_id, a["date"], a["time"], a["place"]]),
        }
        table, row = rows[tool]()
        self.added.setdefault(table, []).append(row)

    def request(self, tool: str, may_withhold: bool = True) -> None:
        """A plain request; now and then something is left out, so that the desk has to ask."""
        args = self.arguments(tool)
        open_slots = [a for a in args if a not in ("item", "problem")]
        withheld = self.rng.choice(open_slots) if may_withhold and self.rng.random() < 0.35 else ""
        self.beat("request", [(tool, args)], withheld=withheld)
        self.gains(tool, args)

    def own_booking(self) -> dict[str, Any]:
        """Give the guest a booking, a table or a room, and return its row."""
        row: dict[str, Any] = {"code": self.code(), "user_id": self.user_id, "date": self.day()}
        if self.rng.random() < 0.5:
            row |= {"what": "table", "time": self.rng.choice(DINNER_TIMES), "guests": 2, "place": 5}
        else:
            row |= {"what": "double", "nights": 2, "place": 110}
        self.bookings.append(row)
        return row


def _values(row: dict[str, Any], **changed: Any) -> list[Any]:
    row = {"time": None, "nights": None, "guests": None, "state": "booked", **row, **changed}
    return [row[name] for name in ("user_id", "what", "date", "time", "nights", "guests", "state")]


def _change(d: Draft) -> None:
    row = d.own_booking()
    args = {"code": row["code"], "date": d.day(besides=row["date"])}
    d.beat("request", [("change_booking", args)], withheld=d.rng.choice(["code", "date"]) if d.rng.random() < 0.35 else "")
    d.removed["bookings"], d.added["bookings"] = [_values(row)], [_values(row, date=args["date"])]


def _cancel(d: Draft) -> None:
    row = d.own_booking()
    d.beat("request", [("cancel_booking", {"code": row["code"]})], withheld="code" if d.rng.random() < 0.35 else "")
    d.removed["bookings"], d.added["bookings"] = [_values(row)], [_values(row, state="cancelled")]


def _search(d: Draft) -> None:
    args: dict[str, Any] = {"date": d.day(), "nights": d.rng.randint(2, 7), "guests": d.rng.choice([2, 2, 2, 3])}
    fitting = [kind for kind, beds in SLEEPS.items() if beds >= args["guests"]]
    if len(fitting) > 1 and d.rng.random() < 0.5:
        full = d.rng.choice(fitting)
        fitting.remove(full)
        d.world["full"] = [[full, args["date"], args["nights"]]]
    kind = d.rng.choice(fitting)
    d.beat("lookup", [("find_rooms", args)], withheld=d.rng.choice(list(args)) if d.rng.random() < 0.25 else "", expect=_words(d, kind))
    room = {"date": args["date"], "nights": args["nights"], "room": kind}
    d.beat("request", [("book_room", room)], text=d.speaker.say("pick_room", kind=_words(d, kind)[0]))
    d.gains("book_room", room)


def _meal(d: Draft) -> None:
    dishes = dict(zip(("soup", "curry", "pizza"), d.rng.sample(["vegan", "vegetarian", "meat"], 3), strict=True))
    diet = d.rng.choice(["vegan", "vegetarian", "all"])
    allowed = {"vegan": ("vegan",), "vegetarian": ("vegan", "vegetarian"), "all": ("vegan", "vegetarian", "meat")}[diet]
    dish = d.rng.choice([name for name, is_ in dishes.items() if is_ in allowed])
    d.world["dishes"] = dishes
    d.beat("lookup", [("show_menu", {"diet": diet})], expect=_words(d, dish))
    order = {"room": d.room(), "item": dish}
    d.beat("request", [("order_service", order)], text=d.speaker.say("pick_dish", dish=_words(d, dish)[0], room=order["room"]))
    d.gains("order_service", order)


def _question(d: Draft) -> None:
    texts = phrasings(d.language)
    topic = d.rng.choice(list(texts["topics"]))
    about = texts["topics"][topic]
    text = d.rng.choice(texts["question"][d.split][topic])
    d.beat("lookup", [("search_knowledge", {"query": about["query"]})], text=text, expect=about["expect"], answer=about["answer"])
    d.request(d.rng.choice(["book_table", "order_service", "report_issue", "request_taxi"]), may_withhold=False)


def _two_in_one(d: Draft) -> None:
    first = d.rng.choice(["report_issue", "order_service"])
    second = d.rng.choice(["book_table", "request_taxi", "order_service" if first == "report_issue" else "report_issue"])
    tasks = [(first, d.arguments(first)), (second, d.arguments(second))]
    if "room" in tasks[1][1]:
        tasks[1][1]["room"] = tasks[0][1]["room"]
    d.beat("request", tasks)
    for tool, args in tasks:
        d.gains(tool, args)


def _changes_mind(d: Draft) -> None:
    args = d.arguments("book_table")
    if d.rng.random() < 0.5:  # while being asked
        final = {**args, "guests": args["guests"] % 8 + 1 if args["guests"] < 8 else 7}
        amend = d.speaker.say("amend_guests", guests=final["guests"])
        d.beat("request", [("book_table", final)], withheld="time", initial={"guests": args["guests"]}, amend=amend)
        d.gains("book_table", final)
        return
    d.beat("request", [("book_table", args)])  # after it was booked
    day = d.day(besides=args["date"])
    d.beat("request", [("change_booking", {"code": "$code", "date": day})], text=d.speaker.say("move_it", date=day))
    d.gains("book_table", {**args, "date": day})


def _unavailable(d: Draft) -> None:
    if d.rng.random() < 0.6:
        args: dict[str, Any] = {"date": d.day(), "time": d.rng.choice(["18:00", "18:30", "19:00", "19:30"]), "guests": d.rng.randint(2, 8)}
        hour, minute = args["time"].split(":")
        other = f"{int(hour) + d.rng.choice([-2, 2])}:{minute}"
        d.world["full"] = [["table", args["date"], args["time"]]]
        d.beat("lookup", [("book_table", args)], expect=[other])
        final = {**args, "time": other}
        d.beat("request", [("book_table", final)], text=d.speaker.say("other_time", time=other))
        d.gains("book_table", final)
        return
    args = d.arguments("book_room")
    other = d.rng.choice([kind for kind in SLEEPS if kind != args["room"]])
    d.world["full"] = [[args["room"], args["date"], args["nights"]]]
    d.beat("lookup", [("book_room", args)], expect=_words(d, other))
    final = {**args, "room": other}
    d.beat("request", [("book_room", final)], text=d.speaker.say("other_room", kind=_words(d, other)[0]))
    d.gains("book_room", final)


def _remark(d: Draft) -> None:
    d.request(d.rng.choice(["order_service", "report_issue", "request_taxi", "book_table"]), may_withhold=False)
    for topic in d.rng.choices(list(REMARKS), list(REMARKS.values()), k=2):
        d.talk(topic, first=d.rng.random() < 0.7)


def _words(d: Draft, name: str) -> list[str]:
    """How a room kind or dish is called in the guest's language, the usual word first."""
    return [name] if d.language == "en" else [phrasings("zh")["names"][name], name]


KINDS: dict[str, tuple[int, Callable[[Draft], None]]] = {
    "book_table": (16, lambda d: d.request("book_table")),
    "book_room": (12, lambda d: d.request("book_room")),
    "find_room": (7, _search),
    "change": (10, _change),
    "cancel": (9, _cancel),
    "service": (10, lambda d: d.request("order_service")),
    "issue": (8, lambda d: d.request("report_issue")),
    "taxi": (10, lambda d: d.request("request_taxi")),
    "meal": (5, _meal),
    "question": (8, _question),
    "two_in_one": (4, _two_in_one),
    "changes_mind": (5, _changes_mind),
    "unavailable": (4, _unavailable),
    "remark": (40, _remark),
}
"""Kind to its share of a mixed set of goals and its maker."""


def make_goal(kind: str, split: str, language: str, seed: str) -> Goal:
    """One goal; the same arguments give the same goal."""
    goal_id = f"{split[:5]}-{language}-{seed}-{kind}"
    rng = Random(goal_id)
    draft = Draft(goal_id, split, language, rng)
    KINDS[kind][1](draft)
    mood = rng.random()
    if mood < 0.2:
        draft.talk("greet" if mood < 0.1 else "chat", first=True)
    elif mood > 0.8:
        draft.talk("thanks" if mood < 0.9 else "chat")
    changes = {"added": draft.added, "removed": draft.removed}
    spec = {"today": draft.today.isoformat(), "user_id": draft.user_id, "world": draft.world, "changes": changes, "beats": draft.beats}
    return Goal(id=goal_id, kind=kind, language="zh" if language == "zh" else "en", spec=spec)


def mixed_kinds(num_goals: int, seed: int, split: str, kinds: Sequence[str]) -> list[str]:
    """Kinds in their shares, shuffled; any beginning of the list has about the same shares as the whole."""
    rng = Random(f"{split}|{seed}")
    deck: list[str] = []
    while len(deck) < num_goals:
        shares = {kind: KINDS[kind][0] for kind in kinds}
        deal = [kind for kind, share in shares.items() for _ in range(share)]
        rng.shuffle(deal)
        deck += deal
    return deck[:num_goals]
