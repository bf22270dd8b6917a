"""The rules of the house, read from the imports in src/: which module may know which.

app        the ChimeraX half: the only wing that imports chimerax.*, never torch
programs   the two programs
engine     knows neither; its floors import downwards only, in the order of FLOORS
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
FLOORS = (
    *("errors", "options", "outlook", "free_memory", "device", "ranks", "adam", "files", "maps", "flow", "transport"),
    *("docking", "training", "judging", "carrying"),
)
# Of the engine, what can be used where PyTorch is not.
WITHOUT_TORCH = (
    *(
        "errors",
        "options",
        "outlook",
        "free_memory",
        "files",
        "maps.density_map",
        "maps.grids",
        "maps.mrc_file",
        "maps.preparation",
    ),
    *("maps.bounding_box", "maps.components", "maps.inspection"),
)
MOST_LINES = 400


class Import(NamedTuple):
    line: int
    module: str  # "engine.maps.deposit" for one of ours, else as written: "chimerax.map", "torch"
    ours: bool
    lazy: bool  # inside a function, or for type checkers only


def imports_of(path: Path) -> Iterator[Import]:
    """All imports of a module, given by its path in src/."""
    tree = ast.parse((SOURCE / path).read_text(encoding="utf-8"))
    at_top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        lazy = id(node) not in at_top
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, False, lazy)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = list(path.parts[: len(path.parts) - node.level])
            names = [*base, *(node.module or "").split(".")] if node.module else base
            for alias in node.names:
                whole = [*names, alias.name]
                is_module = (SOURCE.joinpath(*whole).with_suffix(".py")).is_file()
                yield Import(node.lineno, ".".join(whole if is_module else names), True, lazy)
        elif isinstance(node, ast.ImportFrom):
            yield Import(node.lineno, node.module or "", False, lazy)


def wing_of(module: str) -> str:
    return module.split(".")[0]


def floor_of(module: str) -> int:
    """Of a module of the engine, "engine.maps.deposit"."""
    return FLOORS.index(module.split(".")[1])


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_keep_the_rules(path: Path) -> None:
    wing = path.parts[0] if len(path.parts) > 1 else ""
    here = ".".join(path.with_suffix("").parts)
    for line, module, ours, _ in imports_of(path):
        at = f"{path}:{line} imports {module}"
        if ours:
            other = wing_of(module)
            assert (wing, other) not in {("app", "programs"), ("programs", "app")}, at
            assert wing != "engine" or other == "engine", at
            if wing == "engine" and path.stem != "__init__":
                assert floor_of(module) <= floor_of(here), at
        else:
            top = module.split(".")[0]
            assert top != "chimerax" or wing == "app" or path.name == "bundle.py", at
            assert top != "torch" or wing in ("engine", "programs"), at


@pytest.mark.parametrize("path", [path for path in MODULES if path.parts[0] == "programs"], ids=str)
def test_programs_load_torch_only_to_compute(path: Path) -> None:
    """So that --help and what is wrong with the options come at once."""
    for line, module, _, lazy in imports_of(path):
        assert lazy or module != "torch", f"{path}:{line}"


def test_every_module_of_the_engine_has_a_floor() -> None:
    found = {path.parts[1].removesuffix(".py") for path in MODULES if path.parts[0] == "engine" and len(path.parts) > 1}
    assert found - {"__init__"} <= set(FLOORS)


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_what_does_without_torch(name: str) -> None:
    for path in MODULES:
        module = ".".join(path.with_suffix("").parts)
        if module == f"engine.{name}" or module.startswith(f"engine.{name}."):
            for line, imported, ours, lazy in imports_of(path):
                assert lazy or imported != "torch", f"{path}:{line}"
                if ours and not lazy:
                    assert any(f"{imported}.".startswith(f"engine.{other}.") for other in WITHOUT_TORCH), (
                        f"{path}:{line} imports {imported}"
                    )


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_room_is_too_large(path: Path) -> None:
    assert len((SOURCE / path).read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_folders_are_packages_and_hold_no_code() -> None:
    """Packaging needs the __init__.py; it imports nothing, so that a module costs no more than it needs."""
    for folder in {path.parent for path in MODULES}:
        text = (SOURCE / folder / "__init__.py").read_text(encoding="utf-8")
        assert not text or folder == Path("."), folder
