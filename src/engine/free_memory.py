"""How much memory of the computer a process may have, as the system and its control group allow it.

Space to swap to counts as free: a run that needs it is slow, but is not killed.  Linux: proc(5); control groups of both
versions, kernel documentation, admin-guide/cgroup-v2 and cgroup-v1/memory.  macOS: vm_stat(1).  Windows:
GlobalMemoryStatusEx.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

_ROOT = Path("/")
_SECONDS = 5.0  # for vm_stat
# Of a group of either version: where it is mounted, limit, use, and what of the use the system gives back when asked.
_GROUPS = (
    ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def room_for_process() -> int | None:
    """Bytes that this process may have in all, what it has now among them; None where the system does not tell."""
    try:
        if sys.platform == "linux":
            return room_on_linux()
        if sys.platform == "darwin":
            listed = subprocess.run(
                ["vm_stat"], capture_output=True, encoding="utf-8", timeout=_SECONDS, check=True
            ).stdout
            return _peak_so_far() + free_by_vm_stat(listed)
        if sys.platform == "win32":
            return _free_on_windows()
    except (OSError, ValueError, AttributeError, subprocess.SubprocessError):
        pass
    return None


def room_on_linux(root: Path = _ROOT) -> int:
    """As `room_for_process`.

    Args:
        root: of the file system, in which /proc and /sys are looked at.
    Raises:
        OSError, ValueError: /proc does not say.
    """
    lines = (root / "proc" / "meminfo").read_text(encoding="ascii").splitlines()
    table = {name: 1024 * int(words.split()[0]) for name, words in (line.split(":", 1) for line in lines)}
    free = [table["MemAvailable"] + table.get("SwapFree", 0), *_free_in_groups(root)]
    resident = int((root / "proc" / "self" / "statm").read_text(encoding="ascii").split()[1])
    return max(0, min(free)) + resident * os.sysconf("SC_PAGE_SIZE")


def _free_in_groups(root: Path) -> list[int]:
    """What is left in each control group of this process that has a limit and can be seen."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for line in (root / "proc" / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            mounted, *files = _GROUPS[controllers == "memory"]
            parts = Path(path.lstrip("/")).parts
            for depth in range(len(parts) + 1):
                with contextlib.suppress(OSError, ValueError):
                    found.append(_free_in_group(root.joinpath(mounted, *parts[:depth]), *files))
    return found


def _free_in_group(group: Path, limit: str, use: str, given_back: str) -> int:
    """Raises OSError or ValueError where it has no limit."""
    most, used = (int((group / name).read_text(encoding="ascii")) for name in (limit, use))
    stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    return most - used + int(stat.get(given_back, 0))


def free_by_vm_stat(listed: str) -> int:
    """Bytes, from what macOS's vm_stat prints: pages that hold nothing, or what can be read or computed again.

    Raises:
        ValueError: that is not what it prints.
    """
    size = re.search(r"page size of (\d+) bytes", listed)
    pages = dict(re.findall(r"^Pages (free|inactive|speculative|purgeable):\s+(\d+)", listed, re.MULTILINE))
    if size is None or "free" not in pages:
        raise ValueError(listed)
    return int(size[1]) * sum(map(int, pages.values()))


def _peak_so_far() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes


def _free_on_windows() -> int:
    """What this process may still commit, of memory and page file."""

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *(
                (name, ctypes.c_uint64)
                for name in (
                    *("all_memory", "free_memory", "all_to_commit", "free_to_commit"),
                    *("all_addresses", "free_addresses", "free_extended"),
                )
            ),
        )

    status = Status(length=ctypes.sizeof(Status))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):  # type: ignore[attr-defined,unused-ignore]
        raise OSError("GlobalMemoryStatusEx failed")
    return int(status.free_to_commit)
