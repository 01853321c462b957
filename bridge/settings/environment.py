"""Providers from the environment, by the variables of the providers' SDKs. Pure."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from string import Template
from typing import Any, Final

from bridge.providers.azure import address, needs_version
from bridge.providers.base import Provider
from bridge.providers.registry import TYPES
from bridge.providers.vertex import LOCATION, Vertex
from bridge.providers.vertex import address as vertex_address

Environ = Mapping[str, str]
Item = dict[str, Any]
"""A provider's entry of the configuration, as written."""

TOKEN_VARIABLE: Final = "AZURE_OPENAI_AD_TOKEN"  # noqa: S105 - a name, not a secret
_ENDPOINT_VARIABLE: Final = "AZURE_OPENAI_ENDPOINT"
_VERSION_VARIABLE: Final = "OPENAI_API_VERSION"
_REGION_VARIABLES: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
_AWS_ADDRESSES: Final[Mapping[str, Mapping[str, str]]] = {
    "bedrock": {"base_url": "AWS_ENDPOINT_URL_BEDROCK", "s3_url": "AWS_ENDPOINT_URL_S3"},
    "bedrock-mantle": {"base_url": "AWS_BEDROCK_BASE_URL"},
}
"""Variables with addresses that AWS's tools and OpenAI's SDK for AWS read."""
_REGION: Final = re.compile(r"^https://[a-z0-9-]+\.(?P<region>[a-z]{2,8}(-[a-z0-9]+)+-\d+)\.")
"""Addresses of AWS."""
PROJECT_VARIABLE: Final = "GOOGLE_CLOUD_PROJECT"
_GOOGLE: Final[Mapping[str, tuple[str, ...]]] = {
    "project": (PROJECT_VARIABLE,),
    "location": ("GOOGLE_CLOUD_LOCATION",),
    "base_url": ("VERTEX_BASE_URL", "GOOGLE_VERTEX_BASE_URL"),
}
"""Variables of Google's SDK, by the field that they fill."""
_GOOGLE_HINTS: Final = (
    *("GOOGLE_CLOUD_LOCATION", "GOOGLE_APPLICATION_CREDENTIALS"),
    *(Vertex.key_variable, *_GOOGLE["base_url"]),
)
"""Variables that, in addition to a project, show that its models are in use."""


def providers_in(environ: Environ) -> list[Item]:
    """Return a provider for each key that its SDK would find, if the address is known too."""
    found = [completed(_named(name, kind, environ), environ) for name, kind in TYPES.items()]
    # A project is also set for other purposes, so it counts only with another variable, or if no
    # other provider is found.
    is_sure = any(environ.get(name) for name in _GOOGLE_HINTS)
    keyed = [item for item in found if {"api_key", "base_url"} <= item.keys()]
    return [
        item for item in found if item in keyed or ("project" in item and (is_sure or not keyed))
    ]


def ways_in() -> list[str]:
    """Return the variables that configure each kind of provider, each only once."""
    ways = (
        PROJECT_VARIABLE
        if kind is Vertex
        else " with ".join([kind.key_variable, *address_variables(kind)])
        for kind in TYPES.values()
    )
    return [*dict.fromkeys(ways)]


def address_variables(kind: type[Provider]) -> list[str]:
    """Return the variables in a service's address."""
    return Template(kind.base_url).get_identifiers()


def completed(item: Item, environ: Environ) -> Item:
    """Return a provider's entry, completed from the environment and the provider's type."""
    kind = TYPES.get(str(item.get("type")))
    if kind is None:
        return item
    match item["type"]:
        case "azure":
            found = _azure(item, environ)
        case "vertex":
            found = _vertex(item, environ)
        case "prime":
            found = _prime(item, environ)
        case "bedrock" | "bedrock-mantle":
            found, environ = _aws(item, environ)
        case _:
            found = dict(item)
            if url := environ.get(_address_variable(item["type"])):
                found.setdefault("base_url", url)
    if all(environ.get(name) for name in address_variables(kind)):
        found.setdefault("base_url", Template(kind.base_url).substitute(environ))
    if environ.get(kind.key_variable) and found.get("auth", "key") == "key":
        found.setdefault("api_key", environ[kind.key_variable])
    if item["type"] in _AWS_ADDRESSES and "api_key" not in found:
        found.setdefault("auth", "aws")
    return found


def _named(name: str, kind: type[Provider], environ: Environ) -> Item:
    headers = {
        header: environ[variable]
        for header, variable in kind.header_variables.items()
        if environ.get(variable)
    }
    found = {"base_url": environ.get(_address_variable(name)), "headers": headers}
    return {"name": name, "type": name} | {key: value for key, value in found.items() if value}


def _address_variable(kind: str) -> str:
    """Return the variable from which a type's SDK takes the address of its service."""
    return f"{kind.upper().replace('-', '_')}_BASE_URL"


def _azure(item: Item, environ: Environ) -> Item:
    """Complete an entry as OpenAI's SDK for Azure does: a token has precedence over a key."""
    found = dict(item)
    token = environ.get(TOKEN_VARIABLE)
    if token and "api_key" not in found and found.get("auth", "token") == "token":
        found |= {"auth": "token", "api_key": token}
    version = environ.get(_VERSION_VARIABLE)
    if version and ("base_url" not in found or needs_version(str(found["base_url"]))):
        found.setdefault("api_version", version)
    endpoint = environ.get(_ENDPOINT_VARIABLE)
    if endpoint:
        found.setdefault("base_url", address(endpoint, has_version="api_version" in found))
    return found


def _aws(item: Item, environ: Environ) -> tuple[Item, Environ]:
    """Complete an entry as AWS's tools do: the region, and addresses that replace AWS's own."""
    found = dict(item)
    for key, variable in _AWS_ADDRESSES[item["type"]].items():
        if environ.get(variable):
            found.setdefault(key, environ[variable])
    written = _REGION.match(str(found.get("base_url", "")))
    given = [environ[name] for name in _REGION_VARIABLES if environ.get(name)]
    if region := written["region"] if written else next(iter(given), None):
        found.setdefault("region", region)
    if "api_key" not in found and not found.keys().isdisjoint({"profile", "role_arn"}):
        # Configured credentials have precedence over a key in the environment.
        found.setdefault("auth", "aws")
    if "region" not in found:
        return found, environ
    return found, ChainMap({_REGION_VARIABLES[0]: str(found["region"])}, environ)  # type: ignore[arg-type] # only read


def _vertex(item: Item, environ: Environ) -> Item:
    """Complete an entry as Google's tools do: a token has precedence over a login."""
    found = dict(item)
    for key, variables in _GOOGLE.items():
        if value := next(filter(None, map(environ.get, variables)), None):
            found.setdefault(key, value)
    found.setdefault("location", LOCATION)
    found.setdefault("base_url", vertex_address(str(found["location"])))
    token = environ.get(Vertex.key_variable)
    found.setdefault("auth", "token" if token or "api_key" in found else "google")
    if token and found["auth"] == "token":
        found.setdefault("api_key", token)
    return found


def _prime(item: Item, environ: Environ) -> Item:
    """Complete an entry as Prime's command line does, whose addresses end before the version."""
    found = dict(item)
    if team := environ.get("PRIME_TEAM_ID"):
        found.setdefault("team", team)
    url = environ.get("PRIME_API_BASE_URL") or environ.get("PRIME_BASE_URL")
    if url and found.get("base_url", url) == url:
        found["base_url"] = f"{url.rstrip('/').removesuffix('/api/v1')}/api/v1"
    return found
