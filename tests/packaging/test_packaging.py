"""What is declared in bundle_info.xml and in setup.cfg agrees, with each other and with what is in src/.

The engine needs nothing of ChimeraX, ChimeraX's half nothing of PyTorch, and the programs run installed or not.
The bundle's wheel is tested in tests/app, by ChimeraX's own builder.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import chimerax.cryotrans
from chimerax.cryotrans.engine.options.prediction import PREDICTION
from chimerax.cryotrans.engine.options.training import TRAINING

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))


@pytest.fixture(scope="module")
def xml() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "bundle_info.xml").getroot()


@pytest.fixture(scope="module")
def cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def _requirements(lines: list[str]) -> dict[str, str]:
    """{"numpy": ">=1.22", ...} of ["numpy>=1.22", ...]."""
    matches = [re.fullmatch(r"([\w.-]+)\s*(.*)", line) for line in lines]
    return {match[1]: match[2] for match in matches if match}


def _run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run this Python on `arguments`, with these environment variables besides."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


# The declarations


def test_versions_agree(xml, cfg):
    assert xml.get("version") == cfg["metadata"]["version"] == chimerax.cryotrans.__version__


def test_names_and_words_agree(xml, cfg):
    assert xml.get("name") == cfg["metadata"]["name"]
    assert xml.findtext("Synopsis") == cfg["metadata"]["description"]
    assert xml.findtext("Author") == cfg["metadata"]["author"]
    assert xml.findtext("License") == cfg["metadata"]["license"]


def test_packages_are_the_folders_of_src(xml, cfg):
    assert xml.get("package") == "chimerax.cryotrans"
    assert cfg["options"]["package_dir"].split() == ["chimerax.cryotrans", "=", "src"]
    folders = {path.parent for path in MODULES}
    assert all(SOURCE.joinpath(folder, "__init__.py").is_file() for folder in folders)  # else they are not packaged
    packages = {".".join(("chimerax.cryotrans", *folder.parts)) for folder in folders}
    assert set(_lines(cfg["options"]["packages"])) == packages


def test_data_files_agree(xml, cfg):
    assert len(xml.findall("DataFiles")) == 1  # a second replaces the first
    of_xml = {path for e in xml.iter("DataFile") for path in SOURCE.glob((e.text or "").strip())}
    patterns = _lines(cfg["options.package_data"]["chimerax.cryotrans"])
    of_cfg = {path for pattern in patterns for path in SOURCE.glob(pattern)}
    in_source = {p for p in SOURCE.rglob("*") if p.is_file() and p.suffix != ".py" and "__pycache__" not in p.parts}
    assert of_xml == of_cfg == in_source


def test_bundle_depends_on_the_light_part_of_the_package(xml, cfg):
    of_xml = {e.get("name", ""): e.get("version", "") for e in xml.iter("Dependency")}
    of_cfg = _requirements(_lines(cfg["options"]["install_requires"]))
    assert of_xml == {"ChimeraX-Core": ">=1.7", "numpy": "", "mrcfile": of_cfg["mrcfile"]}  # numpy is ChimeraX's choice
    assert {"numpy", "mrcfile", "torch"} <= set(of_cfg)


def test_pyproject_declares_no_project():
    assert not re.search(r"^\s*\[project\b", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)


def test_pinned_versions_are_those_that_users_may_have(cfg):
    pins = _requirements(
        line.split(";")[0].strip() for line in _lines((ROOT / "requirements-dev.txt").read_text()) if line[0] != "#"
    )
    wanted = set(_requirements(_lines(cfg["options"]["install_requires"] + cfg["options.extras_require"]["test"])))
    assert wanted <= set(pins) and all(pin.startswith("==") for pin in pins.values())


@pytest.mark.parametrize("table", [TRAINING, PREDICTION], ids=["train", "predict"])
def test_help_page_has_every_keyword(table):
    page = (SOURCE / "docs" / "user" / "commands" / "cryotrans.html").read_text(encoding="utf-8")
    keywords = [about.typed_keyword for about in table.values() if about.keyword]
    assert [keyword for keyword in keywords if f"<b>{keyword}</b>" not in page] == []


# What needs what

# Of the engine, what the ChimeraX half uses where PyTorch is not:
TORCHLESS = (
    *("errors", "options", "files.run_directory", "maps.density_map", "maps.grids", "maps.mrc_file"),
    *("maps.preparation", "carrying.atoms", "carrying.model_file"),
)


@pytest.mark.parametrize("module", TORCHLESS)
def test_numpy_half_of_the_engine_does_without_torch(module):
    done = _run("-c", f"import sys, chimerax.cryotrans.engine.{module}; print('torch' in sys.modules)")
    assert done.stdout == "False\n", done.stderr


WITHOUT_CHIMERAX = """
import importlib, sys
class Refuse:
    def find_spec(name, path=None, target=None):
        if name.startswith("chimerax.") and not name.startswith("chimerax.cryotrans"):
            raise AssertionError(name + " was imported")
