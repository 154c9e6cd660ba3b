"""Reads what the code says of itself: the comment behind a member, the docstring under a field, the words of a fault.

Nothing of it runs the code it reads. A page that is made from the source
text can't differ from it, and needs no server and no setting.
"""

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def comments_of(path: str, owner: str) -> dict[str, str]:
    """Return what the trailing comment says of each member of a class: {"ACCEPTED": "stored, valid, ..."}."""
    text = (ROOT / path).read_text(encoding="utf-8")
    node = _class(text, owner)
    comments = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    return {
        target.id: comments.get(each.lineno, "")
        for each in node.body
        if isinstance(each, ast.Assign)
        for target in each.targets
        if isinstance(target, ast.Name)
    }


@dataclass(frozen=True, slots=True)
class Field:
    """One annotated field of a class, with the comment line that heads its group and the docstring below it."""

    name: str
    group: str
    says: str


def fields_of(path: str, owner: str) -> list[Field]:
    """Return the annotated fields of a class in their order."""
    text = (ROOT / path).read_text(encoding="utf-8")
    lines = text.splitlines()
    node = _class(text, owner)
    found: list[Field] = []
    group = ""
    for place, each in enumerate(node.body):
        if not isinstance(each, ast.AnnAssign) or not isinstance(each.target, ast.Name):
            continue
        above = lines[each.lineno - 2].strip()
        if above.startswith("#"):
            group = above.lstrip("# ")
        after = node.body[place + 1] if place + 1 < len(node.body) else None
        says = ""
        if (
            isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            says = " ".join(after.value.value.split())
        found.append(Field(each.target.id, group, says))
    return found


def _class(text: str, owner: str) -> ast.ClassDef:
    return next(
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef) and node.name == owner
    )


def functions_of(path: str) -> frozenset[str]:
    """Return the names of a module's functions."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@dataclass(frozen=True, slots=True)
class Words:
    """A fault as the code builds it; `…` stands for what is only known when it happens."""

    code: str
    field: str
    message: str
    fix: str
    path: str
    source: str = ""
    whose: str = ""


MAKER = "Fault"
NAMES = ("code", "field", "message", "fix", "source", "label", "whose", "detail")
"""What builds a fault, and its arguments in order."""

UNKNOWN = "…"
Known = dict[str, str]
"""Texts by the name of a constant or a parameter."""


def faults_in(*packages: str) -> Iterator[Words]:
    """Find every fault that these folders or files build with a code of its own, also by a helper of theirs."""
    trees = {
        path: ast.parse(path.read_text(encoding="utf-8")) for package in packages for path in _files(package)
    }
    constants: Known = {}
    for tree in trees.values():
        constants |= _constants(tree)
    for path, tree in trees.items():
        known = constants | _constants(tree)
        helpers = dict(_helpers(tree))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id == MAKER:
                text = _arguments(node, NAMES)
            elif node.func.id in helpers:
                made, parameters = helpers[node.func.id]
                given = _arguments(node, parameters)
                known_here = known | {name: _text(given.get(name), known) for name in parameters}
                yield from _words(_arguments(made, NAMES), known_here, path)
                continue
            else:
                continue
            yield from _words(text, known, path)


def _files(package: str) -> list[Path]:
    where = ROOT / package
    return sorted(where.rglob("*.py")) if where.is_dir() else [where]


def _helpers(tree: ast.Module) -> Iterator[tuple[str, tuple[ast.Call, tuple[str, ...]]]]:
    """Find the functions that do nothing but build a fault from what they are given."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(
                name=name, body=[*_, ast.Return(value=ast.Call(func=ast.Name(id="Fault")) as made)]
            ):
                yield name, (made, tuple(each.arg for each in (*node.args.args, *node.args.kwonlyargs)))


def _arguments(node: ast.Call, names: tuple[str, ...]) -> dict[str, ast.expr]:
    given: dict[str, ast.expr] = dict(zip(names, node.args, strict=False))
    return given | {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}


def _words(text: dict[str, ast.expr], known: Known, path: Path) -> Iterator[Words]:
    parts = {name: _text(text.get(name), known) for name in NAMES}
    code, source, whose = parts["code"], parts["source"], parts["whose"]
    if code and UNKNOWN not in code:  # else a helper's own line: its callers say the code
        where = str(path.relative_to(ROOT))
        yield Words(
            code,
            parts["field"],
            parts["message"],
            parts["fix"],
            where,
            source if UNKNOWN not in source else "",
            whose if UNKNOWN not in whose else "",
        )


def _text(node: ast.expr | None, known: Known) -> str:
    """Return the text of an expression as far as the source tells it."""
    match node:
        case None:
            return ""
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, known) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)) | ast.Name(id=name):
            return known.get(name, UNKNOWN)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left, known) + _text(right, known)
        case ast.BoolOp(values=values):
            return _text(values[-1], known)
        case ast.IfExp(body=body, orelse=other):
            return f"{_text(body, known)} / {_text(other, known)}"
        case _:
            return UNKNOWN


def _constants(tree: ast.Module) -> Known:
    """Return a module's texts by their names."""
    found: Known = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                text = _text(value, found)
                if text and UNKNOWN not in text:
                    found[name] = text
    return found


def table(heads: str, rows: Iterable[str]) -> list[str]:
    """Return a table of Markdown; the heads come as `one | two`."""
    return [f"| {heads} |", f"|{'---|' * (heads.count('|') + 1)}", *rows]
