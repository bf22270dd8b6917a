"""Which Python runs the engine, and making one that has PyTorch.

PyTorch is kept out of ChimeraX's own Python, which it can spoil (other versions of numpy and setuptools), so the engine
runs in another: one that the user named, else a virtual environment that `cryotrans install` made, else ChimeraX's own
if PyTorch has been put there all the same.

An environment of ours holds two files: one says from its beginning that it is ours, so that nothing of the user's is
ever removed, and one says at the end that all of it is there.
"""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import chimerax
from chimerax.core.errors import UserError
from chimerax.core.python_utils import chimerax_python_executable

from .markup import link
from .settings import user_settings

PACKAGES = ("numpy", "mrcfile", "torch")  # without which nothing works
WITH_THEM = ("matplotlib",)  # for the report
_PACKAGE_FOLDER = Path(__file__).absolute().parents[1]
OURS = "made_by_cryotrans.txt"
WHOLE = "cryotrans_ready.txt"
_SECONDS_TO_ANSWER = 60  # of a Python just asked what it has; a cold disk can take long

# Asked of a Python before PyTorch is imported, which takes seconds.
_QUESTION = """
import importlib.util, json, sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
print(json.dumps({"version": list(sys.version_info[:2]), "missing": missing}))
"""

# Asked of a Python that has PyTorch: which CUDA it was made for, null if it sees no NVIDIA GPU.
CUDA_QUESTION = "import json, torch; print(json.dumps(torch.version.cuda if torch.cuda.is_available() else None))"
_CUPY = {"11": "cupy-cuda11x", "12": "cupy-cuda12x", "13": "cupy-cuda13x"}  # by the main number of CUDA's version


def worker_command(python: Path, program: str, arguments: Sequence[str]) -> list[str]:
    """The command line of a worker: reports as JSON, stops when its standard input is closed."""
    return [str(python), str(_PACKAGE_FOLDER), program, *arguments, "--progress", "json", "--stop-with-input"]


def environment(python: Path) -> dict[str, str]:
    """The environment variables of a worker: ours, less what ChimeraX's or the user's Python was told."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if python == own_python() and site.USER_BASE:
        variables["PYTHONUSERBASE"] = site.USER_BASE  # where ChimeraX's pip puts packages
    variables["CRYOTRANS_PARENT"] = str(os.getpid())  # it ends when we are gone, see docs/progress.md
    if sys.platform == "darwin":
        variables["PYTORCH_ENABLE_MPS_FALLBACK"] = "1"
    return variables


def find_python(session: Any) -> Path:
    """The Python that is to run the engine; asks some, which can take a minute, so not while a window is open.

    Raises:
        UserError: none has PyTorch, or the one that was chosen does not work any more; says what to do.
    """
    try:
        return look_for_python(user_settings(session).python)
    except UserError:
        tell_how_to_install(session)
        raise


def look_for_python(chosen: str) -> Path:
    """The same on any thread.

    Args:
        chosen: the Python that the user has named, "" for none.
    """
    candidates = [Path(chosen)] if chosen else [python_of(default_folder()), own_python()]
    problem = None
    for python in candidates:
        trouble = trouble_with(python)
        if trouble is None:
            return python
        if problem is None and (chosen or is_ours(_folder_of(python))):
            problem = trouble
    raise UserError(
        (problem or "CryoTRANS needs PyTorch, which is not here yet.")
        + " Type: cryotrans install  (downloads it, about 300 MB, up to 3 GB for an NVIDIA GPU, into a folder of its"
        " own; ChimeraX is left as it is)."
        " Or name a Python that has it: cryotrans install python PATH"
    )


def tell_how_to_install(session: Any) -> None:
    session.logger.info(f"Install PyTorch for CryoTRANS: {link('cryotrans install')}", is_html=True)


def trouble_with(python: Path) -> str | None:
    """Why this Python cannot run the engine, None if it looks as if it could."""
    folder = _folder_of(python)
    if is_ours(folder):
        if not _base_is_there(folder):
            return (
                f"The Python environment in {folder} was made with a Python that is gone, as after an upgrade of "
                f"ChimeraX; it has to be made again."
            )
        if not (folder / WHOLE).is_file():
            return f"The Python environment in {folder} is half made: its installation did not come to its end."
    if not python.is_file():
        return f"There is no Python {python}."
    try:
        answer = _answer(python, _QUESTION, *PACKAGES)
        version, missing = tuple(answer["version"]), answer["missing"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return f"{python} does not answer as a Python does."
    if version < (3, 9):
        return f"{python} is Python {version[0]}.{version[1]}; Python 3.9 or later is needed."
    if missing:
        return f"{python} has no {' and no '.join(missing)}."
    return None


def cupy_for(python: Path) -> str | None:
    """The CuPy package that fits this Python's PyTorch, None if it sees no NVIDIA GPU."""
    try:
        cuda = _answer(python, CUDA_QUESTION)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None  # the training to try it will say what is wrong
    return cupy_package(cuda)


def cupy_package(cuda: str | None) -> str | None:
    """The one for a version of CUDA, None for none."""
    return _CUPY.get(str(cuda).partition(".")[0])


def _answer(python: Path, question: str, *words: str) -> Any:
    """What a Python prints, as JSON, when it is given these lines and words."""
    done = subprocess.run(
        [str(python), "-c", question, *words],
        env=environment(python),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=_SECONDS_TO_ANSWER,
        check=False,
        **_without_window(),
    )
    return json.loads(done.stdout)


def default_folder() -> Path:
    """Where `cryotrans install` makes its environment: kept when ChimeraX is upgraded."""
    return Path(chimerax.app_dirs_unversioned.user_data_dir) / "CryoTRANS" / "python"


def python_of(folder: Path) -> Path:
    """The Python of the environment in a folder."""
    return folder / "Scripts" / "python.exe" if sys.platform == "win32" else folder / "bin" / "python"


def own_python() -> Path:
    return Path(chimerax_python_executable())


def _folder_of(python: Path) -> Path:
    return python.parent.parent


def is_ours(folder: Path) -> bool:
    return (folder / OURS).is_file()


def _base_is_there(folder: Path) -> bool:
    """Is the Python that an environment was made with still there?  True before the environment says which it is."""
    try:
        lines = (folder / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return True
    home = next((line.partition("=")[2].strip() for line in lines if line.partition("=")[0].strip() == "home"), "")
    return not home or (Path(home).is_dir() and (sys.platform == "win32" or python_of(folder).exists()))


def _without_window() -> Mapping[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {}
