"""The files in config/deploy, which are well-formed, safe, and accepted by the bridge.

The tests use neither a container engine nor a cluster nor a service manager.
"""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from bridge.settings.load import load
from bridge.settings.model import Settings
from tests.support.processes import PATIENCE, invoke

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "config" / "deploy"
UNIT: Final = DEPLOY / "ftbridge.service"
DOCKERFILE: Final = DEPLOY / "Dockerfile"


def settings_of(text: str, folder: Path) -> Settings:
    """Return the settings of a configuration whose key is in a file."""
    (folder / "bridge.yaml").write_text(text)
    (folder / "key").write_text("a-key")
    return load(folder / "bridge.yaml", {"OPENAI_API_KEY_FILE": str(folder / "key")})


# systemd


def unit() -> dict[str, str]:
    """Return the settings of the service; the last of repeated ones."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # the documented way
    parser.read(UNIT)
    return dict(parser["Service"])


def test_the_service_is_watched_reloaded_and_confined() -> None:
    """The unit makes systemd wait for the daemon's messages, and restricts its permissions."""
    service = unit()
    assert service["Type"] == "notify"
    assert service["ExecReload"].endswith("-HUP $MAINPID")
    assert service["RestartPreventExitStatus"] == "2"
    assert (service["DynamicUser"], service["NoNewPrivileges"]) == ("yes", "yes")
    assert (service["ProtectSystem"], service["CapabilityBoundingSet"]) == ("strict", "")
    assert service["LoadCredential"].startswith("openai:")
    assert "OPENAI_API_KEY_FILE=%d/openai" in UNIT.read_text()
    _, *arguments = service["ExecStart"].split()
    assert invoke(*arguments[:1], "--help").exit_code == 0
    assert arguments[1] == "--config"


@pytest.fixture
def installed_unit(tmp_path: Path) -> Path:
    """Return the unit with an existing command."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("/opt/ftbridge/bin/ftbridge", sys.executable))
    return path


def analyzed(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Return systemd's analysis of a unit."""
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)],  # noqa: S607 - wherever it is
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_systemd_understands_the_service(installed_unit: Path) -> None:
    """The unit passes systemd's check without a warning, and with little exposure."""
    said = analyzed("verify", "--man=no", installed_unit)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")
    rated = analyzed("security", "--offline=yes", "--threshold=20", "--no-pager", installed_unit)
    assert rated.returncode == 0, rated.stdout


# The image


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with their arguments."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(name, rest) for line in lines if line for name, _, rest in [line.partition(" ")]]


def commands(tmp_path: Path) -> Iterator[list[str]]:
    """Run the commands of the first stage here."""
    stage = iter(instructions()[1:])
    for name, rest in stage:
        if name == "FROM":
            return
        if name == "RUN":
            reported = rest.replace("/dist", f"{tmp_path}/dist").replace("/opt", f"{tmp_path}/opt")
            yield ["sh", "-euc", re.sub(r"^python ", f"{sys.executable} ", reported)]


