"""The mutants of a module: each is its source with one small mistake."""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

_SWAPS: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
}
_NAMES: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_OPTIONAL: Final = frozenset({"key", "reverse", "default"})
"""Arguments of a call that works without them."""
_SHORTENING: Final = frozenset({"clean", "line", "one_line"})
"""Functions whose numbers say how much of a text is shown: a matter of taste."""
_UNSEEN: Final = frozenset({"annotation", "returns", "decorator_list", "type_params"})
"""Parts of a node that do nothing when a function runs."""
_DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake."""

    path: str
    """The module, below the repository."""
    line: int
    """Its first line, from 1."""
    text: str
    """That line as it was, without what is around it."""
    lines: frozenset[int]
    """The lines of its module whose tests can see it."""
    names: frozenset[str]
    """Names that its statement defines at import, which other modules may use."""
    before: str
    after: str
    source: str
    """The whole module with the mistake."""

    def __str__(self) -> str:
        """Return the place and the change in one line."""
        return f"{self.path}:{self.line}  {_flat(self.before)}  ->  {_flat(self.after)}"


def _flat(text: str) -> str:
    return " ".join(text.split()) or "(nothing)"


def mutants_of(path: str, source: str) -> Iterator[Mutant]:
    """Return the mutants of a module in the order of their places."""
    encoded = source.encode()
    starts = [0]
    for line in encoded.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    module = ast.parse(source)
    whole = source.splitlines()
    for node, statement, is_local in _walk(module, None, is_local=False):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        before = encoded[begin:end]
        names = frozenset[str]()
        if isinstance(statement, ast.FunctionDef):  # a default of an argument
            lines = _lines(statement.body[0], statement)
        elif is_local:
            lines = _lines(statement, node)
        else:
            names = _defined(statement)
            lines = uses(module, names)
        for after in _changes(node):
            yield Mutant(
                path=path,
                line=node.lineno,
                text=whole[node.lineno - 1].strip(),
                lines=lines,
                names=names,
                before=before.decode(),
                after=after,
                source=(encoded[:begin] + after.encode() + encoded[end:]).decode(),
            )


def _lines(first: ast.stmt, last: ast.expr | ast.stmt) -> frozenset[int]:
    return frozenset(range(first.lineno, (last.end_lineno or last.lineno) + 1))


def _defined(statement: ast.stmt) -> frozenset[str]:
    """Return the names that a statement defines when its module is imported."""
    targets = statement.targets if isinstance(statement, ast.Assign) else ()
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return frozenset(target.id for target in targets if isinstance(target, ast.Name))


def uses(module: ast.Module, names: Collection[str]) -> frozenset[int]:
    """Return the lines of functions that use one of these names, or an attribute of that name."""
    return frozenset(
        # The default of an argument is evaluated at import, and matters in the whole function.
        line
        for function in ast.walk(module)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names)
        or (isinstance(node, ast.Attribute) and node.attr in names)
        for line in (
            [node.lineno]
            if node.lineno >= function.body[0].lineno
            else range(function.body[0].lineno, (function.end_lineno or 0) + 1)
        )
    )


def _walk(
    node: ast.AST, statement: ast.stmt | None, *, is_local: bool
) -> Iterator[tuple[ast.expr | ast.stmt, ast.stmt, bool]]:
    """Yield each expression and statement that may be wrong, with its enclosing statement."""
    for name, value in ast.iter_fields(node):
        if name in _UNSEEN:
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            if isinstance(node, ast.Subscript) and isinstance(child, ast.Tuple):
                continue  # the arguments of a generic type
            within = child if isinstance(child, ast.stmt) else statement
            if isinstance(child, ast.expr | ast.stmt) and within and _counts(node, child):
                yield child, within, is_local
            is_inside = is_local or isinstance(child, ast.FunctionDef | ast.Lambda)
            if not isinstance(child, ast.JoinedStr | ast.Assert):
                yield from _walk(child, within, is_local=is_inside)


def _counts(parent: ast.AST, child: ast.AST) -> bool:
    if isinstance(parent, ast.Call) and isinstance(child, ast.Constant):
        return _name_of(parent.func) not in _SHORTENING
    return not isinstance(child, _DEFINITIONS)


def _name_of(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2]


def _changes(node: ast.expr | ast.stmt) -> Iterator[str]:
    """Yield the replacements of a node."""
    yield from _conditions(node)
    yield from _values(node)
    yield from _fewer(node)
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if is_call or isinstance(node, ast.AugAssign | ast.Raise | ast.Continue | ast.Break):
        yield "pass"
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript):
        yield "pass"


def _conditions(node: ast.AST) -> Iterator[str]:
    """Yield the opposite, the other bound, or a part."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _SWAPS:
            yield _edited(node, ops=[_SWAPS[type(operator)]()])
        case ast.BoolOp(op=operator, values=values):
            yield _edited(node, op=_SWAPS[type(operator)]())
            for position in range(len(values)):
                rest = values[:position] + values[position + 1 :]
                yield _edited(node, values=rest) if len(rest) > 1 else _written(rest[0])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield _written(operand)
        case ast.IfExp(body=body, orelse=orelse):
            yield _written(body)
            yield _written(orelse)


def _values(node: ast.AST) -> Iterator[str]:
    """Yield another number, sum or extreme."""
    match node:
        case ast.Constant(value=bool(value)):
            yield str(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield str(value + 1)
        case ast.BinOp(op=operator) if type(operator) in _SWAPS and not _is_text(node):
            yield _edited(node, op=_SWAPS[type(operator)]())
        case ast.Call(func=ast.Name(id=name)) if name in _NAMES:
            yield _edited(node, func=ast.Name(_NAMES[name], ast.Load()))


def _fewer(node: ast.AST) -> Iterator[str]:
    """Yield a variant with one item, argument or condition less."""
    match node:
        case (
            ast.Set(elts=items)
            | ast.Tuple(elts=items, ctx=ast.Load())
            | ast.List(elts=items, ctx=ast.Load())
        ) if len(items) > 1:
            for position in range(len(items)):
                yield _edited(node, elts=items[:position] + items[position + 1 :])
        case ast.Call(keywords=keywords):
            for position, keyword in enumerate(keywords):
                if keyword.arg in _OPTIONAL:
                    yield _edited(node, keywords=keywords[:position] + keywords[position + 1 :])
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            for position, part in enumerate(node.generators):
                if part.ifs:
                    changed = copy.deepcopy(node)
                    changed.generators[position].ifs = []
                    yield _written(changed)


def _edited(node: ast.expr, **fields: object) -> str:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return _written(changed)


def _written(node: ast.expr) -> str:
    text = ast.unparse(node)
    is_whole = isinstance(node, ast.Tuple | ast.Constant | ast.Name | ast.GeneratorExp)
    return text if is_whole else f"({text})"


def _is_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in (node.left, node.right)
    )
