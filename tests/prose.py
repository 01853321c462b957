"""Check the prose of docstrings, comments, sentences and pages: part of ``make lint``.

    python -m tests.prose [--lower]

``prose.yaml`` holds how often each folder may still contain a phrase. The numbers only fall: a
folder with more fails the check, and ``--lower`` writes what is left.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml

TESTS: Final = Path(__file__).parent
ROOT: Final = TESTS.parent
ALLOWANCE: Final = TESTS / "prose.yaml"
RULES: Final = {
    name: re.compile(pattern)
    for name, pattern in {
        "is no X": r"\b(?:is|are|was|were) no (?!longer\b|more than\b|later\b)",
        "of its own": r"\bof (?:its|their|his|your|one's) own\b",
        "alone": r"\balone\b",
        "anew": r"\banew\b",
        "told": r"\btold\b",
        "a look": r"\ba look\b",
        "whoever": r"(?i:\bwhoever\b)",
        "let go of": r"\blet go of\b",
        "mend": r"\bmend(?:s|ed|ing)?\b",
        "thereby": r"(?i:\bthereby\b)",
        "stands beside": r"\bstands? beside\b",
        "Of/What/Who first": r"(?:\A|[.!?:]\s+|\| )(?:Of|What|Who)\b(?![^.!?|]{0,90}\?)",
    }.items()
}
"""What a text must not contain; a question may begin with What or Who."""
CODE: Final = re.compile(r"```.*?```|``.*?``|`[^`\n]*`|\]\([^)]*\)", re.DOTALL)
"""Code and the targets of links, which are not prose."""
NOT_READ: Final = frozenset({"tests/prose.py", "tests/test_prose.py"})
"""Files that quote the phrases."""


def files() -> Iterator[Path]:
    """Yield every file with prose: Python, Markdown, and the commented configuration."""
    for folder in ("bridge", "tests", "config", ".github"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".md"} and str(path.relative_to(ROOT)) not in NOT_READ:
                yield path
    yield from (ROOT / "bridge/settings/starter.yaml", ROOT / "README.md", ROOT / "CHANGELOG.md")


def texts(path: Path) -> Iterator[str]:
    """Yield the pieces of prose of a file."""
    source = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".py":
            yield from _comments(source)
            yield from _strings(ast.parse(source), is_test=TESTS in path.parents)
        case ".yaml":
            yield from re.findall(r"#\s*(.*)", source)
        case _:
            # Each paragraph, item and row begins a sentence.
            yield from re.split(r"\n\n|\n(?=[-|#\d])", CODE.sub("`", source))


def _comments(source: str) -> Iterator[str]:
    """Yield the comments of a module, those on consecutive lines as one."""
    block: list[str] = []
    last = -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if token.start[0] != last + 1 and block:
            yield " ".join(block)
            block = []
        block.append(token.string.lstrip("# "))
        last = token.start[0]
    if block:
        yield " ".join(block)


def _strings(module: ast.Module, *, is_test: bool) -> Iterator[str]:
    """Yield docstrings, and sentences of the program; those of tests quote others."""
    for node in ast.walk(module):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text
            case ast.Constant(value=str(text)) if not is_test and " " in text:
                yield text


def phrases(path: Path) -> Iterator[tuple[str, str]]:
    """Yield a file's phrases, each with its rule."""
    # A docstring is met as a statement and as a constant.
    for text in dict.fromkeys(texts(path)):
        paragraphs = re.split(r"\n\s*\n", CODE.sub("`", text))
        for prose in (" ".join(paragraph.split()) for paragraph in paragraphs):
            for rule, pattern in RULES.items():
                for hit in pattern.finditer(prose):
                    yield rule, prose[max(0, hit.start() - 30) : hit.end() + 30]


def excess(
    found: Mapping[str, list[tuple[str, str]]], allowed: Mapping[str, Mapping[str, int]]
) -> Iterator[str]:
    """Yield a line for each phrase of a folder that has more of them than it may."""
    for folder, hits in found.items():
        counts = Counter(rule for rule, _ in hits)
        for rule, count in counts.items():
            may = allowed.get(folder, {}).get(rule, 0)
            if count > may:
                yield f'{folder}: {count} times "{rule}", {may} allowed; one of these is new:'
                yield from (f"    {where}" for each, where in hits if each == rule)


def main(arguments: list[str]) -> int:
    """Check all files, or lower the allowance; return the exit code."""
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in files():
        name = path.relative_to(ROOT)
        found[str(name.parent)] += [(rule, f"{name}: ...{hit}") for rule, hit in phrases(path)]
    allowed: dict[str, dict[str, int]] = yaml.safe_load(ALLOWANCE.read_text(encoding="utf-8"))
    if "--lower" in arguments:
        left = {
            folder: {
                rule: min(count, allowed.get(folder, {}).get(rule, 0))
                for rule, count in sorted(Counter(rule for rule, _ in hits).items())
            }
            for folder, hits in sorted(found.items())
        }
        kept = {folder: {r: n for r, n in counts.items() if n} for folder, counts in left.items()}
        text = yaml.safe_dump({f: counts for f, counts in kept.items() if counts}, width=100)
        ALLOWANCE.write_text(f"# Phrases left in older texts; see prose.py.\n{text}")
        return 0
    lines = [*excess(found, allowed)]
    for line in lines:
        sys.stderr.write(f"{line}\n")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
