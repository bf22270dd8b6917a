"""For all tests: no test may be skipped where it could run, and signals are those of a program in the foreground.

With CRYOTRANS_NO_SKIPS=1, as in CI, a skip is a failure, unless its reason begins with one of `ALLOWED_REASONS`: what a
machine may lack and a developer cannot install.

A job in the background, or under nohup, ignores signals, and so do the programs that it starts.
"""

from __future__ import annotations

import errno
import os
import platform
import signal
import sys

import pytest

NO_CHIMERAX = "needs the ChimeraX libraries"
ALLOWED_REASONS = ["needs an NVIDIA GPU", "needs an Apple GPU", "needs a C++ compiler", "needs PyQt6", "needs an sshd"]
if (sys.version_info[:2], sys.platform, platform.machine()) != ((3, 11), "linux", "x86_64"):
    ALLOWED_REASONS.append(NO_CHIMERAX)  # there are none for this Python or this machine
if (sys.platform, platform.machine()) != ("linux", "x86_64"):
    ALLOWED_REASONS.append("needs NVIDIA's compiler")  # requirements-dev.txt has it for this machine alone
if sys.version_info < (3, 11):
    ALLOWED_REASONS.append("needs Snakemake")
if sys.platform != "linux":
    ALLOWED_REASONS += ["needs glibc", "needs /proc"]

signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # Windows has none
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not os.environ.get("CRYOTRANS_NO_SKIPS") or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.split("Skipped: ", 1)[-1]
    if not reason.startswith(tuple(ALLOWED_REASONS)):
        report.outcome = "failed"
        report.longrepr = f"Skipped, which CRYOTRANS_NO_SKIPS forbids: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.fixture
def opening_to_write_fails(monkeypatch):
    """A call from which on no file can be opened for writing, also for the user who runs the tests as root."""

    def forbid() -> None:
        real = open

        def read_only(path, mode="r", *more, **how):
            if set(mode) & set("wax+"):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, mode, *more, **how)

        monkeypatch.setattr("builtins.open", read_only)

    return forbid


@pytest.fixture(autouse=True)
def denormal_numbers_stay():
    """The engine makes zeros of them in its own process; here Hypothesis would find a broken floating-point unit."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
