"""The configuration: its sources, its values, and the reports of its problems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.plan.presets import PRESETS
from bridge.providers.registry import TYPES
from bridge.settings.load import STARTER, load
from tests.support.configuration import KEY, ONE_PROVIDER, OPENAI, key_of, loaded, problems

# Sources


def test_a_file_with_one_provider_gets_the_defaults() -> None:
    """A file with one provider gets the documented defaults."""
    found = loaded("providers: [{name: openai, api_key: some-key}]")
    assert found.mlflow.tracking_uri == "sqlite:///mlflow.db"
    assert found.mlflow.experiment == "hosted-fine-tunes"
    assert found.mlflow.metric_names == "auto"
    assert found.mlflow.curves is True
    assert found.mlflow.archive is True
    assert found.mlflow.archive_datasets is False
    assert found.mlflow.register_as is None
    assert found.mlflow.routes == ()
    assert found.mlflow.open_to_jobs == ()
    assert found.poll.interval == 60
    assert found.poll.workers == 16
    (provider,) = found.providers
    assert (provider.name, provider.type) == ("openai", "openai")
    assert key_of(provider) == "some-key"
    assert provider.base_url == "https://api.openai.com/v1"
    assert provider.experiment is None


def test_everything_in_a_file_is_taken() -> None:
    """Each documented key takes effect."""
    found = loaded(
        """
        mlflow:
          tracking_uri: http://mlflow.internal:5000
          experiment: all-fine-tunes
          metric_names: huggingface
          curves: false
          archive: false
          archive_datasets: true
          register: "{provider}-{suffix}"
          routes:
            - {experiment: support, provider: team-*, base_model: "open-*", suffix: "support-?"}
            - {experiment: the-rest}
          open_to_jobs: [team-*, sandbox]
        poll: {interval: 5m, idle_interval: 1h, workers: 3}
        providers:
          - name: team-a
            type: mistral
            api_key: key-of-team-a
            base_url: https://proxy.internal/mistral/v1
            experiment: team-a
            headers: {X-Team: a}
        """,
        {"MLFLOW_TRACKING_URI": "http://ignored", "MISTRAL_API_KEY": "ignored"},
    )
    assert found.mlflow.tracking_uri == "http://mlflow.internal:5000"
    assert found.mlflow.experiment == "all-fine-tunes"
    assert found.mlflow.metric_names == "huggingface"
    assert found.mlflow.curves is False
    assert found.mlflow.archive is False
    assert found.mlflow.archive_datasets is True
    assert found.mlflow.register_as == "{provider}-{suffix}"
    assert [route.model_dump() for route in found.mlflow.routes] == [
        {
            "experiment": "support",
            "provider": "team-*",
            "base_model": "open-*",
            "suffix": "support-?",
        },
        {"experiment": "the-rest", "provider": "*", "base_model": "*", "suffix": "*"},
    ]
    assert found.mlflow.open_to_jobs == ("team-*", "sandbox")
    poll = found.poll
    assert (poll.interval, poll.idle_interval, poll.workers) == (300, 3600, 3)
    (provider,) = found.providers
    assert (provider.name, provider.type) == ("team-a", "mistral")
    assert key_of(provider) == "key-of-team-a"
    assert provider.base_url == "https://proxy.internal/mistral/v1"
    assert provider.experiment == "team-a"
    assert provider.headers["X-Team"].get_secret_value() == "a"


def test_a_named_path_comes_before_all_others(folder: Path) -> None:
    """The path on the command line comes first, then the variable, then the default file."""
    (folder / "config").mkdir()
    for name in ("option", "variable", "config/bridge"):
        (folder / f"{name}.yaml").write_text(f"mlflow: {{experiment: by-{name}}}")
    environ = OPENAI | {"MLFLOW_EXPERIMENT_NAME": "by-environment"}
    both = environ | {"FTBRIDGE_CONFIG": "variable.yaml"}
    assert load(Path("option.yaml"), both).mlflow.experiment == "by-option"
    assert load(None, both).mlflow.experiment == "by-variable"
    assert load(None, environ).mlflow.experiment == "by-config/bridge"
    (folder / "config/bridge.yaml").unlink()
    assert load(None, environ).mlflow.experiment == "by-environment"


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_file_that_was_asked_for_has_to_exist(*, by_variable: bool) -> None:
    """A path that is named but missing is a problem, and the environment does not replace it."""
    environ = OPENAI | ({"FTBRIDGE_CONFIG": "missing.yaml"} if by_variable else {})
    with pytest.raises(ConfigError, match=r"missing\.yaml.*ftbridge init missing\.yaml"):
        load(None if by_variable else Path("missing.yaml"), environ)


def test_an_empty_variable_names_no_file() -> None:
    """An empty $FTBRIDGE_CONFIG counts as unset."""
    assert load(None, OPENAI | {"FTBRIDGE_CONFIG": ""}).providers[0].name == "openai"


def test_the_file_comes_before_the_environment() -> None:
    """MLflow's variables count only where the file has no value."""
    environ = {"MLFLOW_TRACKING_URI": "http://from-environment", "MLFLOW_EXPERIMENT_NAME": "env"}
    found = loaded(ONE_PROVIDER + "mlflow: {experiment: from-file}", environ)
    assert found.mlflow.tracking_uri == "http://from-environment"
    assert found.mlflow.experiment == "from-file"


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "mlflow:\nproviders:\npoll:\n"])
def test_a_file_may_leave_everything_to_the_environment(text: str) -> None:
    """An empty file, or one whose sections are empty, counts as no file."""
    assert loaded(text, OPENAI) == load(None, OPENAI)


