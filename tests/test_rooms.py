"""The order of the house: no circles of imports, no long files, file names that are unique within a room."""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "mmfusion"
MOST_LINES = 400
CIRCLES: list[list[str]] = []
LONG: set[str] = set()


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, modules: Mapping[str, object]) -> Iterator[str]:
    """The package's modules that a file imports, at its top, in functions, and for type checking alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else str(node.module)


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Modules that reach one another, sorted; Tarjan's components of more than one."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            component = stack[at:]
            del stack[at:]
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return sorted(found)


def test_import_cycles_are_detected() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"g"}, "g": {"f"}}
    assert circles(graph) == [["a", "b", "c"], ["f", "g"]]


def test_imports_are_detected_anywhere_in_a_module() -> None:
    text = "from p import a\ndef f():\n    import p.b\nif TYPE_CHECKING:\n    from p.c import X\nimport other"
    assert set(imported(ast.parse(text), dict.fromkeys(("p", "p.a", "p.b", "p.c")))) == {"p.a", "p.b", "p.c"}


@pytest.mark.slow
def test_package_has_no_import_cycles() -> None:
    files = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    graph = {name: set(imported(ast.parse(path.read_text(encoding="utf-8")), files)) for name, path in files.items()}
    assert [circle for circle in circles(graph) if circle not in CIRCLES] == []


def test_no_file_is_too_long() -> None:
    n_lines = {
        path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")
    }
    assert {name for name, n in n_lines.items() if n > MOST_LINES} - LONG == set()


def test_file_names_are_unique_within_a_room() -> None:
    rooms = [path for path in PACKAGE.iterdir() if path.is_dir()]
    for room in rooms:
        names = Counter(path.name for path in room.rglob("*.py") if not path.name.startswith("__"))
        assert [name for name, times in names.items() if times > 1] == [], room.name
