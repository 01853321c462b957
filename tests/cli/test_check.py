"""``ftbridge check``: it finds troubles, names the remedies, and writes nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from bridge.simulator import Intercept, Reply, Request, Simulator, json_reply
from tests.support.config_file import simulated, write_config
from tests.support.ports import free_port
from tests.support.processes import invoke, run
from tests.support.world import KEY, job

HTML = Reply(headers={"Content-Type": "text/html"}, body=b"<html><body>Welcome</body></html>")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Enter an empty working folder."""
    (tmp_path / "work").mkdir()
    with contextlib.chdir(tmp_path / "work"):
        yield tmp_path / "work"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Return a provider with one job and one key."""
    with Simulator(jobs=[job("ftjob-a")], api_key=KEY) as running:
        yield running


def answering(reply: Reply) -> Simulator:
    """Return a server that gives one reply to everything."""

    def answer(request: Request) -> Reply:
        del request
        return reply

    return Simulator(intercept=answer)


def environ(base_url: str, uri: str, **more: str) -> dict[str, str]:
    """Return an environment with one provider and one tracking store."""
    return {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": base_url,
        "MLFLOW_TRACKING_URI": uri,
        # The troubles of a test are permanent, so that retries are pointless.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    } | more


def check(variables: Mapping[str, str], *options: str) -> tuple[int, str]:
    """Return exit code and output of ``ftbridge check``, which never ends in a traceback."""
    result = invoke("check", *options, env=variables)
    assert isinstance(result.exception, SystemExit | None), repr(result.exception)
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout + result.stderr


PROVIDER_NAMES = {"FTBRIDGE_METRIC_NAMES": "provider"}
"""Explicit names get advice; ``auto`` finds them by itself."""


def line_of(subject: str, text: str) -> str:
    """Return the line on one subject."""
    # Advice on the same subject comes after it.
    line, *_ = [line for line in text.splitlines() if line[2:].startswith(f"{subject}: ")]
    return line


# All well


def test_all_well_is_exit_code_0(simulator: Simulator, uri: str) -> None:
    """Configuration, provider and MLflow each get a line, and the exit code is 0."""
    code, text = check(environ(simulator.openai_url, uri))
    assert code == 0
    for subject in ("configuration", "openai", "mlflow"):
        assert line_of(subject, text).startswith("✓")
    assert simulator.openai_url in text
    assert uri in text


def test_all_well_as_json(simulator: Simulator, uri: str) -> None:
    """``--json`` is one document with the same findings."""
    result = invoke("check", "--json", env=environ(simulator.openai_url, uri))
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["ok"] is True
    assert [(each["subject"], each["ok"], each["advice"]) for each in document["checks"]] == [
        ("configuration", True, False),
        ("openai", True, False),
        ("openai", True, True),  # when OpenAI's fine-tuning ends
        ("mlflow", True, False),
    ]


def test_every_provider_is_checked(simulator: Simulator, uri: str) -> None:
    """One provider's trouble hides neither another's good health nor MLflow's."""
    variables = environ(
        f"http://127.0.0.1:{free_port()}/v1",
        uri,
        MISTRAL_API_KEY=KEY,
        MISTRAL_BASE_URL=simulator.mistral_url,
    )
    code, text = check(variables)
    assert code == 1
    marks = {name: line_of(name, text)[0] for name in ("openai", "mistral", "mlflow")}
    assert marks == {"openai": "✗", "mistral": "✓", "mlflow": "✓"}


# Providers


def provider_finding(base_url: str, uri: str, **more: str) -> str:
    """Return the finding about an unhealthy provider; the JSON document has the same."""
    variables = environ(base_url, uri, **more)
    code, text = check(variables)
    assert code == 1
    assert line_of("mlflow", text).startswith("✓")
    line = line_of("openai", text)
    assert line.startswith("✗")
    code, document = check(variables, "--json")
    assert code == 1
    finding = next(each for each in json.loads(document)["checks"] if each["subject"] == "openai")
    assert finding["ok"] is False
    assert " ".join(finding["what"].split()).rstrip(".") in line
    assert finding["remedy"].rstrip(".") in line
    assert finding["remedy"], "nothing says what to do"
    return line