def test_the_starter_file_loads_as_it_is() -> None:
    """The file that ``ftbridge init`` writes loads with nothing but a key in the environment."""
    found = load(STARTER, OPENAI)
    assert found == loaded(ONE_PROVIDER)


def test_the_starter_file_says_which_key_is_missing() -> None:
    """Without a key the starter file has one problem, which names the variable."""
    with pytest.raises(ConfigError) as caught:
        load(STARTER, {})
    (problem,) = caught.value.problems
    assert problem.startswith("providers[0].api_key: ")
    assert "OPENAI_API_KEY" in problem


# Problems


def test_all_problems_are_reported_at_once() -> None:
    """One run reports every problem, each with the key's path."""
    found = problems(
        """
        mlfow: {}
        mlflow: {experiment: '', curves: maybe, metric_names: hugingface}
        poll: {intervall: 60s, interval: soon, workers: many}
        providers:
          - {name: openai, api_key: '', base_url: api.openai.com}
          - {name: 'two words', type: opnai, api_key: some-key}
          - just text
        """
    )
    assert found.keys() == {
        "mlfow",
        "mlflow.experiment",
        "mlflow.curves",
        "mlflow.metric_names",
        "poll.intervall",
        "poll.interval",
        "poll.workers",
        "providers[0].api_key",
        "providers[0].base_url",
        "providers[1].name",
        "providers[1].type",
        "providers[2]",
    }
    assert "did you mean mlflow?" in found["mlfow"]
    assert "did you mean interval?" in found["poll.intervall"]
    assert "60s" in found["poll.interval"]
    assert "huggingface" in found["mlflow.metric_names"]
    assert "https://" in found["providers[0].base_url"]
    assert ", ".join(TYPES) in found["providers[1].type"]
    assert all(found.values())


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ("providr: 1", "providr", "did you mean providers?"),
        ("mlflow: {tracking_url: x}", "mlflow.tracking_url", "did you mean tracking_uri?"),
        ("mlflow: {zzz: x}", "mlflow.zzz", "tracking_uri, experiment"),
        ("mlflow: {registers: true}", "mlflow.registers", "did you mean register?"),
        (
            "mlflow: {routes: [{experiment: a}, {experiment: b, model: x}]}",
            "mlflow.routes[1].model",
            "did you mean base_model?",
        ),
        ("poll: {worker: 3}", "poll.worker", "did you mean workers?"),
        (
            "providers: [{name: openai, api_key: kkk, baseurl: x}]",
            "providers[0].baseurl",
            "did you mean base_url?",
        ),
    ],
)
def test_an_unknown_key_comes_with_the_known_ones(text: str, path: str, hint: str) -> None:
    """A misspelt key is an error that suggests the right one, or lists the known ones."""
    assert hint in problems(text, OPENAI)[path]


def test_two_providers_cannot_share_a_name() -> None:
    """Two providers cannot share a name, because the tag with the name tells them apart."""
    found = problems(
        "providers: [{name: openai, api_key: some-key}, {name: openai, api_key: other-key}]"
    )
    assert found.keys() == {"providers"}


