"""Which build of PyTorch suits this computer, and the commands that fetch it.

On Linux pip's own PyTorch is that for NVIDIA GPUs, which does not even load without gigabytes of NVIDIA's libraries;
on Windows it is that for the CPU, GPU or not; on a Mac there is one for all.  The other builds lie in indexes of
PyTorch's own.  uv, an installer beside pip, knows them (docs.astral.sh/uv/guides/integration/pytorch): the one for the
CPU, or the one that suits the NVIDIA driver.  The choice is not left to it where there is no NVIDIA GPU: for Intel's
graphics, as in most laptops, it takes a build of gigabytes that CryoTRANS makes no use of.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

_QUESTION = ("nvidia-smi", "-L")  # lists GPUs, one a line; comes with NVIDIA's driver
_SECONDS_TO_ANSWER = 60  # of a driver that has to wake its GPUs


def has_nvidia_gpu() -> bool:
    """Asks NVIDIA's driver, which can take seconds."""
    try:
        done = subprocess.run(
            _QUESTION,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS_TO_ANSWER,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and any(line.startswith("GPU ") for line in done.stdout.splitlines())


def may_have_nvidia_gpu() -> bool:
    """The same without asking: NVIDIA's driver is here."""
    return shutil.which(_QUESTION[0]) is not None


def backend_for(has_gpu: bool, system: str = sys.platform) -> str | None:
    """Which of PyTorch's builds to ask uv for, None where pip's own suits.

    Args:
        has_gpu: an NVIDIA GPU answers.
        system: as sys.platform names it.
    """
    if system == "darwin":
        return None
    if has_gpu:
        return "auto"
    return None if system == "win32" else "cpu"


def download_text(has_gpu: bool) -> str:
    """How much is fetched, in all.

    torch 2.13 for the CPU on Linux, with numpy, matplotlib and what these need: 259 MB as wheels.
    """
    return "up to 3 GB, for the NVIDIA GPU" if has_gpu else "about 300 MB"


def fetch_commands(python: Path, backend: str, cache: Path) -> list[list[str]]:
    """Put uv into an environment, and PyTorch by uv.

    Args:
        python: of the environment.
        backend: see backend_for.
        cache: a folder on the same disk, to be removed afterwards.
    """
    quiet = ["--disable-pip-version-check", "--progress-bar", "off"]
    uv = [str(python), "-m", "uv", "pip", "install", "--python", str(python)]
    return [
        [str(python), "-m", "pip", "install", *quiet, "uv"],
        [*uv, "--no-progress", "--cache-dir", str(cache), "--torch-backend", backend, "torch"],
    ]