def test_a_wrong_key(simulator: Simulator, uri: str) -> None:
    """A refused key is reported as refused, and is not shown."""
    line = provider_finding(simulator.openai_url, uri, OPENAI_API_KEY="sk-mistyped-key")
    assert "refused the API key (401)" in line
    assert "Check api_key" in line
    assert "sk-mistyped-key" not in line


def test_a_key_without_permission(uri: str) -> None:
    """A key without the permission to read jobs differs from a wrong key."""
    reply = json_reply({"error": {"message": "Missing scopes: api.fine_tuning.jobs.read"}}, 403)
    with answering(reply) as server:
        line = provider_finding(server.openai_url, uri)
    assert "(403)" in line
    assert "Missing scopes: api.fine_tuning.jobs.read" in line
    assert "permission to read fine-tuning jobs" in line


def test_a_closed_port(uri: str) -> None:
    """A host that refuses connections cannot be reached."""
    url = f"http://127.0.0.1:{free_port()}/v1"
    line = provider_finding(url, uri)
    assert f"{url} cannot be reached" in line
    assert "Check base_url, the network" in line


def test_a_name_that_does_not_resolve(uri: str) -> None:
    """A host without an address cannot be reached."""
    line = provider_finding("https://no-such-host.invalid/v1", uri)
    assert "https://no-such-host.invalid/v1 cannot be reached" in line
    assert "Check base_url" in line


def test_a_wrong_path(simulator: Simulator, uri: str) -> None:
    """A 404 means that the base URL is wrong, and the finding says how a base URL ends."""
    wrong = f"{simulator.url}/openai"
    line = provider_finding(wrong, uri)
    assert "404" in line
    assert f"Correct base_url ({wrong})" in line
    assert "before /fine_tuning/jobs" in line


@pytest.mark.parametrize(
    "reply",
    [
        HTML,
        Reply(headers={"Content-Type": "text/plain"}, body=b"ok"),
        Reply(body=b""),
        json_reply([]),
        json_reply({}),
        json_reply({"status": "ok"}),
        json_reply({"data": "none"}),
        Reply(status=302, headers={"Location": "https://login.example/"}),
    ],
    ids=["html", "text", "nothing", "list", "empty", "other", "no list", "redirect"],
)
def test_a_server_that_is_no_provider(reply: Reply, uri: str) -> None:
    """A page that answers, but not as the API does, points to the base URL."""
    with answering(reply) as server:
        line = provider_finding(server.openai_url, uri)
    assert "base_url" in line


def test_a_reply_beyond_reason(uri: str) -> None:
    """A reply that no parser can follow is a finding, not a crash."""
    deep = Reply(headers={"Content-Type": "application/json"}, body=b"[" * 200_000)
    with answering(deep) as server:
        code, text = check(environ(server.openai_url, uri))
    assert code == 1
    assert line_of("openai", text).startswith("✗")


def test_a_service_that_has_ended(uri: str) -> None:
    """A withdrawn API is reported as withdrawn."""
    with answering(json_reply({"message": "Gone"}, 410)) as server:
        assert "withdrawn" in provider_finding(server.openai_url, uri)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, {"error": {"message": "Not for you", "code": "training_not_available"}}),
        (422, {"detail": "Fine-tuning is deprecated and no longer supported"}),
    ],
)
def test_a_service_that_is_not_for_this_account_any_more(
    uri: str, status: int, body: object
) -> None:
    """An account that lost the service learns what happened and what stays."""
    with answering(json_reply(body, status)) as server:
        line = provider_finding(server.openai_url, uri)
    assert "no longer offers" in line
    assert "Recorded runs stay in MLflow" in line


def test_an_empty_account(uri: str) -> None:
    """An exhausted quota is reported at once."""
    body = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    with answering(json_reply(body, 429)) as server:
        line = provider_finding(server.openai_url, uri)
        assert len(server.requests) == 2, "one for each form of the output: no retry"
    assert "Top up" in line