def test_a_key_cannot_be_written_twice() -> None:
    """A key cannot be written twice: YAML would silently drop the first section."""
    found = problems(ONE_PROVIDER + "providers: [{name: mistral, api_key: other-key}]")
    assert any("providers" in f"{path} {what}" for path, what in found.items())
    assert any("duplicate key" in f"{path} {what}" for path, what in found.items())


def test_what_is_merged_may_be_written_again_and_merged_twice() -> None:
    """A key that is written comes before a merged one, and a section can be merged twice."""
    found = loaded(
        "providers:\n"
        "  - &key {name: openai, type: openai, api_key: a-key, interval: 10s}\n"
        "  - &pace {name: other, type: openai, api_key: b-key, requests_per_second: 2}\n"
        "  - {<<: *pace, <<: *key, name: third}\n"
    )
    third = found.providers[2]
    assert (third.name, third.interval, third.requests_per_second) == ("third", 10, 2)
    assert key_of(third) == "a-key"


@pytest.mark.parametrize(
    ("word", "expected"),
    [(word, True) for word in ("true", "yes", "Yes", "on", "TRUE")]
    + [(word, False) for word in ("false", "no", "NO", "off", "Off")],
)
def test_yes_and_no_have_many_words(word: str, *, expected: bool) -> None:
    """All of YAML's words for yes and no are accepted, although ``on`` is a key as well."""
    found = loaded(f"mlflow: {{curves: {word}, register: {word}}}\n{ONE_PROVIDER}").mlflow
    assert found.curves is expected
    assert found.register_as == ("{provider}-{suffix}" if expected else None)


def test_on_is_a_key() -> None:
    """``on`` is a key, although YAML takes it for a truth value."""
    text = "notify: {webhook: 'https://hook.example/a', on: [outage]}\n"
    found = loaded(text + ONE_PROVIDER)
    assert found.notify
    assert found.notify.on == ("outage",)


def test_a_key_that_is_a_number_is_text() -> None:
    """A key that is a number is an unknown key like any other, or a name."""
    found = loaded("providers: [{name: openai, api_key: some-key, headers: {5: x}}]")
    assert found.providers[0].headers.keys() == {"5"}
    assert "7" in problems(f"7: x\n{ONE_PROVIDER}")


def test_an_empty_variable_is_not_set() -> None:
    """An empty variable counts as unset: container files list variables without a value."""
    empty = {"MLFLOW_TRACKING_URI": "", "MLFLOW_EXPERIMENT_NAME": ""}
    assert loaded(ONE_PROVIDER, OPENAI | empty).mlflow == loaded(ONE_PROVIDER, OPENAI).mlflow


@pytest.mark.parametrize(
    "text",
    [
        "providers: [",
        "providers:\n\t- name: openai",
        "a: b: c",
        "api_key: @nothing",
        "a: \x00",
        "? [a, b]\n: c",
        "a: !!python/object/apply:os.getcwd []",
        "a: 2026-99-99",
        "a: 0x_",
        "a: !!int many",
        "a: !!bool perhaps",
        "a: !!timestamp once",
        "a: " + "9" * 5000,
        "mlflow: &again {experiment: *again}",
        "a: &again [*again]",
        "a: " + "[" * 5000,
        "- a list",
        "just text",
        "42",
        "2026-01-31",
    ],
)
def test_a_file_that_is_no_configuration_is_reported_by_its_name(text: str) -> None:
    """Broken YAML, other YAML and impossible values are reported in one sentence with the file."""
    with pytest.raises(ConfigError) as caught:
        loaded(text, OPENAI)
    assert caught.value.problems
    assert all("\n" not in problem for problem in caught.value.problems)


def test_broken_yaml_is_reported_with_its_line() -> None:
    """Broken YAML is reported with its line."""
    with pytest.raises(ConfigError, match=r"written\.yaml .*line 3"):
        loaded("mlflow:\n  experiment: x\n  curves: yes: no\npoll: {}\n")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", b"\x89PNG\r\n\x1a\n\x00", b"a: \xe9"])
