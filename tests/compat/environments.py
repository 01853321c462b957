"""Environments with other programs than the bridge, created once and kept."""

from __future__ import annotations

import subprocess
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.version import Version

ROOT: Final = Path(__file__).parents[2]

VERSIONS: Final = ("2.3.2", "2.9.2", "2.14.3", "2.22.5", "3.1.4", "3.5.1", "3.17.2")
"""Versions of MLflow: the oldest that works, some common ones, and the newest."""

LITELLM: Final = ("litellm[proxy]==1.108.7", "prisma==0.15.0")
"""LiteLLM's proxy, which reports no errors without its database client."""


def _oldest_client() -> str:
    """Return the lowest version of MLflow that the bridge may be installed with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {each.name: each.specifier for each in map(Requirement, project["dependencies"])}
    (oldest,) = (each.version for each in found["mlflow"] if each.operator == ">=")
    return oldest


OLDEST_CLIENT: Final = _oldest_client()

_BEFORE_SQLALCHEMY_21: Final = Version("3.6")
"""Older ones import a class that SQLAlchemy 2.1 no longer has."""
_BEFORE_SETUPTOOLS_81: Final = Version("3")
"""Older ones import ``pkg_resources``, which newer setuptools no longer bring."""


def python_of(version: str, cache: Path) -> Path:
    """Return the interpreter of an environment with a version of MLflow.

    Args:
        version: MLflow's.
        cache: the folder of all environments.
    """
    return environment(cache / version, _requirements(version))


def bridge_with(version: str, cache: Path) -> Path:
    """Return the interpreter of an environment with this bridge and a version of MLflow.

    Args:
        version: MLflow's.
        cache: the folder of all environments.
    """
    # The tests' support starts processes under coverage where that is wanted.
    wanted = ["--editable", str(ROOT), "coverage", *_requirements(version)]
    return environment(cache / f"bridge-{version}", wanted)


def environment(folder: Path, requirements: Sequence[str]) -> Path:
    """Return the interpreter of an environment, which is made if it is not there.

    Args:
        folder: its place.
        requirements: what pip installs.

    Raises:
        CalledProcessError: pip cannot install it.
    """
    python, stamp = folder / "bin" / "python", folder / "whole"
    if not stamp.exists():
        venv.create(folder, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run(command, check=True)
        stamp.touch()
    return python


def _requirements(version: str) -> list[str]:
    wanted = [f"mlflow=={version}"]
    if Version(version) < _BEFORE_SQLALCHEMY_21:
        wanted.append("sqlalchemy<2.1")
    if Version(version) < _BEFORE_SETUPTOOLS_81:
        wanted.append("setuptools<81")
    return wanted
