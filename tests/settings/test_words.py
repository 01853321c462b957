"""Additions to a provider: parameters of each address, words for statuses, and prices."""

from __future__ import annotations

from typing import get_args

import pytest

from bridge.bootstrap.factories import query_of, recording_options_of, statuses_of
from bridge.model import JobStatus
from bridge.settings.provider import Status
from tests.support.configuration import loaded, problems

ONE = "providers: [{name: a, type: openai, api_key: some-key, %s}]"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))


def test_words_of_a_server_become_statuses() -> None:
    """A configured word can mean any status except the unknown one."""
    assert {*get_args(Status), "unknown"} == {status.value for status in JobStatus}
    found = loaded(ONE % "statuses: {finalizing: running, Done: succeeded}").providers[0]
    assert statuses_of(found) == {"finalizing": JobStatus.RUNNING, "Done": JobStatus.SUCCEEDED}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("suceeded", "did you mean succeeded?"),
        ("unknown", "write one of"),
        ("7", "write one of"),
    ],
)
def test_a_status_that_is_none_is_refused(word: str, said: str) -> None:
    """An invalid status is refused with the closest valid one."""
    ((path, what),) = problems(ONE % f"statuses: {{done: {word}}}").items()
    assert "statuses" in path
    assert said in what


def test_parameters_go_with_each_address() -> None:
    """Parameters go with each address, as text even where YAML reads a number or a date."""
    found = loaded(ONE % "query: {custom_llm_provider: openai, v: 1, on: 2024-10-21}").providers[0]
    assert query_of(found) == {"custom_llm_provider": "openai", "v": "1", "on": "2024-10-21"}
    assert "openai" not in repr(found).partition("query")[2]
    azure = loaded(
        "providers: [{name: a, type: azure, api_key: k, base_url: https://a.example/openai,"
        " api_version: 2024-10-21, query: {b: c}}]"
    ).providers[0]
    assert query_of(azure) == {"api-version": "2024-10-21", "b": "c"}


def test_prices_are_amounts_with_currencies() -> None:
    """Prices are amounts with a currency, by model."""
    settings = loaded(ONE % "prices: {gpt-4.1: 25 USD, gpt-4.1-mini: 0.5 EUR}")
    prices = recording_options_of(settings, settings.providers[0]).prices
    assert {model: str(price) for model, price in prices.items()} == {
        "gpt-4.1": "25 USD",
        "gpt-4.1-mini": "0.5 EUR",
    }


@pytest.mark.parametrize("written", ["5", "5 usd", "USD 5", "-5 USD", "1e9 USD", "5  USD", "''"])
def test_a_price_that_is_none_is_refused(written: str) -> None:
    """An invalid price is refused with a valid one."""
    ((path, what),) = problems(ONE % f"prices: {{gpt-4.1: {written}}}").items()
    assert "prices" in path
    assert "5 USD" in what or "string" in what


def test_a_key_among_the_parameters_is_a_secret() -> None:
    """A key among the parameters is a secret by its name, and other values are not."""
    settings = loaded(ONE % "query: {api_key: a-very-secret-key, region: somewhere}")
    secrets = set(settings.secrets({}))
    assert "a-very-secret-key" in secrets
    assert "somewhere" not in secrets