def test_a_binary_file_is_no_configuration(folder: Path, content: bytes) -> None:
    """A file that is not text is reported by its name."""
    (folder / "binary.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"binary\.yaml"):
        load(Path("binary.yaml"), OPENAI)


def test_a_folder_is_no_configuration(folder: Path) -> None:
    """A path to a folder is reported by its name."""
    (folder / "folder.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"folder\.yaml"):
        load(Path("folder.yaml"), OPENAI)


# Values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1500ms", 1.5),
        ("30s", 30),
        ("'45'", 45),
        ("45", 45),
        ("2.5", 2.5),
        ("1.5m", 90),
        ("5 m", 300),
        ("' 1h '", 3600),
        ("1d", 86400),
    ],
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    """An interval is a number of seconds, or a number with a unit."""
    assert loaded(ONE_PROVIDER + f"poll: {{interval: {text}}}").poll.interval == seconds


@pytest.mark.parametrize(
    "text",
    ["soon", "''", "60x", "s", "-5s", "0s", "500ms", "2d", "1e3s", "[60]", "null", ".nan", ".inf"],
)
def test_no_other_interval_is_taken(text: str) -> None:
    """An unreadable or unreasonable interval is a problem of its key."""
    assert problems(ONE_PROVIDER + f"poll: {{interval: {text}}}").keys() == {"poll.interval"}


@pytest.mark.parametrize(
    ("poll", "provider", "expected"),
    [
        ("", "", (60, 300)),
        ("interval: 10s", "", (10, 50)),
        ("interval: 5m", "", (300, 600)),
        ("interval: 1h", "", (3600, 3600)),
        ("idle_interval: 1h", "", (60, 3600)),
        ("interval: 5m, idle_interval: 1m", "", (300, 300)),
        ("interval: 1h", "interval: 30s", (30, 150)),
        ("idle_interval: 2m", "interval: 10m", (600, 600)),
        ("idle_interval: 1h", "idle_interval: 1m", (60, 60)),
    ],
)
def test_a_provider_may_have_intervals_of_its_own(
    poll: str, provider: str, expected: tuple[float, float]
) -> None:
    """A provider's intervals come first, and its second is five times the first by default."""
    own = f", {provider}" if provider else ""
    found = loaded(f"poll: {{{poll}}}\nproviders: [{{name: openai, api_key: {KEY}{own}}}]")
    assert found.intervals_of(found.providers[0]) == expected


@pytest.mark.parametrize("text", ["0", "0.09", "-1", "1001", "many", "1/s"])
def test_a_pace_is_a_number_of_requests(text: str) -> None:
    """A pace is a number of requests per second, and at least one in ten seconds."""
    entry = f"{{name: openai, api_key: {KEY}, requests_per_second: {text}}}"
    assert "providers[0].requests_per_second" in problems(f"providers: [{entry}]")


@pytest.mark.parametrize("text", ["0", "65", "-1", "2.5", "many", "null", ".inf", "[8]"])
def test_workers_are_a_small_number(text: str) -> None:
    """The number of workers is a whole one from 1 to 64."""
    assert problems(ONE_PROVIDER + f"poll: {{workers: {text}}}").keys() == {"poll.workers"}


@pytest.mark.parametrize(
    "address", ["auto", "threads", "processes", "dask://scheduler:8786", "dask+tls://[::1]:1"]
)
def test_jobs_are_done_in_threads_or_on_a_cluster(address: str) -> None:
    """Jobs run in threads or on a cluster, which is named by its scheduler."""
    text = f"mlflow: {{tracking_uri: 'http://mlflow:5000'}}\npoll: {{executor: '{address}'}}"
    assert loaded(ONE_PROVIDER + text.replace("http:", "https:")).poll.executor == address


@pytest.mark.parametrize(
    "text",
    [
        *("process", "dask", "dask://", "dask://host", "'dask://host:'", "dask://host:8786/path"),
        *("tcp://host:8786", "dask://me:secret@host:8786", "dask://a b:1", "''", "5", "[x]"),
    ],
)
def test_no_other_executor_is_taken(text: str) -> None:
    """Another executor is refused when the file is read, not by the first pass."""
    assert problems(ONE_PROVIDER + f"poll: {{executor: {text}}}").keys() == {"poll.executor"}


@pytest.mark.parametrize(
    "uri", ["sqlite:///mlflow.db", "sqlite:////data/mlflow.db", "mlruns", "file:///data/mlruns"]
)
def test_a_cluster_does_not_write_to_a_file(uri: str) -> None:
    """A cluster cannot write to a file, because each of its machines would create a database."""
    found = problems(
        f"mlflow: {{tracking_uri: '{uri}'}}\npoll: {{executor: 'dask://h:1'}}\n{ONE_PROVIDER}"
    )
    assert "PostgreSQL" in found["poll"]
    assert "PostgreSQL" in problems(f"poll: {{executor: 'dask://h:1'}}\n{ONE_PROVIDER}")["poll"]


@pytest.mark.parametrize(
    "address",
    ["api.openai.com/v1", "ftp://host/v1", "https://", "'https://[bad/v1'", "''", "5", "[x]"],
)
def test_an_address_has_to_be_one(address: str) -> None:
    """An address that no client can open is a problem, not a later traceback."""
    text = f"providers: [{{name: openai, api_key: some-key, base_url: {address}}}]"
    assert problems(text).keys() == {"providers[0].base_url"}


@pytest.mark.parametrize("key", ["sk-abc…", "sk-äbc", "sk-one\\nsk-two"])
def test_a_key_that_no_header_can_carry_is_a_problem(key: str) -> None:
    """A key with a stray character, which no header can carry, is reported before it is sent."""
    found = problems(f'providers: [{{name: openai, api_key: "{key}"}}]')
    assert found.keys() == {"providers[0].api_key"}


@pytest.mark.parametrize("uri", ["'http://[bad'", "'postgresql://user:pass[word@host/db'"])
def test_a_tracking_uri_with_a_bracket_can_be_worked_with(uri: str) -> None:
    """A tracking URI with a bracket, as in a password, is refused or its secrets are known."""
    try:
        found = loaded(ONE_PROVIDER + f"mlflow: {{tracking_uri: {uri}}}")
    except ConfigError as error:
        assert error.problems[0].startswith("mlflow.tracking_uri: ")  # noqa: PT017 - one of two ways
    else:
        assert KEY in set(found.secrets({}))


@pytest.mark.parametrize("preset", [*PRESETS])
def test_each_preset_of_metric_names_is_taken(preset: str) -> None:
    """Each preset of ``metric_names`` is accepted."""
    found = loaded(ONE_PROVIDER + f"mlflow: {{metric_names: {preset}}}")
    assert found.mlflow.metric_names == preset


def test_metric_names_may_be_a_mapping() -> None:
    """A mapping of metric names is accepted unchanged."""
    found = loaded(ONE_PROVIDER + "mlflow: {metric_names: {train_loss: loss, a.b: x/y z}}")
    assert found.mlflow.metric_names == {"train_loss": "loss", "a.b": "x/y z"}


@pytest.mark.parametrize("name", ["''", "'a,b'", "'../x'", "'/x'", "'x//y'", "x" * 251])
def test_a_metric_name_that_mlflow_refuses_is_refused_at_once(name: str) -> None:
    """A name that MLflow would refuse is a problem before anything is written."""
    found = problems(ONE_PROVIDER + f"mlflow: {{metric_names: {{train_loss: {name}}}}}")
    assert found.keys() == {"mlflow.metric_names"}


@pytest.mark.parametrize("value", ["5", "[loss]", "true", "2026-01-31"])
def test_metric_names_of_a_wrong_type_are_one_problem(value: str) -> None:
    """A wrong type of metric names is one problem, at its key and with the possible values."""
    found = problems(ONE_PROVIDER + f"mlflow: {{metric_names: {value}}}")
    assert found.keys() == {"mlflow.metric_names"}
    assert "huggingface" in found["mlflow.metric_names"]


@pytest.mark.parametrize(
    ("written", "template"),
    [
        ("true", "{provider}-{suffix}"),
        ("false", None),
        ("null", None),
        ("our-models", "our-models"),
        ("'{base_model} by {provider}'", "{base_model} by {provider}"),
    ],
)
def test_a_registered_model_may_be_named_by_a_template(written: str, template: str | None) -> None:
    """A registered model is named by the job's suffix, or by a template with the job's values."""
    found = loaded(ONE_PROVIDER + f"mlflow: {{register: {written}}}")
    assert found.mlflow.register_as == template


@pytest.mark.parametrize(
    "written", ["'{job}'", "'{suffix'", "'{}'", "'{0}'", "'{suffix:>9}'", "'{suffix!r}'", "' '"]
)
def test_a_template_that_no_job_can_fill_is_a_problem(written: str) -> None:
    """An invalid template is a problem, with the values that a template can hold."""
    found = problems(ONE_PROVIDER + f"mlflow: {{register: {written}}}")
    assert found.keys() == {"mlflow.register"}
    assert "{suffix}" in found["mlflow.register"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("routes: [{suffix: a}]", "mlflow.routes[0].experiment"),
        ("routes: [{experiment: ''}]", "mlflow.routes[0].experiment"),
        ("routes: [{experiment: a}, {experiment: b, suffix: ''}]", "mlflow.routes[1].suffix"),
        ("routes: [{experiment: a, base_model: [x]}]", "mlflow.routes[0].base_model"),
        ("routes: [a]", "mlflow.routes[0]"),
        ("routes: {experiment: a}", "mlflow.routes"),
        (f"routes: [{{experiment: {'x' * 251}}}]", "mlflow.routes[0].experiment"),
        ("open_to_jobs: team-*", "mlflow.open_to_jobs"),
        ("open_to_jobs: [a, '']", "mlflow.open_to_jobs[1]"),
        ("open_to_jobs: true", "mlflow.open_to_jobs"),
        ("archive: sometimes", "mlflow.archive"),
        ("archive_datasets: 7", "mlflow.archive_datasets"),
        ("register: [a]", "mlflow.register"),
    ],
)
def test_a_wrong_value_is_reported_at_its_place(text: str, path: str) -> None:
    """Each wrong value is one problem at the exact entry."""
    assert problems(ONE_PROVIDER + f"mlflow: {{{text}}}").keys() == {path}


