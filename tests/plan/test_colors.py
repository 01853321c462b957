"""The colors of runs: told apart by provider at first sight, and by job at the second."""

from __future__ import annotations

import cmath
import colorsys
import itertools
import math

from bridge.plan.tags import color_of
from bridge.providers.registry import TYPES


def hue_and_lightness(color: str) -> tuple[float, float]:
    """Degrees on the color wheel, and 0 (black) to 1 (white)."""
    red, green, blue = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    hue, lightness, _ = colorsys.rgb_to_hls(red, green, blue)
    return hue * 360, lightness


def test_each_job_has_its_own_color() -> None:
    """The same at every look; a hundred jobs of one provider share hardly any."""
    colors = [color_of("openai", f"ftjob-{number}") for number in range(100)]
    assert colors == [color_of("openai", f"ftjob-{number}") for number in range(100)]
    assert len(set(colors)) == 100


def test_a_provider_has_a_hue_that_is_seen_by_day_and_by_night() -> None:
    """Within 40 degrees, and neither white nor black."""
    for provider in [*TYPES, "openai-research", "a gateway"]:
        hue, _ = hue_and_lightness(color_of(provider, "first"))
        for number in range(50):
            other, lightness = hue_and_lightness(color_of(provider, str(number)))
            assert min(abs(hue - other), 360 - abs(hue - other)) <= 40
            assert 0.34 <= lightness <= 0.62


def test_two_providers_are_told_apart() -> None:
    """The middles of their hues are ten degrees apart at least."""

    def middle(provider: str) -> float:
        hues = [hue_and_lightness(color_of(provider, str(n)))[0] for n in range(400)]
        turned = sum(cmath.exp(1j * math.radians(hue)) for hue in hues)
        return math.degrees(cmath.phase(turned)) % 360

    middles = sorted(middle(kind) for kind in TYPES)
    gaps = [right - left for left, right in itertools.pairwise([*middles, middles[0] + 360])]
    assert min(gaps) >= 10
