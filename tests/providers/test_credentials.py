"""Credentials and training data in replies, which never leave a provider."""

from __future__ import annotations

import json

import pytest

from bridge.providers.credentials import is_credential, published, scalars
from bridge.providers.raw_replies import documents
from bridge.redaction import MASK
from tests.support.contract import every_kind, listed, read
from tests.support.wires import WIRES

SECRET = "s3cr3t-of-a-third-party"
TEXT = "the-user-s-own-words"
NAMES = [
    *("api_key", "apiKey", "API-KEY", "wandb_api_key", "hf_token", "HF_TOKEN", "token", "secret"),
    *("client_secret", "password", "Authorization", "credentials", "accessToken", "private_key"),
    *("aws_secret_access_key", "wandbKey", "metricsFileSignedUrl", "api_keys", "master_key"),
    *("Ocp-Apim-Subscription-Key", "ssh_key", "pwd", "passcode", "jwt", "bearer", "basic_auth"),
    *("slack_webhook", "webhookUrl", "service_account_json", "personal_access_pat"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_credential_is_known_by_its_name(name: str) -> None:
    """A credential is recognized by its name, in any case, at any depth, whatever its value."""
    assert is_credential(name, SECRET)
    reply = {"a": [{"b": {name: SECRET}}], name: {"value": SECRET}, "c": {name: [SECRET]}}
    assert SECRET not in json.dumps(published(reply))
    assert scalars({name: SECRET, "epochs": 3}) == {"epochs": 3}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("trained_tokens", 5), ("token_count", 5), ("max_tokens", 5), ("max_token", 5)),
        *(("eos_token", "</s>"), ("special_tokens", ["<s>"]), ("nextPageToken", "abc")),
        *(("token", None), ("api_key", ""), ("has_secret", True), ("tokenizer", "llama")),
        *(("key", "team"), ("monkey", "x"), ("password_hint", "x"), ("kms_key_id", "arn:aws:kms")),
    ],
)
def test_other_fields_stay(name: str, value: object) -> None:
    """Other fields stay: counts, tokenizer marks, cursors, and empty values."""
    assert published({name: value}) == {name: value}


@pytest.mark.parametrize("label", ["name", "key", "variable"])
def test_a_credential_is_known_by_the_name_beside_it(label: str) -> None:
    """A credential is recognized by the name beside it in a list of variables or headers."""
    reply = {"env": [{label: "HF_TOKEN", "value": SECRET}, {label: "EPOCHS", "value": "3"}]}
    assert published(reply) == {
        "env": [{label: "HF_TOKEN", "value": MASK}, {label: "EPOCHS", "value": "3"}]
    }


def test_rows_of_training_data_are_left_out() -> None:
    """Rows of training data are left out, and messages about a job stay."""
    reply = {
        "tuningDataStats": {"count": 2, "userDatasetExamples": [{"parts": [{"text": TEXT}]}]},
        "dataset_examples": [{"messages": [{"content": TEXT}]}],
        "messages": [{"role": "user", "content": TEXT}],
        "message": "Step 1",
        "num_examples": 2,
    }
    assert published(reply) == {
        "tuningDataStats": {"count": 2},
        "message": "Step 1",
        "num_examples": 2,
    }


def test_documents_are_published() -> None:
    """Documents are masked in each row of each list."""
    kept = documents({"token": SECRET}, [], events=[{"data": {"hf_token": SECRET}}, "x"])
    assert json.loads(kept["job.json"]) == {"token": "***"}
    assert kept["events.jsonl"].decode().splitlines() == ['{"data":{"hf_token":"***"}}', '"x"']


@every_kind
def test_no_credential_of_a_reply_leaves_a_provider(kind: str) -> None:
    """No credential of a reply reaches a value or a document, wherever a server puts it."""
    foreign = {name: SECRET for name in NAMES if "Signed" not in name}
    api = WIRES[kind]()
    api.fill(3)
    (row,) = api.jobs
    assert isinstance(row, dict)
    nested = {"wandb": foreign, "list": [foreign], "userDatasetExamples": [TEXT]}
    row = row | foreign | {"integrations": [nested], "wandbConfig": foreign, "metadata": foreign}
    chosen = row.get(api.params_key)
    row |= {api.params_key: {**chosen, **foreign}} if isinstance(chosen, dict) else {}
    api.jobs = [row | {api.status_key: api.succeeded}]
    provider = api.provider()
    for job in (*listed(provider), None):
        snapshot = read(provider, job=job, keep=True)
        assert snapshot.documents
        for shown in (snapshot.job.params, snapshot.job.metadata, snapshot, snapshot.documents):
            assert SECRET not in repr(shown)
            assert TEXT not in repr(shown)