def test_nothing_may_be_open_to_jobs() -> None:
    """An empty list closes every experiment except those that the configuration names."""
    assert loaded(ONE_PROVIDER + "mlflow: {open_to_jobs: []}").mlflow.open_to_jobs == ()


@pytest.mark.parametrize(
    "key", ["archive", "archive_datasets", "register", "routes", "open_to_jobs"]
)
def test_an_empty_value_is_the_default(key: str) -> None:
    """A key without a value counts as unset."""
    assert loaded(ONE_PROVIDER + f"mlflow: {{{key}: }}") == loaded(ONE_PROVIDER)


def test_variables_expand_in_routes() -> None:
    """Variables expand in routes, and an unset one is named at its place."""
    text = ONE_PROVIDER + "mlflow: {routes: [{experiment: '${TEAM}-support', suffix: s}]}"
    assert loaded(text, {"TEAM": "a"}).mlflow.routes[0].experiment == "a-support"
    assert problems(text).keys() == {"mlflow.routes[0].experiment"}


@pytest.mark.parametrize("section", ["mlflow", "poll", "providers"])
@pytest.mark.parametrize("value", ["text", "5", "true", "false", "0", "[1]"])
def test_a_section_of_a_wrong_type_is_a_problem(section: str, value: str) -> None:
    """A section of a wrong type is a problem, unless it is empty."""
    other = "" if section == "providers" else ONE_PROVIDER
    found = problems(f"{other}{section}: {value}", OPENAI)
    assert all(path.startswith(section) for path in found), found


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"train_loss": "loss", "valid_loss": "loss"}, "train_loss and valid_loss would both"),
        ({"train_loss": "valid_loss"}, "train_loss and valid_loss would both be called valid_loss"),
        ({"n_epochs": "seed"}, "n_epochs and seed would both be called seed"),
        ({"train_loss": "valid_loss", "valid_loss": "train_loss"}, ""),
        ({"train_loss": "loss", "train/loss": "loss"}, ""),
        ({"train_loss": "seed"}, ""),
    ],
)
def test_a_mapping_that_mixes_two_curves_is_refused(
    tmp_path: Path, mapping: dict[str, str], said: str
) -> None:
    """A mapping cannot give two names of one provider the same new name, but of two it can."""
    path = tmp_path / "bridge.yaml"
    entry = {"name": "openai", "api_key": "a-key"}
    path.write_text(json.dumps({"mlflow": {"metric_names": mapping}, "providers": [entry]}))
    if not said:
        assert load(path, {}).mlflow.metric_names == mapping
        return
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (problem,) = caught.value.problems
    assert said in problem
    assert "not one-to-one for openai" in problem
    assert caught.value.file == str(path)
