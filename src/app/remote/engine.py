"""The programs as they are sent to another machine: the same files that a worker of this one runs."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

from ... import __version__
from .connection import Connection

_PACKAGE = Path(__file__).absolute().parents[2]
_PARTS = ("__init__.py", "__main__.py", "engine", "programs")


def _files() -> list[Path]:
    found = [path for part in _PARTS for path in (_PACKAGE / part, *(_PACKAGE / part).rglob("*.py"))]
    return sorted(path for path in found if path.is_file())


def engine_digest() -> str:
    """Of the names and contents of the files: another one is another version, whatever number it bears."""
    total = hashlib.sha256()
    for path in _files():
        name, content = path.relative_to(_PACKAGE).as_posix(), path.read_bytes()
        total.update(f"{name} {len(content)}\n".encode() + content)
    return total.hexdigest()[:16]


def send_engine(connection: Connection, digest: str) -> None:
    """Send the programs.

    Raises:
        Trouble: they did not arrive.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path in _files():
            about = tarfile.TarInfo(path.relative_to(_PACKAGE).as_posix())
            content = path.read_bytes()
            about.size, about.mode = len(content), 0o644
            tar.addfile(about, io.BytesIO(content))
    content = buffer.getvalue()
    with connection.talk("engine", digest=digest, version=__version__, size=len(content)) as talk:
        talk.send(content)
        talk.answer()
