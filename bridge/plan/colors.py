"""The color of a run in charts: a hue for each provider, a shade for each job. Pure.

MLflow draws lots among a dozen colors, so that in every larger experiment several curves share one.
"""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Mapping
from typing import Final

_HUES: Final[Mapping[str, int]] = {
    "openai": 158,
    "azure": 210,
    "mistral": 22,
    "together": 262,
    "fireworks": 330,
    "nebius": 72,
    "bedrock": 42,
    "bedrock-mantle": 190,
    "vertex": 232,
    "prime": 0,
}
"""Degrees on the color wheel. A provider of another name gets one by its name."""
_SPREAD: Final = 18
"""Degrees to either side."""
_LIGHTNESS: Final = (0.36, 0.60)
"""Curves have to be seen on white and on black."""
_SATURATION: Final = (0.50, 0.90)


def color_of(provider: str, job_id: str) -> str:
    """Return the color of a job's run, such as ``#1a9c62``: the same whenever it is asked for."""
    own = hashlib.sha256(f"{provider} {job_id}".encode()).digest()
    hue = _HUES.get(provider, hashlib.sha256(provider.encode()).digest()[0] * 360 // 256)
    red, green, blue = colorsys.hls_to_rgb(
        (hue + _between((-_SPREAD, _SPREAD), own[0])) % 360 / 360,
        _between(_LIGHTNESS, own[1]),
        _between(_SATURATION, own[2]),
    )
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _between(bounds: tuple[float, float], byte: int) -> float:
    low, high = bounds
    return low + (high - low) * byte / 255
