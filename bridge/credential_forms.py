"""Credentials inside text, recognized by their form: keys with a prefix, logins in URLs, headers.

Harmless text is kept: the name of a dataset, the hash of a file, a sentence about a token.
"""

from __future__ import annotations

import re
from typing import Final

from bridge.redaction import MASK

_MARKS: Final = (
    *("://", "?", "&", "hf_", "sk-", "rk_", "sk_", "akia", "asia", "ghp_", "gho_", "ghu_", "ghs_"),
    *("ghr_", "github_pat", "glpat", "xox", "aiza", "eyj", "dapi", "nvapi", "tgp_", "pypi-"),
    *("key", "auth", "token", "secret", "passw", "pwd", "bearer", "wandb"),
)
"""Substrings of which every text with a credential contains at least one; most texts contain
none."""
_NAME: Final = (
    r"(?:[\w-]*(?:api[_-]?key|access[_-]?token|auth[_-]?token|secret(?:[_-]?(?:access[_-]?)?key)?"
    r"|passw(?:or)?d|pwd)|token)"
)
_MIXED: Final = r"(?=[^\s\"',;&]{0,400}\d)"
"""A value that contains a digit, and is therefore not a word of a sentence."""
_FORMS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        (
            r"(?P<kept>(?i:authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|token|key)\s+))"
            r"(?!(?i:tokens?|auth\w*|headers?|schemes?)\b)[^\s\"',;]+"
        ),
        rf"(?P<kept>\b(?i:bearer)\s+){_MIXED}[\w.~+/=-]{{8,}}",
        r"(?P<kept>://[^\s/@:?#]{0,200}:)[^\s/@]{1,400}(?=@)",
        (
            r"(?P<kept>[?&;](?i:api[_-]?key|access[_-]?(?:key|token)|auth|token|sig|signature|secret"
            r"|client[_-]?secret|passw(?:or)?d|pwd|x-(?:amz|goog)-(?:signature|credential)"
            r"|x-amz-security-token)=)[^\s&#\"'<>]+"
        ),
        rf"(?P<kept>(?<![\w-])(?i:{_NAME})[\"']?\s*[:=]\s*[\"']?){_MIXED}[^\s\"',;&)}}\]]{{6,}}",
        # A Weights & Biases key looks like a hash, so it counts only after a word for a key.
        (
            r"(?P<kept>(?i:api[ _-]?key|wandb[ _-]?(?:key|token|login)|wandb\.login\()"
            r"(?:[\"'\s:=(]|key|is){0,8})\b[0-9a-f]{40}\b"
        ),
        (
            r"(?<![A-Za-z0-9])(?P<kept>)(?:"
            r"hf_(?:(?=[a-z]{0,400}[A-Z0-9])[A-Za-z0-9]{16,}|[A-Za-z0-9]{30,})"
            r"|sk-(?:[a-z]+\d*-){0,2}(?=[A-Za-z_]{0,400}\d)[A-Za-z0-9_]{16,}[\w-]*"
            r"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"
            r"|A[KS]IA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
            r"|glpat-[\w-]{16,}|xox[abeprs]-[\w-]{10,}|AIza[\w-]{30,}|nvapi-[\w-]{30,}"
            r"|tgp_v\d_[\w-]{20,}|pypi-[\w-]{40,}|wandb_v\d_\w{20,}|dapi[0-9a-f]{32}"
            r"|eyJ[\w-]{8,1000}\.[\w-]{8,2000}\.[\w-]+"
            r")(?![A-Za-z0-9])"
        ),
    )
)


def masked(text: str) -> str:
    """Return ``text`` without the credentials in it."""
    lower = text.lower()
    for mark in _MARKS:  # not any(), which takes twice as long: there are hundreds of texts a job
        if mark in lower:
            return _searched(text)
    return text


def _searched(text: str) -> str:
    for form in _FORMS:
        text = form.sub(rf"\g<kept>{MASK}", text)
    return text