def test_a_server_that_fails(uri: str) -> None:
    """A 500 is the provider's trouble, reported without eight attempts."""
    with answering(json_reply({}, 500)) as server:
        line = provider_finding(server.openai_url, uri)
        assert len(server.requests) == 4
    assert "answered 500" in line


@pytest.mark.parametrize("key", ["sk-a-secret-key\n", "sk-a-secret-\x01key", "sk-a-secret-kéy…"])
def test_a_key_that_cannot_be_sent_is_not_shown(simulator: Simulator, uri: str, key: str) -> None:
    """A key with a stray line break or sign is a finding that does not show it."""
    code, text = check(environ(simulator.openai_url, uri, OPENAI_API_KEY=key))
    # A configuration that accepts the key and strips it is as good.
    assert code in {1, 2}
    assert "a-secret" not in text


def test_a_password_in_the_base_url_is_not_shown(uri: str) -> None:
    """A password in the base URL is never shown, however short it is."""
    for password in ("pw1", "a-longer-password"):
        url = f"http://user:{password}@127.0.0.1:{free_port()}/v1"
        assert f":{password}@" not in provider_finding(url, uri)


def test_a_provider_that_repeats_the_key_does_not_show_it(uri: str) -> None:
    """A key that the provider sends back is masked."""
    with answering(json_reply({"error": {"message": f"Incorrect key {KEY}"}}, 401)) as server:
        line = provider_finding(server.openai_url, uri)
    assert KEY not in line
    assert "Incorrect key ***" in line


def test_a_providers_words_are_harmless(uri: str) -> None:
    """Markup and terminal escapes in a provider's message are shown, not obeyed."""
    said = "[red]x[/red] [/] [link=http://evil]y \x1b[2J\x1b]0;title\x07 \u202e end"
    with answering(json_reply({"error": {"message": said}}, 403)) as server:
        line = provider_finding(server.openai_url, uri)
    assert "[red]x[/red] [/] [link=http://evil]y" in line
    assert not {"\x1b", "\x07", "\u202e"} & set(line)


# MLflow


def mlflow_finding(simulator: Simulator, uri: str, **more: str) -> str:
    """Return the finding about an unhealthy MLflow."""
    code, text = check(environ(simulator.openai_url, uri, **more))
    assert code == 1
    assert line_of("openai", text).startswith("✓")
    line = line_of("mlflow", text)
    assert line.startswith("✗")
    return line


def test_no_mlflow_there(simulator: Simulator) -> None:
    """A closed port means an MLflow to start, or an address to correct."""
    url = f"http://127.0.0.1:{free_port()}"
    line = mlflow_finding(simulator, url)
    assert f"MLflow at {url} cannot be reached" in line
    assert "Start it, or correct mlflow.tracking_uri" in line


def test_an_mlflow_that_wants_a_login(simulator: Simulator) -> None:
    """A 401 names the variables for the credentials."""
    with answering(json_reply({"error_code": "UNAUTHENTICATED", "message": "?"}, 401)) as server:
        json_line = mlflow_finding(simulator, server.url)
    page = Reply(status=401, headers={"WWW-Authenticate": "Basic"}, body=b"Not authenticated")
    with answering(page) as server:
        plain_line = mlflow_finding(simulator, server.url)
    for line in (json_line, plain_line):
        assert "(401)" in line
        assert "MLFLOW_TRACKING_USERNAME" in line


def test_an_mlflow_that_refuses(simulator: Simulator) -> None:
    """A 403 is a matter of permission, not of the address."""
    body = {"error_code": "PERMISSION_DENIED", "message": "Permission denied"}
    with answering(json_reply(body, 403)) as server:
        json_line = mlflow_finding(simulator, server.url)
    page = Reply(status=403, body=b"Invalid Host header - possible DNS rebinding attack detected")
    with answering(page) as server:
        plain_line = mlflow_finding(simulator, server.url)
    for line in (json_line, plain_line):
        assert "denied access" in line
        assert "permission" in line