sys.meta_path.insert(0, Refuse)
for name in sys.argv[1:]:
    importlib.import_module(name)
print([name for name in sys.modules if name.startswith("chimerax.") and "cryotrans" not in name])
"""


def test_engine_does_without_chimerax():
    names = [p.with_suffix("").parts for p in MODULES if p.parts[0] in ("engine", "programs") and p.stem != "__init__"]
    assert names
    done = _run("-c", WITHOUT_CHIMERAX, *(".".join(("chimerax.cryotrans", *name)) for name in names))
    assert done.stdout == "[]\n", done.stderr


# The programs, not installed

CLI = """
import json, sys
from .. import __file__ as package, __version__
from ..engine import errors
def main(argv=None):
    names = sorted(name for name in sys.modules if name.split(".")[0] == "chimerax")
    print(json.dumps([__name__, package, argv, names, sys.path]))
    return 3
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of src/, somewhere else and with another name."""
    return Path(shutil.copytree(SOURCE, tmp_path / "a bundle", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def foreign(tmp_path) -> str:
    """A folder for PYTHONPATH, with a `chimerax` that does not import, as that of the wheel on PyPI does not."""
    package = tmp_path / "foreign" / "chimerax"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('the foreign chimerax was imported')")
    return str(package.parent)


def test_folder_runs_as_the_package(folder, foreign):
    (folder / "programs" / "command_line.py").write_text(CLI)
    done = _run(folder, "train", "--help", PYTHONPATH=foreign)
    assert done.returncode == 3, done.stderr
    name, package, arguments, modules, path = json.loads(done.stdout)
    assert (name, arguments) == ("chimerax.cryotrans.programs.command_line", ["train", "--help"])
    assert Path(package) == folder / "__init__.py"
    assert all(m.startswith("chimerax.cryotrans") for m in modules if m != "chimerax")
    assert str(folder) not in path  # there our modules would hide others of the same name


def test_folder_runs_from_inside(folder):
    (folder / "programs" / "command_line.py").write_text(CLI)
    done = subprocess.run([sys.executable, "-I", "."], cwd=folder, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 3, done.stderr
    assert Path(json.loads(done.stdout)[1]).resolve() == (folder / "__init__.py").resolve()


def test_installed_package_runs_with_m():
    done = _run("-m", "chimerax.cryotrans", "--help")
    assert done.returncode == 0 and "train" in done.stdout and "predict" in done.stdout, done.stderr


@pytest.mark.parametrize("program", ["train", "predict"])
def test_folder_gives_help(folder, foreign, program):
    done = _run(folder, program, "--help", PYTHONPATH=foreign)
    assert done.returncode == 0 and "usage" in done.stdout.lower(), done.stderr


def test_folder_names_its_programs(folder, foreign):
    done = _run(folder, "--help", PYTHONPATH=foreign)
    assert done.returncode == 0 and "train" in done.stdout and "predict" in done.stdout, done.stderr


# The programs, installed


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory) -> Path:
    """Where `pip install .` has put the package; from a copy, because it leaves folders behind."""
    place = tmp_path_factory.mktemp("install")
    for name in ("LICENSE", "pyproject.toml", "setup.cfg", "src"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, place / name)
    pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    done = _run(*pip, "--target", place / "site", place)
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "site"


def test_pip_installs_the_package_and_nothing_else(site_packages):
    installed = {p.relative_to(site_packages) for p in site_packages.rglob("*") if p.is_file()}
    expected = {p.relative_to(SOURCE) for p in SOURCE.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {p for p in installed if p.parts[0] == "chimerax" and "__pycache__" not in p.parts} == {
        Path("chimerax", "cryotrans", p) for p in expected
    }


@pytest.mark.parametrize("program", ["cryotrans-train", "cryotrans-predict", "cryotrans-batch"])
def test_pip_installs_the_programs(site_packages, program):
    done = subprocess.run(
        [site_packages / "bin" / program, "--help"],
        env={**os.environ, "PYTHONPATH": str(site_packages)},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0 and program in done.stdout, done.stderr