def test_the_image_is_small_and_not_roots() -> None:
    """The image has two stages, the second without tools, and an unprivileged user."""
    reported = instructions()
    stages = [rest for name, rest in reported if name == "FROM"]
    assert stages == ["python:3.11-slim-bookworm AS build", "python:3.11-slim-bookworm"]
    users = [rest for name, rest in reported if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    ran = [rest for name, rest in reported if name == "RUN"]
    assert all("--no-cache-dir" in each for each in ran if " pip " in each or "/pip " in each)
    assert not re.search(r"\b(curl|wget|apt-get|sudo|ADD)\b", DOCKERFILE.read_text())
    for name in ("ENTRYPOINT", "CMD"):
        (form,) = (rest for each, rest in reported if each == name)
        assert form.startswith("["), "a shell would take the signals"
    (check,) = (rest for name, rest in reported if name == "HEALTHCHECK")
    assert "/healthz" in check
    assert '"python"' in check


def test_the_image_is_built_from_what_is_there() -> None:
    """The build copies only existing files, and sends only these to the engine."""
    copied = [
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert all((ROOT / source).exists() for source in copied)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in ignored if not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied)


@pytest.mark.soak
def test_the_images_commands_install_the_bridge(tmp_path: Path) -> None:
    """The image's commands install a working ``ftbridge`` in an empty folder."""
    for each in commands(tmp_path):
        subprocess.run(each, cwd=ROOT, check=True, timeout=10 * PATIENCE)
    ftbridge = tmp_path / "opt" / "ftbridge" / "bin" / "ftbridge"
    said = subprocess.run(
        [ftbridge, "init", "--schema"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert '"$schema"' in said.stdout
    # The manifests without keys need both.
    python = ftbridge.with_name("python")
    subprocess.run([python, "-c", "import botocore, azure.identity"], check=True, cwd=tmp_path)


def test_the_image_can_sign_in_without_a_key() -> None:
    """The image has AWS's and Azure's packages for identities; Google's comes with MLflow."""
    (installed,) = [rest for name, rest in instructions() if "mlflow_finetune_bridge" in rest]
    assert "[aws,azure]" in installed


# Compose


def compose() -> dict[str, Any]:
    """Return the file of Docker Compose."""
    reported: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return reported


def test_compose_configures_the_bridge(tmp_path: Path) -> None:
    """The bridge accepts the Compose file's configuration, and finds it and the key."""
    reported = compose()
    found = settings_of(reported["configs"]["bridge"]["content"], tmp_path)
    assert found.mlflow.tracking_uri == "http://mlflow:5000"
    assert str(found.listen) == "0.0.0.0:9187"
    bridge = reported["services"]["bridge"]
    assert f"FTBRIDGE_CONFIG={bridge['configs'][0]['target']}" in DOCKERFILE.read_text()
    assert bridge["environment"]["OPENAI_API_KEY_FILE"] == f"/run/secrets/{bridge['secrets'][0]}"


def test_compose_opens_nothing_to_others() -> None:
    """Compose opens ports only to this machine, and reads secrets from existing files."""
    reported = compose()
    ports = [port for service in reported["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    for service in reported["services"].values():
        assert set(service["secrets"]) <= reported["secrets"].keys()
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= {
            *reported["volumes"]
        }
        assert service.get("depends_on", {}).keys() <= reported["services"].keys()
        if "build" in service:
            assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
            assert (ROOT / service["build"]["dockerfile"]).exists()
    assert "/config/deploy/secrets/" in (ROOT / ".gitignore").read_text()
    assert all(each["file"].startswith("./secrets/") for each in reported["secrets"].values())


# Kubernetes


WITH_KEYS: Final = "kubernetes.yaml"
WITHOUT_KEYS: Final = "kubernetes-identity.yaml"


def manifests(name: str = WITH_KEYS) -> dict[str, dict[str, Any]]:
    """Return each object by its kind."""
    documents = yaml.safe_load_all((DEPLOY / name).read_text())
    return {each["kind"]: each for each in documents}


def pods(name: str = WITH_KEYS) -> list[dict[str, Any]]:
    """Return the daemon's pod and the backfill's, if there is one."""
    reported = manifests(name)
    jobs = [reported["CronJob"]["spec"]["jobTemplate"]] if "CronJob" in reported else []
    return [each["spec"]["template"]["spec"] for each in (reported["Deployment"], *jobs)]


@pytest.mark.parametrize("name", [WITH_KEYS, WITHOUT_KEYS])
def test_the_manifests_fit_their_schemas(name: str) -> None:
    """The manifests fit the schemas that Kubernetes checks them against."""
    for each in manifests(name).values():
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


def test_a_manifest_that_does_not_fit_is_refused() -> None:
    """A manifest with a misspelt key fails its schema."""
    deployment = manifests()["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError, match="imagePullPolice"):
        kubernetes_validate.validate(deployment, kubernetes_validate.latest_version(), strict=True)


def test_the_cluster_configures_the_bridge(tmp_path: Path) -> None:
    """The bridge accepts the cluster's configuration, and finds it and the key in their mounts."""
    found = settings_of(manifests()["ConfigMap"]["data"]["bridge.yaml"], tmp_path)
    assert str(found.listen) == "0.0.0.0:9187"
    assert "FTBRIDGE_CONFIG=/etc/ftbridge/bridge.yaml" in DOCKERFILE.read_text()
    for pod in pods():
        (container,) = pod["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
        assert mounts["configuration"] == "/etc/ftbridge"
        assert container["env"][0]["value"].startswith(mounts["keys"])
        assert invoke(container["args"][0], "--help").exit_code == 0


def test_without_keys_the_cluster_vouches_for_the_bridge(tmp_path: Path) -> None:
    """Without keys each provider takes an identity, no secret is mounted, the rest is the same."""
    reported = manifests(WITHOUT_KEYS)
    found = settings_of(reported["ConfigMap"]["data"]["bridge.yaml"], tmp_path)
    assert {each.type: each.auth for each in found.providers} == {
        "bedrock": "aws",
        "bedrock-mantle": "aws",
        "vertex": "google",
        "azure": "entra",
    }
    assert all(each.api_key is None for each in found.providers)
    (pod,) = pods(WITHOUT_KEYS)
    assert pod["serviceAccountName"] == reported["ServiceAccount"]["metadata"]["name"]
    assert reported["ServiceAccount"]["metadata"]["annotations"].keys() == {
        *("eks.amazonaws.com/role-arn", "iam.gke.io/gcp-service-account"),
        "azure.workload.identity/client-id",
    }
    labels = reported["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels["azure.workload.identity/use"] == "true"
    with_keys = pods()[0]
    del pod["serviceAccountName"]
    (container,) = with_keys["containers"]
    assert container.pop("env")[0]["name"].endswith("_FILE")
    for place in (with_keys["volumes"], container["volumeMounts"]):
        place[:] = [each for each in place if each["name"] != "keys"]
    assert pod == with_keys


def test_compose_takes_logins_in_place_of_keys(tmp_path: Path) -> None:
    """Compose mounts AWS's login in the image's home, and Google's as a secret."""
    reported = yaml.safe_load((DEPLOY / "compose-identity.yaml").read_text())
    found = settings_of(reported["configs"]["bridge"]["content"], tmp_path)
    assert {each.name: each.auth for each in found.providers} == {
        "openai": "key",
        "bedrock": "aws",
        "vertex": "google",
    }
    assert reported["configs"].keys() == compose()["configs"].keys()
    bridge = reported["services"]["bridge"]
    assert bridge["volumes"] == ["${HOME}/.aws:/tmp/.aws:ro"]
    assert any("HOME=/tmp" in rest for name, rest in instructions() if name == "ENV")
    (secret,) = bridge["secrets"]
    assert bridge["environment"]["GOOGLE_APPLICATION_CREDENTIALS"] == f"/run/secrets/{secret}"
    assert reported["secrets"] == {secret: {"file": f"./secrets/{secret}"}}


@pytest.mark.parametrize("name", [WITH_KEYS, WITHOUT_KEYS])
def test_the_cluster_asks_the_daemon_how_it_is(name: str) -> None:
    """The probes use the daemon's port and paths."""
    (container,) = pods(name)[0]["containers"]
    paths = [container[f"{kind}Probe"]["httpGet"] for kind in ("readiness", "liveness")]
    assert paths == [{"path": "/readyz", "port": "http"}, {"path": "/healthz", "port": "http"}]
    assert container["ports"] == [{"name": "http", "containerPort": 9187}]


@pytest.mark.parametrize("name", [WITH_KEYS, WITHOUT_KEYS])
def test_the_pods_may_do_nothing_but_their_work(name: str) -> None:
    """The pods satisfy the strictest of the pod security standards."""
    user, _ = next(rest for key, rest in instructions() if key == "USER").split(":")
    for pod in pods(name):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == int(user)
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
