"""The source itself: what a linter does not see, and what would break quietly.

The two tripwires are not goals.  Whatever has a reason to be longer is listed with it.
"""

import ast
import http
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("config", "engine", "http", "loadtests", "persistence", "tests")
MODULES = sorted(path for root in SOURCE_ROOTS for path in (ROOT / root).rglob("*.py"))

MODULE_LINES_MAX = 350
LONG_MODULES: dict[str, str] = {}

FUNCTION_LINES_MAX = 70
LONG_FUNCTIONS: dict[str, str] = {}
"""By `path:name`, with the reason."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed() -> Iterator[tuple[str, ast.Module]]:
    for path in MODULES:
        yield named(path), ast.parse(path.read_text())


def test_no_folder_shadows_the_standard_library() -> None:
    """An __init__.py in http/, or in any folder so named, breaks `import http.client`."""
    packages = {path.parent for path in MODULES if path.name == "__init__.py"}

    assert not [package for package in packages if package.name in sys.stdlib_module_names]
    assert not [package for package in packages if package.parent == ROOT]
    assert Path(str(http.__file__)).is_relative_to(sysconfig.get_path("stdlib"))


def test_the_standard_library_is_found_from_the_root() -> None:
    """Also with the checkout first on the path, where `python -c` puts it."""
    program = "import http.client; print(http.client.__file__)"

    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert Path(ran.stdout.strip()).is_relative_to(sysconfig.get_path("stdlib"))


def test_test_folders_are_not_packages() -> None:
    """Two tests of one name may stand in two folders only if no folder is a package."""
    marked = [named(path) for path in (ROOT / "tests").glob("*/__init__.py")]

    assert marked in ([], ["tests/wallet_testing/__init__.py"])


def test_every_module_says_what_it_is() -> None:
    """A module without a docstring does not say what may live in it."""
    # A folder of migrations is a package for Alembic's sake; an empty file has nothing to say.
    silent = [name for name, tree in parsed() if tree.body and not ast.get_docstring(tree)]

    assert silent == []


def test_modules_are_short() -> None:
    """A module past the tripwire holds a second idea, or is listed with its reason."""
    lines = {named(path): len(path.read_text().splitlines()) for path in MODULES}
    long = {name for name, count in lines.items() if count > MODULE_LINES_MAX}

    assert long - set(LONG_MODULES) == set()


def test_functions_fit_a_screen() -> None:
    """A function past the tripwire does a second thing, or is listed with its reason."""
    long = {
        f"{name}:{node.name}"
        for name, tree in parsed()
        for node in ast.walk(tree)
        if isinstance(node, Function) and lines_of(node) > FUNCTION_LINES_MAX
    }

    assert long - set(LONG_FUNCTIONS) == set()


def test_unit_tests_never_wait() -> None:
    """A real wait is slow when it is long enough, and fails now and then when it is not."""
    waits = [
        f"{name}:{node.lineno}"
        for name, tree in parsed()
        if name.startswith("tests/unit/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and is_wait(node)
    ]

    assert waits == []


def test_every_suppression_says_what_it_suppresses() -> None:
    """A bare `noqa` or `type: ignore` hides the next fault as well."""
    bare = re.compile(r"#\s*(noqa(?!: ?[A-Z]+[0-9]+)|type:\s*ignore(?!\[[a-z-]))", re.IGNORECASE)
    found = [
        f"{named(path)}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if bare.search(line)
    ]

    assert found == []


def test_exemptions_are_needed() -> None:
    """An exemption for what is short again, or gone, is removed."""
    functions = {
        f"{name}:{node.name}"
        for name, tree in parsed()
        for node in ast.walk(tree)
        if isinstance(node, Function)
    }

    assert set(LONG_FUNCTIONS) <= functions
    assert {path for path in LONG_MODULES if not (ROOT / path).is_file()} == set()


def test_the_lock_names_versions_and_nothing_else() -> None:
    """A path or a package index in the lock would bind it to one machine."""
    for name in ("run", "dev"):
        lines = (ROOT / f"requirements/{name}.txt").read_text().splitlines()
        assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+", line)] == []
        assert lines == sorted(lines, key=lambda line: line.split("==")[0])


def lines_of(function: Function) -> int:
    """Return how many lines `function` has, its docstring and decorators left out."""
    body = function.body
    first = body[1] if len(body) > 1 and ast.get_docstring(function) else body[0]
    return (function.end_lineno or 0) - first.lineno + 1


def is_wait(call: ast.Call) -> bool:
    """Whether `call` is a sleep of more than nothing."""
    name = ast.unparse(call.func)
    if name == "time.sleep":
        return True
    return name in {"asyncio.sleep", "sleep"} and [ast.unparse(it) for it in call.args] != ["0"]