@pytest.mark.parametrize(
    "reply",
    [HTML, Reply(status=404, headers=HTML.headers, body=HTML.body), json_reply({"a": 1}, 404)],
    ids=["page", "no page", "another API"],
)
def test_a_server_that_is_no_mlflow(simulator: Simulator, reply: Reply) -> None:
    """A server that is something other than MLflow is reported as such."""
    with answering(reply) as server:
        line = mlflow_finding(simulator, server.url)
        assert f"{server.url} is not an MLflow server" in line
    assert "Correct mlflow.tracking_uri" in line


@pytest.mark.parametrize(
    "uri",
    ["ftp://host/mlflow", "mongodb://host/db", "http://", "postgresql://user:pw@host:port/db"],
)
def test_an_address_that_is_no_tracking_store(simulator: Simulator, uri: str) -> None:
    """An unknown scheme is reported with the schemes that MLflow knows."""
    line = mlflow_finding(simulator, uri)
    assert "mlflow.tracking_uri" in line
    assert ":pw@" not in line


def test_an_address_that_nobody_can_read(simulator: Simulator) -> None:
    """Broken brackets in the address are a problem with a sentence, not a traceback."""
    code, text = check(environ(simulator.openai_url, "http://[bad"))
    assert code in {1, 2}
    assert "tracking_uri" in text


def test_a_password_in_mlflows_address_is_not_shown(simulator: Simulator) -> None:
    """A password in MLflow's address is never shown, even in MLflow's own message."""
    for password in ("pw1", "a-longer-password"):
        url = f"http://user:{password}@127.0.0.1:{free_port()}"
        line = mlflow_finding(simulator, url)
        assert f":{password}@" not in line
        assert "user:***@" in line


def test_an_mlflow_that_repeats_the_token_does_not_show_it(simulator: Simulator) -> None:
    """A token that the server sends back is masked."""
    body = {"error_code": "PERMISSION_DENIED", "message": "No rights for token-of-mlflow"}
    with answering(json_reply(body, 403)) as server:
        line = mlflow_finding(simulator, server.url, MLFLOW_TRACKING_TOKEN="token-of-mlflow")
    assert "token-of-mlflow" not in line
    assert "No rights for ***" in line


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://user:hunter2-pw@127.0.0.1:{}/db",
        "postgresql://127.0.0.1:{}/db?user=user&password=hunter2-pw",
    ],
)
def test_a_database_that_does_not_listen(folder: Path, address: str) -> None:
    """A PostgreSQL that is down is reported within seconds, without its password."""
    port = free_port()
    with answering(json_reply({"data": [], "has_more": False})) as server:
        variables = environ(server.openai_url, address.format(port))
        done = run("check", cwd=folder, env=variables)
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "hunter2" not in output
    line = line_of("mlflow", output)
    assert "cannot be reached" in line
    assert f"127.0.0.1:{port}" in line
    assert "Start it, or correct mlflow.tracking_uri" in line


def test_a_deleted_experiment(simulator: Simulator, uri: str) -> None:
    """A deleted experiment is reported with the way to restore it."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment_id = client.create_experiment("hosted-fine-tunes")
    client.delete_experiment(experiment_id)
    line = mlflow_finding(simulator, uri)
    assert "'hosted-fine-tunes' is deleted" in line
    assert f"mlflow experiments restore -x {experiment_id}" in line


def test_a_database_in_a_folder_that_does_not_exist(simulator: Simulator, folder: Path) -> None:
    """A database that could not be created later is reported now."""
    line = mlflow_finding(simulator, f"sqlite:///{folder}/no/such/folder/mlflow.db")
    assert "no/such/folder" in line


def test_a_file_that_is_no_database(simulator: Simulator, folder: Path) -> None:
    """Another file in the database's place is reported, and left as it is."""
    path = folder / "mlflow.db"
    path.write_text("these are notes, not a database\n" * 100)
    before = path.read_bytes()
    mlflow_finding(simulator, f"sqlite:///{path}")
    assert path.read_bytes() == before


