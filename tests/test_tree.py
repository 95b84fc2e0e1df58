"""The shape of the tree: every source module has its own test file, and files and functions stay small."""

import ast
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_each_module_has_its_own_test_file(module: Path) -> None:
    test = ROOT / "tests" / module.parent / f"test_{module.stem.removeprefix('__').removesuffix('__')}.py"
    assert test.exists() or not has_behaviour(module), f"{module} wants {test.relative_to(ROOT)}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_files_and_functions_stay_small(module: Path) -> None:
    text = (ROOT / module).read_text()
    assert len(text.splitlines()) <= FILE_LINES, f"{module} holds two concepts: split it"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{module}:{node.lineno} {node.name} has {length} lines"
