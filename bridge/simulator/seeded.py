"""Identifiers and noise derived from names: the same name always gives the same result."""

from __future__ import annotations

import hashlib
import string
import uuid
from statistics import NormalDist

_ALPHABET = string.ascii_letters + string.digits
_BYTES = 24
_NORMAL = NormalDist()


def alnum(length: int, *name: object) -> str:
    """Return up to 32 letters and digits, as in ``ftjob-...``."""
    number = _draw(name)
    letters: list[str] = []
    for _ in range(length):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return "".join(letters)


def digits(length: int, *name: object) -> str:
    """Return a number with a given number of digits, as in Google's ids."""
    lowest = 10 ** (length - 1)
    return str(lowest + _draw(name) % (9 * lowest))


def uuid4(*name: object) -> str:
    """Return a version 4 UUID in its usual notation."""
    return str(uuid.UUID(int=_draw(name) >> 64, version=4))


def uniform(*name: object) -> float:
    """Return a number between 0 and 1, both excluded."""
    return (_draw(name) % (1 << 52) + 0.5) / (1 << 52)


def gauss(*name: object) -> float:
    """Return a number from the standard normal distribution."""
    return _NORMAL.inv_cdf(uniform(*name))


def _draw(name: tuple[object, ...]) -> int:
    text = "\x1f".join(map(str, name))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=_BYTES).digest())
