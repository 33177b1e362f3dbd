"""A grammar expression for the integers of a range, digit by digit."""

from typing import Any

from noria.errors import DataError


def integer_range(minimum: Any, maximum: Any, above: Any = None, below: Any = None) -> str:
    """EBNF of the integers from `minimum` to `maximum`, and above or below the exclusive bounds; None is no bound."""
    low = _tightest([_ceil(minimum), None if above is None else _floor(above) + 1], max)
    high = _tightest([None if maximum is None else _floor(maximum), None if below is None else _ceil_strict(below) - 1], min)
    if low is None and high is None:
        return "integer"
    if low is not None and high is not None and low > high:
        raise DataError(f"JSON Schema allows no integer: minimum {low}, maximum {high}.")
    parts: list[str] = []
    if low is None or low < 0:
        negatives = _from_to(1 if high is None or high >= 0 else -high, None if low is None else -low)
        parts += [f'"-" {part}' for part in negatives]
    if high is None or high >= 0:
        parts += _from_to(max(low or 0, 0), high)
    return f"({' | '.join(parts)})"


def _tightest(bounds: list[int | None], pick: Any) -> int | None:
    given = [bound for bound in bounds if bound is not None]
    return pick(given) if given else None


def _floor(value: float) -> int:
    return int(value // 1)


def _ceil(value: float | None) -> int | None:
    return None if value is None else -int(-value // 1)


def _ceil_strict(value: float) -> int:
    return -int(-value // 1)


def _from_to(low: int, high: int | None) -> list[str]:
    """Expressions for the natural numbers low..high, one a number of digits."""
    if high is None:
        digits = len(str(low))
        return [*_from_to(low, 10**digits - 1), f"[1-9] [0-9]{{{digits},17}}"]
    parts: list[str] = []
    while low <= high:
        end = min(high, 10 ** len(str(low)) - 1)
        parts.append(_same_length(str(low), str(end)))
        low = end + 1
    return parts


def _same_length(low: str, high: str) -> str:
    """The numbers low..high, which have equally many digits."""
    if low == high:
        return f'"{low}"'
    if len(low) == 1:
        return f"[{low}-{high}]"
    if low[0] == high[0]:
        return f'"{low[0]}" {_same_length(low[1:], high[1:])}'
    rest = len(low) - 1
    parts: list[str] = []
    first, last = int(low[0]), int(high[0])
    if low[1:] != "0" * rest:
        parts.append(f'"{low[0]}" {_same_length(low[1:], "9" * rest)}')
        first += 1
    full_last = high[1:] == "9" * rest
    if first <= (last if full_last else last - 1):
        parts.append(f"[{first}-{last if full_last else last - 1}] [0-9]{{{rest}}}")
    if not full_last:
        parts.append(f'"{high[0]}" {_same_length("0" * rest, high[1:])}')
    return f"({' | '.join(parts)})"