# Charts

TRANSFORMERS = ("loss", "eval_loss", "train_loss", "train_runtime")
LIGHTNING = ("train_loss", "val_loss")


def train_locally(
    uri: str, *metrics: str, experiment: str = "hosted-fine-tunes", **tags: str
) -> None:
    """Log a run with these metrics, as a trainer would."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    run = client.create_run(experiment_id, tags=tags)
    for name in metrics:
        client.log_metric(run.info.run_id, name, 0.5, step=1)


def configured(folder: Path, base_url: str, uri: str, **mlflow: object) -> dict[str, str]:
    """Return an environment with a configuration file; ``mlflow`` is more of its section."""
    path = write_config(folder.parent, uri, {"openai": base_url}, mlflow=mlflow)
    return {"FTBRIDGE_CONFIG": str(path)}


def test_local_runs_with_other_names(simulator: Simulator, uri: str) -> None:
    """Advice on names has a separate mark, the setting to use, and exit code 0."""
    train_locally(uri, *TRANSFORMERS)
    code, text = check(environ(simulator.openai_url, uri) | PROVIDER_NAMES)
    assert code == 0
    assert line_of("mlflow", text).startswith("✓")
    assert line_of("charts", text) == (
        "! charts: local runs in 'hosted-fine-tunes' log loss, eval_loss."
        " Set mlflow.metric_names: huggingface, then ftbridge backfill --rename, to put hosted"
        " curves on the same charts."
    )


def test_advice_as_json(simulator: Simulator, uri: str) -> None:
    """Advice in the document is a healthy finding with the advice."""
    train_locally(uri, *LIGHTNING)
    code, text = check(environ(simulator.openai_url, uri) | PROVIDER_NAMES, "--json")
    assert code == 0
    document = json.loads(text)
    assert document["ok"] is True
    marks = {(each["subject"], each["ok"], each["advice"]) for each in document["checks"]}
    assert marks == {
        ("configuration", True, False),
        ("openai", True, False),
        ("openai", True, True),  # when OpenAI's fine-tuning ends
        ("mlflow", True, False),
        ("charts", True, True),
    }
    assert "metric_names: lightning" in document["checks"][-1]["remedy"]


def test_advice_hides_no_trouble(uri: str) -> None:
    """A provider in trouble decides the exit code in spite of advice."""
    train_locally(uri, *TRANSFORMERS)
    code, text = check(environ(f"http://127.0.0.1:{free_port()}/v1", uri) | PROVIDER_NAMES)
    assert code == 1
    assert line_of("openai", text).startswith("✗")
    assert line_of("charts", text).startswith("!")


@pytest.mark.parametrize(
    ("names", "is_advised"),
    [
        ("huggingface", False),
        ({"train_loss": "loss", "full_valid_loss": "eval_loss"}, False),
        ({"train_loss": "loss"}, True),
        ("torchtune", True),
        ("lightning", True),
    ],
)
def test_names_that_are_right_already(
    simulator: Simulator, uri: str, folder: Path, names: object, *, is_advised: bool
) -> None:
    """Names that share as many charts as the best preset get no advice."""
    train_locally(uri, *TRANSFORMERS)
    variables = configured(folder, simulator.openai_url, uri, metric_names=names)
    code, text = check(variables)
    assert code == 0
    assert ("charts" in text) == is_advised
    assert ("huggingface" in text) == is_advised


def test_no_local_runs(simulator: Simulator, uri: str) -> None:
    """Hosted jobs, runs without metrics and other experiments' runs do not count as local runs."""
    train_locally(uri, *TRANSFORMERS, fine_tuning_provider="other", fine_tuning_job_id="ftjob-b")
    train_locally(uri)
    train_locally(uri, *TRANSFORMERS, experiment="elsewhere")
    code, text = check(environ(simulator.openai_url, uri))
    assert code == 0
    assert "charts" not in text


