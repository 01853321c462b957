"""Fields of replies that must not reach MLflow: third parties' credentials and training data.

A provider has the keys of services that its users connect (Weights & Biases, Hugging Face), and
returns some of them. They are recognized by the names of their fields, at any depth, and inside
text by their form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from bridge.credential_forms import masked
from bridge.model import Scalar
from bridge.redaction import MASK

_SEPARATORS: Final = re.compile(r"[\s_\-./:]+")
_ENDINGS: Final = (
    *("apikey", "apitoken", "accesskey", "accesskeyid", "secretkey", "privatekey", "authkey"),
    *("wandbkey", "huggingfacekey", "hfkey", "openaikey", "sharedkey", "accountkey", "signingkey"),
    *("token", "secret", "password", "passwd", "passphrase", "authorization", "credential"),
    *("connectionstring", "signature", "signedurl", "sasurl", "cookie", "secretvalue", "dsn"),
    *("masterkey", "encryptionkey", "hmackey", "sshkey", "licensekey", "subscriptionkey"),
    *("storagekey", "kagglekey", "pwd", "passcode", "bearer", "jwt", "basicauth", "authheader"),
    *("webhook", "webhookurl", "serviceaccountjson", "githubpat", "accesspat"),
)
"""Suffixes of the names of credentials, without separators and plural s."""
_HARMLESS: Final = re.compile(
    r"(eos|bos|pad|unk|sep|cls|mask|stop|special|image|response|per|max|min|next|page|nextpage"
    r"|clientrequest|idempotency|continuation)token"
)
"""Names with token that are not credentials: words of text, cursors, and ids of requests."""
_SHORT: Final = re.compile(
    r"(?:.*[\W_])?(?:auth|pat)|(?:(?:user|db|smtp|my|root)[\W_]*)?pass", re.IGNORECASE
)
"""Names that are also ordinary words, and count only with a text that is not a kind of login."""
_KINDS: Final = re.compile(
    r"none|basic|bearer|token|oauth2?|iam|google|entra|aws|api[ _-]?key|true|false|yes|no",
    re.IGNORECASE,
)
_NAMES: Final = ("name", "key", "variable")
_EXAMPLES: Final = re.compile(r"(.*examples|messages|samplerows|previewrows|trainingrows)")
"""Names of fields with rows of the training data."""


class _Holds(Enum):
    """The values of a field that count as credentials, according to its name."""

    NONE = auto()
    NO_NUMBER = auto()
    ALL = auto()
    WORDS = auto()
    """Texts that are not a kind of login."""


@lru_cache(maxsize=1024)
def _bare(name: str) -> str:
    """Return a name without separators; cached, because the rows of a list share a few names."""
    return _SEPARATORS.sub("", name).casefold()


@lru_cache(maxsize=1024)
def _holds(name: str) -> _Holds:
    """Return which values of a field are credentials, judged by its name."""
    bare = _bare(name)
    if bare.endswith("token"):
        return _Holds.NONE if _HARMLESS.fullmatch(bare) else _Holds.NO_NUMBER
    # Tokens in the plural are numbers of tokens.
    if not bare.endswith("tokens") and bare.removesuffix("s").endswith(_ENDINGS):
        return _Holds.ALL
    return _Holds.WORDS if _SHORT.fullmatch(name) else _Holds.NONE


def is_credential(name: str, value: object) -> bool:
    """Return whether a field holds a credential."""
    holds = _holds(name)
    if holds is _Holds.NONE or not value or isinstance(value, bool):
        return False  # a flag tells whether there is a credential
    if holds is _Holds.NO_NUMBER:
        return not isinstance(value, int | float)
    if holds is _Holds.WORDS:
        return isinstance(value, str) and not _KINDS.fullmatch(value.strip())
    return True


def scalars(chosen: Mapping[str, object]) -> dict[str, Scalar]:
    """Return the values for params: text, numbers and flags that are not secret."""
    return {
        name: masked(value) if isinstance(value, str) else value
        for name, value in chosen.items()
        if isinstance(value, str | int | float) and not is_credential(name, value)
    }


def published(value: object) -> object:
    """Return a reply with credentials masked and rows of training data left out.

    Raises:
        RecursionError: it is nested too deeply.
    """
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, list):
        return [published(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    named = ""
    if "value" in value:  # in a list of variables or headers, the name is a separate field
        named = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), "")
    return {
        name: (
            MASK
            if is_credential(named if name == "value" and named else name, inner)
            else published(inner)
        )
        for name, inner in value.items()
        if not _is_data(name, inner)
    }


def _is_data(name: str, value: object) -> bool:
    return isinstance(value, list | Mapping) and bool(_EXAMPLES.fullmatch(_bare(name)))
