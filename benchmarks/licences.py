"""What the wheel needs, with all that this needs in turn, and under which licence each is, by what is installed here.

    python benchmarks/licences.py

Ends with an error if one says nothing, or what nobody has looked at yet.
"""

from __future__ import annotations

import configparser
import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

_ROOT = Path(__file__).resolve().parents[1]
_OPTIONAL = ("atoms", "report")
# All of these let anybody use, copy and change; MPL-2.0 asks that changes of its own files stay open.
_KNOWN = "MIT|BSD|Apache|PSF|Python Software Foundation|HPND|MPL|Mozilla|ISC|Unlicense|matplotlib|Zlib|CC0"


def main() -> None:
    setup = configparser.ConfigParser(delimiters=("=",))
    setup.read(_ROOT / "setup.cfg", encoding="utf-8")
    wanted = setup["options"]["install_requires"].split("\n")
    for extra in _OPTIONAL:
        wanted += setup["options.extras_require"][extra].split("\n")
    found: dict[str, tuple[str, str]] = {}
    for text in filter(None, wanted):
        _add(Requirement(text), found)
    print("| package | version | licence |\n|---|---|---|")
    strange = []
    for name, (version, licence) in sorted(found.items()):
        print(f"| {name} | {version} | {licence} |")
        if not re.search(_KNOWN, licence):
            strange.append(name)
    if strange:
        sys.exit(f"To be looked at: {', '.join(strange)}")


def _add(requirement: Requirement, found: dict[str, tuple[str, str]]) -> None:
    name = requirement.name.lower().replace("_", "-")
    if name in found or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
        return
    package = metadata.distribution(requirement.name)
    found[name] = (package.version, _licence_of(package.metadata))
    for text in package.requires or ():
        _add(Requirement(text), found)


def _licence_of(about: metadata.PackageMetadata) -> str:
    """By the expression, else the classifiers, else the field's first line."""
    classifiers = [
        line.split(" :: ")[-1] for line in about.get_all("Classifier") or () if line.startswith("License ::")
    ]
    named = [name for name in classifiers if name != "OSI Approved"]
    field = (about.get("License") or "").strip().splitlines()
    return about.get("License-Expression") or ", ".join(named) or (field[0] if field else "not said")


if __name__ == "__main__":
    main()
