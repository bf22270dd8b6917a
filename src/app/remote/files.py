"""Files to another machine and back: each once, whole or not at all, going on where a connection was cut.

What is there already, of the same size and SHA-256, is passed over.  A file on its way is called NAME.part, and takes
its name when its digest is right.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ...engine.files.writing import write_atomically
from .agent import PARTIAL, digest_of
from .connection import Connection, Talk, Trouble
from .places import Places

_PIECE = 1 << 20  # bytes
OF_HERE = ("worker.log", "remote.json", "run.lock")  # which do not travel
_MADE = ("frames", "report")  # what a program there makes anew, and does not read


class _Sent(NamedTuple):
    path: Path
    name: str  # there
    content: bytes | None  # where it is not what is in the file
    size: int
    sha256: str


def push(connection: Connection, places: Places, wanted: frozenset[Path], tell: Callable[[str], None]) -> None:
    """Send what a run consists of, and other files that a command line names.

    Args:
        places: what to send, and where to.
        wanted: folders of frames that are read, of which else none is sent.
        tell: is given a short text on how far it is.
    Raises:
        Trouble: not all of it arrived; the next try goes on from there.
        OSError: a file here cannot be read.
    """
    files = [_sent(path, name, places) for path, name in places.inputs.items()]
    for root, name in places.roots:
        for path in sorted(root.rglob("*")):
            if path.is_file() and _travels(path, root, wanted):
                files.append(_sent(path, f"{name}/{path.relative_to(root).as_posix()}", places))
    for _ in range(2):
        if not (wrong := _put(connection, places.folder, files, tell)):
            return
        files = [file for file in files if file.name in wrong]
    raise Trouble(f"{files[0].path} did not arrive at {connection.machine} as it is here. Try again.", True)


def _travels(path: Path, root: Path, wanted: frozenset[Path]) -> bool:
    if path.name in OF_HERE or path.name.startswith(".") or path.suffix == PARTIAL:
        return False
    parts = path.relative_to(root).parts
    made = any(part.startswith(_MADE) for part in parts)
    return not made or any(folder in path.parents for folder in wanted)


def _sent(path: Path, name: str, places: Places) -> _Sent:
    if path.suffix == ".json":
        content = places.content_there(path.read_bytes())
        return _Sent(path, name, content, len(content), hashlib.sha256(content).hexdigest())
    return _Sent(path, name, None, path.stat().st_size, digest_of(path))


def _put(connection: Connection, folder: str, files: list[_Sent], tell: Callable[[str], None]) -> list[str]:
    about = [{"path": file.name, "size": file.size, "sha256": file.sha256} for file in files]
    with connection.talk("put", folder=folder, files=about) as talk:
        have = talk.answer()["have"]
        left = total = sum(file.size - begun for file, begun in zip(files, have))
        for file, begun in zip(files, have):
            if file.content is not None:
                talk.send(file.content[begun:])
                left -= file.size - begun
                continue
            if begun == file.size:
                continue
            with file.path.open("rb") as opened:
                opened.seek(begun)
                while piece := opened.read(_PIECE):
                    talk.send(piece)
                    left -= len(piece)
                    tell(f"sending maps, {1 - left / total:.0%}")
        return talk.answer()["wrong"]


def pull(connection: Connection, places: Places, tell: Callable[[str], None]) -> None:
    """Fetch what is there of a run and is not here.

    Raises:
        Trouble: not all of it came; the next try goes on from there.
        OSError: a file here cannot be written.
    """
    for root, name in places.roots:
        for _ in range(2):
            if not (wrong := _pull(connection, places, root, f"{places.folder}/{name}", tell)):
                break
        else:
            raise Trouble(f"{wrong[0]} did not arrive from {connection.machine} as it is there. Try again.", True)


def _pull(connection: Connection, places: Places, root: Path, folder: str, tell: Callable[[str], None]) -> list[str]:
    with connection.talk("pull", folder=folder) as talk:
        files = {str(about["path"]): about for about in talk.answer()["files"]}
        wants = []
        for name, about in files.items():
            path = _inside(root, name)
            if path.name in OF_HERE or _is_here(path, about["size"], about["sha256"], places):
                continue
            partial = path.with_name(path.name + PARTIAL)
            begun = partial.stat().st_size if partial.is_file() else 0
            wants.append((name, begun if begun <= about["size"] else 0))
        talk.send(json.dumps(wants).encode() + b"\n")
        left = total = sum(files[name]["size"] - begun for name, begun in wants)
        wrong = []
        for name, begun in wants:
            size = talk.answer()["size"]
            path = _inside(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            for n_bytes in _receive(talk, path, begun, size):
                left -= n_bytes
                tell(f"fetching, {1 - left / total:.0%}")
            if not _is_right(path, files[name]["sha256"], places):
                wrong.append(name)
        talk.answer()
        return wrong


def _receive(talk: Talk, path: Path, begun: int, size: int) -> Iterator[int]:
    """Take in so many bytes of a file, from one on; tells of each piece how long it is."""
    partial = path.with_name(path.name + PARTIAL)
    with partial.open("r+b" if partial.is_file() else "wb") as file:
        file.truncate(begun)
        file.seek(begun)
        while size:
            piece = talk.read(min(size, _PIECE))
            file.write(piece)
            size -= len(piece)
            yield len(piece)


def _is_right(path: Path, sha256: str, places: Places) -> bool:
    """Give a file that came its name, if it is whole."""
    partial = path.with_name(path.name + PARTIAL)
    if digest_of(partial) != sha256:
        partial.unlink()
        return False
    if path.suffix == ".json":
        write_atomically(path, places.content_here(partial.read_bytes()))
        partial.unlink()
    else:
        partial.replace(path)
    return True


def _is_here(path: Path, size: int, sha256: str, places: Places) -> bool:
    if not path.is_file():
        return False
    if path.suffix == ".json":
        return hashlib.sha256(places.content_there(path.read_bytes())).hexdigest() == sha256
    return path.stat().st_size == size and digest_of(path) == sha256


def _inside(root: Path, name: str) -> Path:
    """A file that the other machine names: within the folder, whatever it says."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/") or any(set(part) & set("\\:") for part in parts):
        raise Trouble(f"The other machine names a file {name!r}, which is not one of a run.")
    return root.joinpath(*parts)
