"""Credentials inside text, recognized by their form, and harmless text that looks like them."""

from __future__ import annotations

import pytest

from bridge.credential_forms import masked
from bridge.providers.credentials import is_credential, published, scalars
from bridge.redaction import MASK
from tests.support.contract import every_kind, listed, read
from tests.support.wires import WIRES

HEX = "0123456789abcdef" * 2 + "01234567"
SECRETS = [
    ("Authorization: Bearer {}", "x"),
    ("Authorization: Bearer {}", "abcdef"),
    ('{{"Authorization": "Basic {}"}}', "dXNlcjpwYXNz"),
    ("authorization=token {} was refused", "abc.def"),
    ("sent with bearer {}", "abc123def456"),
    ("GET https://api.example.com/v1?api_key={}&page=2", "hunter2"),
    ("https://s.example.com/a?a=b&access_token={}", "abc"),
    ("https://s.example.com/a?sig={}", "Zm9v%2Fbar%3D"),
    ("https://s.example.com/a?X-Amz-Credential={}&X-Amz-Date=1", "ASIA%2F20250101%2Fus"),
    ("https://user:{}@git.example.com/team/data.git", "p4ss-word"),
    ("postgresql://bot:{}@db:5432/mlflow", "hunter"),
    ("export WANDB_API_KEY={}", "abc123def"),
    ('{{"client_secret": "{}"}}', "abc123def"),
    ("password: {}", "hunter2"),
    ("no access to the data with {}", "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"),
    ("Incorrect API key provided: {}.", "sk-abcdefghijklmnop1234"),
    ("key {} has no access", "sk-proj-Abc1Def2Ghi3Jkl4_mno-pqr"),
    ("key {} has no access", "sk-ant-api03-Abc1Def2Ghi3Jkl4Mno5"),
    ("denied for {}", "AKIAIOSFODNN7EXAMPLE"),
    ("cloned with {}", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    ("cloned with {}", "github_pat_11ABCDEFG0123456789_abcdefgh"),
    ("cloned with {}", "glpat-abcdefghij0123456789"),
    ("posted with {}", "xoxb-1234567890-abcdef"),
    ("asked with {}", "AIzaSyA-1234567890abcdefghijklmnopqrstu"),
    ("wandb API key: {}", HEX),
    ("wandb.login(key='{}')", HEX),
    ("WANDB_API_KEY={}", HEX),
    ("signed in with {}", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
]
HARMLESS = [
    *("my-dataset-v2.jsonl", "hf_dataset_name", "org/hf_finetune_mix-2024", "task-classification"),
    *("sk-learn-pipelines", "risk-model-2024-10-31", "disk-snapshot-0123456789abcdef"),
    *("ft:gpt-4o-mini-2024-07-18:acme:support-bot:9AbCdEfG", "ftjob-AbCdEf0123456789"),
    *(HEX, f"sha1 {HEX}", f"file hash: {HEX}", f"commit {HEX} of the token counter"),
    *("sha256:" + HEX + HEX[:24], "projects/123/locations/us-central1/tuningJobs/456"),
    *("Invalid API key.", "The token is missing", "Bearer token is missing", "bearer of news"),
    *("Authorization: Bearer tokens have expired", "Authorization failed", "Basic understanding"),
    *("10 tokens per second", "max_tokens: 4096", "eos_token=</s>", "pad_token: <pad0001>"),
    *("https://api.example.com/v1/files?page=2&limit=10", "https://host:8080/path", "a@b.example"),
    *("https://hf.example/datasets/a/b?revision=main", "s3://bucket/key=2024/part-1.csv"),
    *(
        "arn:aws:bedrock:us-east-1:123456789012:custom-model/a",
        "keyword: 1234567",
        "monkey=1234567",
    ),
    *("password is too short", "passwd: required", "a passing test", "the secret of AKIA"),
    *("ratio 3:4 @ 10", "user@host:22", "https://example.com/@user:1"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_credential_is_known_by_its_form(text: str, secret: str) -> None:
    """A credential is masked in text, and the text around it stays."""
    said = text.format(secret)
    assert masked(said) == text.format(MASK)
    assert published({"message": [said]}) == {"message": [text.format(MASK)]}
    assert scalars({"note": said}) == {"note": text.format(MASK)}


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_stays(text: str) -> None:
    """Names of data, hashes, addresses and sentences about keys stay as they are."""
    assert masked(text) == text
    assert published({"message": text}) == {"message": text}


@pytest.mark.parametrize(
    "name", ["auth", "AUTH", "pass", "pat", "team_pat", "wandb-auth", "db_pass"]
)
def test_a_short_name_of_a_credential_counts_with_a_text(name: str) -> None:
    """A short name counts with a text; a count, a flag or a kind of login stays."""
    assert is_credential(name, "hunter")
    harmless = ({"type": "none"}, 3, True, None, "bearer", "none", "OAuth2")
    assert not any(is_credential(name, value) for value in harmless)


@pytest.mark.parametrize(
    "name", ["compass", "bypass", "spat", "first_pass", "oauth", "author", "path"]
)
def test_a_name_that_ends_like_a_short_one_stays(name: str) -> None:
    """A name that only ends like a credential's keeps its value."""
    assert not is_credential(name, "hunter")


@every_kind
def test_no_credential_in_the_text_of_a_reply_leaves_a_provider(kind: str) -> None:
    """No credential in a note, a param or a message reaches a param, a label or a document."""
    secret = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
    api = WIRES[kind]()
    api.fill(3)
    (row,) = api.jobs
    assert isinstance(row, dict)
    notes = {"note": f"made with {secret}", "message": [secret]}
    row = row | notes | {"metadata": notes, "labels": notes, "integrations": [notes]}
    chosen = row.get(api.params_key)
    row |= {api.params_key: {**chosen, **notes}} if isinstance(chosen, dict) else {}
    api.jobs = [row | {api.status_key: api.succeeded}]
    provider = api.provider()
    for job in (*listed(provider), None):
        snapshot = read(provider, job=job, keep=True)
        assert snapshot.documents
        for shown in (snapshot.job.params, snapshot.job.metadata, snapshot.documents):
            assert secret not in repr(shown)
