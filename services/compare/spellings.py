"""How a value is spelt in a search: the value itself or one near it, in one of the forms that Prefect reads as it."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

Json = Any


def _uuid(chance: random.Random, _: str, value: Any) -> str:
    text = value if isinstance(value, str) else str(UUID(int=chance.getrandbits(128)))
    if chance.random() < 0.85:
        return text
    return chance.choice([text.upper(), text.replace("-", ""), f"urn:uuid:{text}", f"{{{text}}}"])


def _str(chance: random.Random, path: str, value: Any) -> str:
    text = value if isinstance(value, str) else "nothing is called this"
    if path.endswith(".like_"):
        return _pattern(chance, text)
    if path.endswith(".startswith_"):
        start = text[: chance.randint(0 if chance.random() < 0.2 else 1, 8)]
        return chance.choice([start, start.lower(), start.upper()])
    if path.endswith(".any_") and chance.random() < 0.04:
        return text.swapcase()
    return text


def _pattern(chance: random.Random, text: str) -> str:
    """A part of the text, mostly; its wildcards and letters are left, bent or escaped."""
    roll = chance.random()
    if roll < 0.04:
        return chance.choice(["", " ", "%", "_", "\\", "\\\\", "%%", "\\%", "no such name"])
    start = chance.randrange(len(text)) if text else 0
    part = text[start : start + chance.randint(2, 10)]
    if roll < 0.15 and part:
        place = chance.randrange(len(part))
        return part[:place] + chance.choice(["_", "%", "\\"]) + part[place + 1 :]
    if roll < 0.2:
        return "".join(f"\\{each}" if each in "%_\\" else each for each in part)
    return chance.choice([part, part, part.upper(), part.swapcase()])


def _instant(chance: random.Random, path: str, value: Any) -> Json:
    """The instant itself, to the microsecond, or one near it; as text or as Unix time."""
    moment = (
        datetime.fromisoformat(value)
        if isinstance(value, str) and value[:1].isdigit()
        else datetime(2026, 5, 1, tzinfo=UTC)
    )
    if chance.random() < 0.75:
        near = chance.choice([1e-6, 1, 60, 3600, 86400, 7 * 86400])
        moment += timedelta(
            seconds=near
            * chance.uniform(0, 5)
            * (1 if path.endswith(".before_") else -1)
            * chance.choice((1, 1, 1, -1))
        )
    moment = moment.astimezone(UTC)
    text, roll = moment.isoformat(), chance.random()
    if roll < 0.6:
        return text.replace("+00:00", chance.choice(["Z", "z", "", "+00:00", "+0000", "-00:00"]))
    if roll < 0.7:
        return text.replace("+00:00", "Z").replace("T", chance.choice(" t_"))
    if roll < 0.8:
        return moment.astimezone(_zone(chance)).isoformat()
    if roll < 0.85:
        return text[:10]
    if roll < 0.9:
        return text[:16] + chance.choice(["", "Z"])
    whole = int(moment.timestamp())
    return chance.choice([whole, float(whole), str(whole), whole * 1000, str(whole * 1000), whole + 0.5])


def _zone(chance: random.Random) -> timezone:
    return timezone(timedelta(minutes=chance.choice([60, -300, 330, 345, -570, 840])))


def _bool(chance: random.Random, path: str, value: Any) -> Json:
    truth = _truth(path, value) if chance.random() < 0.8 else chance.random() < 0.5
    if chance.random() < 0.8:
        return truth
    return chance.choice(
        [1, 1.0, "true", "TRUE", "yes", "on", "t", "Y", "1"] if truth else [0, 0.0, "false", "F", "no", "OFF", "n", "0"]
    )


def _truth(path: str, value: Any) -> bool:
    """What holds in the story: whether it is null, or what it is."""
    return value is None if path.endswith(".is_null_") else bool(value)


def _int(chance: random.Random, _: str, __: Any) -> Json:
    return number(chance, chance.randint(-3, 50))


def number(chance: random.Random, value: int) -> Json:
    if chance.random() < 0.85:
        return value
    return chance.choice([str(value), float(value), f" {value} ", f"{value}.0", f"{value}.000"])


SPELLINGS: dict[Any, Callable[[random.Random, str, Any], Json]] = {
    UUID: _uuid,
    str: _str,
    datetime: _instant,
    bool: _bool,
    int: _int,
}
