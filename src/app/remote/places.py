"""Where the files of a run are here and there.

A folder that is named here has its like there, a file that lies elsewhere is given a place among `inputs`.  What JSON
files and messages say of paths is said here in the words of here, and there in those of there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_NOT_PATHS = ("text", "marked")  # of messages: what is said of the other machine's paths stays so


class Places:
    """Folders here and there.

    Attributes:
        roots: a folder here, and the name of its like in the folder there.
        folder: of the run, there.
    """

    def __init__(self, roots: Sequence[tuple[Path, str]], folder: str) -> None:
        self.roots, self.folder = list(roots), folder
        self.inputs: dict[Path, str] = {}  # files, and their names in the folder there

    def there(self, word: str) -> str:
        """A word of a command line, as it is to be there."""
        path = Path(word)
        if not path.is_absolute():
            return word
        for root, name in self.roots:
            if path == root or root in path.parents:
                return "/".join([self.folder, name, *path.relative_to(root).parts])
        if path.is_dir():
            self.roots.append((path, f"folder_{len(self.roots)}"))
            return self.there(word)
        name = self.inputs.setdefault(path, f"inputs/{len(self.inputs)}/{path.name}")
        return f"{self.folder}/{name}"

    def here(self, value: Any) -> Any:
        """What a message says, with the paths of here."""
        if isinstance(value, dict):
            return {key: item if key in _NOT_PATHS else self.here(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.here(item) for item in value]
        if isinstance(value, str):
            for root, name in self.roots:
                prefix = f"{self.folder}/{name}"
                if value == prefix or value.startswith(prefix + "/"):
                    return (
                        str(root.joinpath(*value[len(prefix) :].strip("/").split("/")))
                        if value != prefix
                        else str(root)
                    )
        return value

    def content_there(self, content: bytes) -> bytes:
        """A JSON file of here as it is there."""
        for root, name in self.roots:
            content = content.replace(_in_json(str(root)), _in_json(f"{self.folder}/{name}"))
        return content

    def content_here(self, content: bytes) -> bytes:
        """A JSON file of there as it is here."""
        for root, name in self.roots:
            content = content.replace(_in_json(f"{self.folder}/{name}"), _in_json(str(root)))
        return content


def _in_json(text: str) -> bytes:
    return json.dumps(text)[1:-1].encode()
