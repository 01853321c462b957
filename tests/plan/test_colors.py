"""The colors of runs, which distinguish first the providers, and then the jobs."""

from __future__ import annotations

import cmath
import colorsys
import itertools
import math

import pytest

from bridge.plan.tags import color_of
from bridge.providers.registry import TYPES


def hue_and_lightness(color: str) -> tuple[float, float]:
    """Return degrees on the color wheel, and 0 (black) to 1 (white)."""
    red, green, blue = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    hue, lightness, _ = colorsys.rgb_to_hls(red, green, blue)
    return hue * 360, lightness


def test_each_job_has_its_own_color() -> None:
    """A job keeps its color, and a hundred jobs of one provider share hardly any."""
    colors = [color_of("openai", f"ftjob-{number}") for number in range(100)]
    assert colors == [color_of("openai", f"ftjob-{number}") for number in range(100)]
    assert len(set(colors)) == 100


def test_a_provider_has_a_hue_that_is_seen_by_day_and_by_night() -> None:
    """The hues of a provider lie within 40 degrees, and are neither white nor black."""
    for provider in [*TYPES, "openai-research", "a gateway"]:
        hue, _ = hue_and_lightness(color_of(provider, "first"))
        for number in range(50):
            other, lightness = hue_and_lightness(color_of(provider, str(number)))
            assert min(abs(hue - other), 360 - abs(hue - other)) <= 40
            assert 0.34 <= lightness <= 0.62


@pytest.mark.parametrize(
    ("provider", "first", "second"),
    [
        ("azure", "#488ade", "#4198dc"),
        ("bedrock", "#c4692a", "#e07f28"),
        ("bedrock-mantle", "#28b5da", "#5193ca"),
        ("fireworks", "#dc3c79", "#a6137d"),
        ("mistral", "#c74923", "#cc3b15"),
        ("nebius", "#b2d65c", "#a69925"),
        ("openai", "#0eb761", "#34d7a8"),
        ("prime", "#c85044", "#dc6748"),
        ("together", "#8134cb", "#5e10a9"),
        ("vertex", "#354ce7", "#212a9d"),
        ("a gateway", "#5ec9b9", "#0fc3b4"),
    ],
)
def test_a_release_changes_no_color(provider: str, first: str, second: str) -> None:
    """Colors stay the same across releases, so that new runs match old ones."""
    assert color_of(provider, "ftjob-1") == first
    assert color_of(provider, "ftjob-2") == second


def test_two_providers_differ() -> None:
    """The middles of two providers' hues are at least ten degrees apart."""

    def middle(provider: str) -> float:
        hues = [hue_and_lightness(color_of(provider, str(n)))[0] for n in range(400)]
        turned = sum(cmath.exp(1j * math.radians(hue)) for hue in hues)
        return math.degrees(cmath.phase(turned)) % 360

    middles = sorted(middle(kind) for kind in TYPES)
    gaps = [right - left for left, right in itertools.pairwise([*middles, middles[0] + 360])]
    assert min(gaps) >= 10
