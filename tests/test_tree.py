"""The shape of the tree: every source module has its own test file, and files and functions stay small."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    path.relative_to(ROOT)
    for floor in ("app", "channels", "media")
    for path in (ROOT / floor).rglob("*.py")
    if path.name != "__init__.py"
)
FILE_LINES = 400
FUNCTION_LINES = 40


def has_behaviour(path: Path) -> bool:
    """Interfaces and plain values have nothing to test: only modules with a function body beyond `...` count."""
    tree = ast.parse((ROOT / path).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return any(not all(isinstance(step, ast.Expr | ast.Pass) for step in function.body) for function in functions)


def statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All statements, however deep they stand; most nodes are expressions, in which no function is defined."""
    for node in body:
        yield node
        for field in ("body", "orelse", "handlers", "finalbody", "cases"):
            inner = getattr(node, field, ())
            if isinstance(inner, list):  # the body of a conditional expression or lambda is none
                yield from statements(inner)


def oversized(path: Path) -> Iterator[str]:
    text = (ROOT / path).read_text()
    if len(text.splitlines()) > FILE_LINES:
        yield f"{path} holds two concepts: split it"
    for node in statements(ast.parse(text).body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{path}:{node.lineno} {node.name} has {length} lines"


def test_each_module_has_its_own_test_file() -> None:
    wanted = {
        module: ROOT / "tests" / module.parent / f"test_{module.stem.removeprefix('__').removesuffix('__')}.py"
        for module in MODULES
    }
    missing = [module for module, test in wanted.items() if not test.exists() and has_behaviour(module)]
    assert not missing, "\n".join(f"{module} wants {wanted[module].relative_to(ROOT)}" for module in missing)


def test_files_and_functions_stay_small() -> None:
    large = [text for module in MODULES for text in oversized(module)]
    assert not large, "\n".join(large)