def test_an_experiments_name_is_harmless(simulator: Simulator, uri: str, folder: Path) -> None:
    """Markup and control characters in an experiment's name are shown, not obeyed."""
    name = "[red]x[/] \x1b[2J"
    train_locally(uri, *TRANSFORMERS, experiment=name)
    variables = configured(folder, simulator.openai_url, uri, experiment=name)
    code, text = check(variables | PROVIDER_NAMES)
    assert code == 0
    assert "[red]x[/]" in line_of("charts", text)
    assert "\x1b" not in text


# No writes


def test_a_missing_database_is_fine_and_stays_missing(simulator: Simulator, folder: Path) -> None:
    """A missing database is healthy and stays missing: the first write would create it."""
    code, text = check(environ(simulator.openai_url, f"sqlite:///{folder}/mlflow.db"))
    assert code == 0
    assert "experiment hosted-fine-tunes, which will be created" in line_of("mlflow", text)
    assert "Next: ftbridge backfill" in text
    assert list(folder.iterdir()) == []


def test_nothing_is_written(simulator: Simulator, uri: str, folder: Path) -> None:
    """Neither a run nor an experiment is created, nor a file beside the database."""
    code, text = check(environ(simulator.openai_url, uri))
    assert code == 0
    assert "will be created" in line_of("mlflow", text)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    assert [each.name for each in client.search_experiments()] == ["Default"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("parameters", ["?timeout=30", "?check_same_thread=false"])
def test_a_database_with_parameters_is_found(
    simulator: Simulator, uri: str, parameters: str
) -> None:
    """Parameters after the file's name do not hide the database."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_experiment("hosted-fine-tunes")
    code, text = check(environ(simulator.openai_url, uri + parameters))
    assert code == 0
    assert "will be created" not in line_of("mlflow", text)


def test_a_plain_folder_is_not_created(simulator: Simulator, folder: Path) -> None:
    """A path as tracking store is refused by MLflow, and not created."""
    mlflow_finding(simulator, "./mlruns")
    assert list(folder.iterdir()) == []


# The whole document


def test_trouble_everywhere_is_one_document(folder: Path) -> None:
    """With everything broken, stdout still holds one JSON document and nothing else."""
    url = f"http://127.0.0.1:{free_port()}"
    variables = environ(f"{url}/v1", url, MISTRAL_API_KEY="k" * 20, MISTRAL_BASE_URL=f"{url}/v1")
    done = run("check", "--json", cwd=folder, env=variables)
    assert done.returncode == 1
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["ok"] is False
    assert {each["subject"]: each["ok"] for each in document["checks"]} == {
        "configuration": True,
        "openai": False,
        "mistral": False,
        "mlflow": False,
    }
    assert all(each["remedy"] for each in document["checks"] if not each["ok"])


# The curves


def refused_by_s3(request: Request) -> Reply | None:
    """Refuse everything but the jobs: a bucket that only its owner can read."""
    body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    is_job = "/model-customization-jobs" in request.path
    return None if is_job else Reply(status=403, body=body)


@pytest.mark.parametrize("intercept", [None, refused_by_s3])
def test_files_that_are_refused_are_named_with_the_policy_to_add(
    folder: Path, uri: str, intercept: Intercept | None
) -> None:
    """Refused files of the newest job are reported with the policy to add."""
    with Simulator(jobs=[job("abcdefghijkl", "bedrock")], intercept=intercept) as simulator:
        providers = simulated(simulator, "bedrock", auth="aws", region="us-east-1", api_key=None)
        path = write_config(folder.parent, uri, providers)
        keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": KEY}
        code, text = check(keys, "-c", str(path))
    assert code == 0
    advice = [line for line in text.splitlines() if line.startswith("! bedrock: ")]
    assert len(advice) == (intercept is not None)
    for line in advice:
        assert "metrics file" in line
        assert '"Action": ["s3:ListBucket", "s3:GetObject"]' in line
        assert "arn:aws:s3:::" in line
