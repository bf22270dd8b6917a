"""The bundle in ChimeraX: from its source, and as the wheel that ChimeraX's own builder makes."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import headless
import pytest

from chimerax.cryotrans.app.commands.registration import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def test_session_knows_the_bundle(session, cryotrans_bundle):
    assert session.toolshed.find_bundle("CryoTRANS", session.logger) is cryotrans_bundle
    assert cryotrans_bundle.name == "ChimeraX-CryoTRANS"
    assert cryotrans_bundle.package_name == "chimerax.cryotrans"
    assert cryotrans_bundle.session_versions == range(1, 2)


def test_bundle_has_an_api(cryotrans_bundle):
    from chimerax.core.toolshed import BundleAPI

    import chimerax.cryotrans

    api = cryotrans_bundle._get_api()
    assert isinstance(api, BundleAPI) and api.api_version == 1
    assert cryotrans_bundle.get_module() is chimerax.cryotrans
    assert cryotrans_bundle.version == chimerax.cryotrans.__version__


def test_chimerax_finds_the_help_page(cryotrans_bundle):
    page = cryotrans_bundle.get_path("docs/user/commands/cryotrans.html")
    assert page is not None and "Command: cryotrans" in Path(page).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_opens_at_the_command_and_has_a_place_for_each_option(session, cryotrans_bundle, name):
    from chimerax.core.commands.cli import command_url

    page = Path(cryotrans_bundle.get_path("docs/user/commands/cryotrans.html")).read_text(encoding="utf-8")
    word = name.split()[1]
    assert command_url(name) == f"help:user/commands/cryotrans.html#{word}" and f'<a name="{word}"></a>' in page
    typed = [re.sub("_([a-z0-9])", lambda letter: letter[1].upper(), key) for key, _ in _keywords(name)]
    places = {*re.findall(rf'<a name="{word}-(\w+)"></a>', page)}
    assert places == {*typed} - {"to"}
    assert {*re.findall(rf'href="#{word}-(\w+)"><b>', page)} <= places


def _keywords(name):
    return COMMANDS[name].description.get("keyword", ())


def test_links_within_the_help_page_lead_somewhere(cryotrans_bundle):
    page = Path(cryotrans_bundle.get_path("docs/user/commands/cryotrans.html")).read_text(encoding="utf-8")
    places = re.findall(r'<a name="([\w-]+)"></a>', page)
    assert len(places) == len({*places}) and {*re.findall(r'href="#([\w-]+)"', page)} <= {*places}
    tool = Path(cryotrans_bundle.get_path("docs/user/tools/cryotrans.html")).read_text(encoding="utf-8")
    assert {*re.findall(r'href="../commands/cryotrans.html#([\w-]+)"', tool)} <= {*places}


@pytest.fixture
def wheel_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_wheel_is_for_any_python_3(wheel, cryotrans_bundle):
    assert wheel.name == f"ChimeraX_CryoTRANS-{cryotrans_bundle.version}-py3-none-any.whl"


def test_wheel_holds_the_package_and_nothing_else(wheel):
    source = ROOT / "src"
    expected = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    expected = {Path("chimerax/cryotrans", path) for path in expected if "__pycache__" not in path.parts}
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name) for name in archive.namelist()}
    assert {name for name in names if not name.parts[0].endswith(".dist-info")} == expected


def test_the_same_source_gives_the_same_bytes(wheel, tmp_path):
    """At another time, by a user with another umask, from files of another age and mode."""
    source = tmp_path / "source"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".venv", ".git", "__pycache__", "tests", "docs", ".*_cache")
    )
    shutil.copytree(ROOT / "src" / "docs", source / "src" / "docs", dirs_exist_ok=True)
    for path in sorted(source.rglob("*"), reverse=True):
        os.utime(path, (1_700_000_000, 1_700_000_000))
        path.chmod(0o700 if path.is_dir() else 0o600)
    before = os.umask(0o077)
    try:
        again = headless.build_wheel(source, tmp_path / "again")
    finally:
        os.umask(before)
    assert again.name == wheel.name and again.read_bytes() == wheel.read_bytes()


def test_wheel_metadata_can_be_read_by_chimerax_1_7(wheel_metadata):
    # Of later metadata versions its toolshed sees no classifiers, so no bundle.
    assert wheel_metadata["Metadata-Version"] in ("2.1", "2.2")


def test_wheel_metadata_are_those_of_the_xml(wheel_metadata, cryotrans_bundle):
    assert wheel_metadata["Name"] == "ChimeraX-CryoTRANS"
    assert wheel_metadata["Version"] == cryotrans_bundle.version
    assert wheel_metadata["License"] == "MIT"
    classifiers = wheel_metadata.get_all("Classifier")
    assert "Framework :: ChimeraX" in classifiers
    assert "ChimeraX :: Bundle :: Volume Data :: 1,1 :: chimerax.cryotrans ::  :: true" in classifiers
    required = [r for r in wheel_metadata.get_all("Requires-Dist") if "extra ==" not in r]
    assert sorted(r.replace(" ", "") for r in required) == ["ChimeraX-Core>=1.7", "mrcfile>=1.5", "numpy"]


# In a process of its own: it has another copy of the package, and the toolshed is global.
INSTALL = """
import os, sys
from pathlib import Path
sys.path[:] = [entry for entry in sys.path if not Path(entry, "chimerax", "cryotrans").is_dir()]
import headless
wheel, folder = sys.argv[1:]
session = headless.start(Path(folder))
sys.excepthook = sys.__excepthook__  # the session's puts tracebacks in its log
toolshed = session.toolshed
assert toolshed.find_bundle("CryoTRANS", session.logger) is None
os.environ["PIP_TARGET"] = toolshed._site_dir  # ChimeraX says --user, which pip refuses in a virtual environment
toolshed.install_bundle(wheel, session.logger, per_user=False, no_deps=True, session=session)
info = toolshed.find_bundle("CryoTRANS", session.logger)
assert info.installed and ("chimerax", "cryotrans") in info.packages, info.packages
assert info._get_api().api_version == 1
assert info.get_module().__file__.startswith(toolshed._site_dir)
assert Path(info.get_path("docs/user/commands/cryotrans.html")).is_file()
from chimerax.core.commands import run
run(session, f"cryotrans demo directory {folder}/demo")
from chimerax.cryotrans.app.settings import user_settings
user_settings(session).python = sys.executable
job = run(session, f"cryotrans train #1 to #2 steps 2 frames 2 device cpu directory {folder}/run")
assert len(job.series.maps) == 2
assert toolshed._site_dir in Path(folder, "run", "worker.log").read_text()  # it ran from the installed folder
assert "torch" not in sys.modules
print(*session.test_log.texts("info", "warning", "error", "bug"), sep="\\n")
"""


def test_toolshed_installs_the_wheel(wheel, cryotrans_bundle, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", INSTALL, str(wheel), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Installed ChimeraX-CryoTRANS ({cryotrans_bundle.version})" in done.stdout


def test_a_release_says_whom_to_write_to(tmp_path):
    program = [sys.executable, str(ROOT / "tests" / "app" / "headless.py"), "wheel", str(tmp_path)]
    refused = subprocess.run([*program, "", ""], capture_output=True, encoding="utf-8", check=False)
    assert refused.returncode != 0 and "EMAIL=" in refused.stderr and not any(tmp_path.iterdir())
    wheel = headless.build_wheel(ROOT, tmp_path, "us@here", "https://here/x?a&b")
    with zipfile.ZipFile(wheel) as file:
        [name] = [name for name in file.namelist() if name.endswith("METADATA")]
        said = file.read(name).decode()
    assert "us@here" in said and "https://here/x?a&b" in said
