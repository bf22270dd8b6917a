"""Runs the two programs from the folder alone: `python <this folder> train ...`, `python <this folder> predict ...`.

Nothing has to be installed and the folder may have any name: the package beside this file is loaded under its own
name, `chimerax.cryotrans`, in a `chimerax` that holds nothing else.  So a Python that has a `chimerax` of its own, be
it ChimeraX's, cannot put one thing of it in the way.  `python -m chimerax.cryotrans` does the same for an installed
package.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_NAME = "chimerax.cryotrans"


def _load_package(folder: Path) -> None:
    """Have `chimerax.cryotrans` be the package in `folder`."""
    # Python puts the folder that it runs first on the path, where our modules would pass for other people's.
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).absolute() != folder]
    namespace = ModuleType("chimerax")
    namespace.__path__ = []
    sys.modules["chimerax"] = namespace
    spec = importlib.util.spec_from_file_location(
        _NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = package
    spec.loader.exec_module(package)
    namespace.cryotrans = package  # type: ignore[attr-defined]


if __name__ in ("__main__", "__mp_main__") and not __package__:  # run by path, not with -m
    if sys.version_info < (3, 9):  # noqa: UP036  run by path, no installer has asked for Python 3.9
        sys.exit(f"CryoTRANS needs Python 3.9 or later; {sys.executable} is Python {sys.version.split()[0]}.")
    _load_package(Path(__file__).absolute().parent)
    __spec__ = None  # so that multiprocessing has the processes that it starts run this file too, as __mp_main__

if __name__ == "__main__":
    sys.exit(importlib.import_module(_NAME + ".programs.command_line").main(sys.argv[1:]))
