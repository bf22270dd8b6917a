"""What a process may have, against a made-up /proc and /sys, and against what macOS prints."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from chimerax.cryotrans.engine.free_memory import free_by_vm_stat, room_for_process, room_on_linux

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
MEBIBYTE = 1 << 20

VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                              100000.
Pages active:                            500000.
Pages inactive:                           20000.
Pages speculative:                         3000.
Pages throttled:                              0.
Pages wired down:                        150000.
Pages purgeable:                            400.
"""


def _system(root: Path, cgroup: str, groups: dict[str, dict[str, object]]) -> Path:
    """A file system in which 800 MiB are available and 100 MiB can be swapped out, and this process has 10 pages."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text(
        f"MemTotal: {2000 * 1024} kB\nMemFree: 1 kB\nMemAvailable: {800 * 1024} kB\nSwapFree: {100 * 1024} kB\n"
    )
    (root / "proc" / "self" / "statm").write_text("1000 10 5 1 0 90 0\n")
    (root / "proc" / "self" / "cgroup").write_text(cgroup)
    for name, files in groups.items():
        folder = root / "sys/fs/cgroup" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (folder / file).write_text(f"{content}\n")
    return root


def _v2(limit, used, inactive=0):
    return {"memory.max": limit, "memory.current": used, "memory.stat": f"anon 5\ninactive_file {inactive}"}


def _v1(limit, used, inactive=0):
    return {
        "memory.limit_in_bytes": limit,
        "memory.usage_in_bytes": used,
        "memory.stat": f"cache 5\ntotal_inactive_file {inactive}",
    }


@pytest.mark.parametrize(
    ("cgroup", "groups", "mebibytes"),
    [
        ("0::/\n", {}, 900),
        ("0::/a/b\n", {"a": _v2("max", 5), "a/b": _v2("max", 5)}, 900),
        ("0::/a/b\n", {"a": _v2(500 * MEBIBYTE, 100 * MEBIBYTE), "a/b": _v2("max", 5)}, 400),
        ("0::/a\n", {"a": _v2(500 * MEBIBYTE, 450 * MEBIBYTE, 100 * MEBIBYTE)}, 150),
        ("0::/hidden/in/container\n", {"": _v2(300 * MEBIBYTE, 0)}, 300),
        ("5:cpu:/x\n4:memory:/m\n0::/\n", {"memory/m": _v1(250 * MEBIBYTE, 50 * MEBIBYTE, 10 * MEBIBYTE)}, 210),
        ("4:memory:/m\n", {"memory/m": _v1(2**63 - 4096, 0)}, 900),
        ("0::/a\n", {"a": _v2(100 * MEBIBYTE, 200 * MEBIBYTE)}, 0),
        ("not what it should be\n", {}, None),
    ],
)
def test_the_least_of_system_and_control_groups_counts(tmp_path, cgroup, groups, mebibytes):
    root = _system(tmp_path, cgroup, groups)
    if mebibytes is None:
        with pytest.raises(ValueError):
            room_on_linux(root)
    else:
        assert room_on_linux(root) == mebibytes * MEBIBYTE + 10 * PAGE


def test_what_macos_lists():
    assert free_by_vm_stat(VM_STAT) == 16384 * (100000 + 20000 + 3000 + 400)
    with pytest.raises(ValueError):
        free_by_vm_stat("vm_stat: command not found")


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_this_system_tells():
    before = room_for_process()
    assert before is not None and before > 100e6
    held = bytearray(os.urandom(1)) * 200_000_000  # what is held already counts as ours
    assert abs(room_for_process() - before) < 150e6 + 0.1 * before
    del held


def test_a_system_that_does_not_tell_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "platform", "plan9")
    assert room_for_process() is None
