"""Files that nobody should have written, given to everything that reads files: a coverage-guided fuzzer.

    python benchmarks/fuzzing.py [TARGET ...] [--inputs N] [--seed N] [--keep FOLDER]

Every input must be read, or be refused by the reader's own error in a sentence; within 2 s of computing, with no more
than half a gigabyte of memory, without running code and without writing a file.  What breaks that is a fault: its kind
and place are printed, and its file is kept.  Python 3.11 to 3.13, Linux; atheris makes the inputs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "app")]

SECONDS = 2.0
MEMORY = 1 << 29  # bytes beyond what the libraries take
_SECONDS_TO_HANG = 30  # a library that does not come back
_MOST_CRASHES = 5
_LONGEST = 4096  # bytes of an input
_WRITING = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.")
_RUNNING = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.", "pickle.find_class", "socket.connect")


class Forbidden(Exception):
    """What no reader may do."""


class TooSlow(BaseException):
    """It does not come back."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Give broken files to all readers.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="of the table; all by default")
    parser.add_argument("--inputs", type=int, default=2000, metavar="N", help="for each target (default: 2000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the fuzzer (default: 1)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz_faults"), metavar="FOLDER", help="for faults' files")
    asked = parser.parse_args()
    try:
        import atheris
    except ImportError:
        sys.exit("Fuzzing needs atheris, which is for Linux and Python 3.11 to 3.13: pip install atheris")
    import headless
    import torch._weights_only_unpickler as unpickler
    from measures import machine_text

    # Libraries are not watched, but for what reads pickles.
    headless.claim_namespace()
    import chimerax.map_series  # noqa: F401

    unpickler.Unpickler.load = atheris.instrument_func(unpickler.Unpickler.load)
    with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["chimerax.cryotrans"]):
        from fuzz_targets import TARGETS
    unknown = set(asked.targets) - set(TARGETS)
    if unknown:
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. Targets are {', '.join(TARGETS)}.")
    print(f"{machine_text()}\n")
    print("| read | inputs | taken | refused | faults | inputs a second |\n|---|---|---|---|---|---|")
    found = [_row(name, TARGETS[name].says, asked) for name in asked.targets or TARGETS]
    sys.exit(1 if any(found) else 0)


def _row(name: str, says: str, asked: argparse.Namespace) -> int:
    """Fuzz one target in processes of its own; print its line and return the number of its faults."""
    import readers

    taken = refused = n_crashes = 0
    seconds = 0.0
    faults: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=readers.scratch()) as scratch:
        while taken + refused < asked.inputs and n_crashes < _MOST_CRASHES:
            told, output = Path(scratch, "told.json"), Path(scratch, "output")
            sys.stdout.flush()
            if not (child := os.fork()):
                os.chdir(scratch)
                with output.open("wb") as file:
                    os.dup2(file.fileno(), 1)
                    os.dup2(file.fileno(), 2)
                try:
                    n_inputs = asked.inputs - taken - refused
                    _fuzz(name, n_inputs, asked.seed + n_crashes, asked.keep.absolute(), told)
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(1)
            _, status = os.waitpid(child, 0)
            if not told.exists():
                sys.exit(output.read_text(encoding="utf-8", errors="replace"))
            said = json.loads(told.read_text(encoding="utf-8"))
            told.unlink()
            taken, refused, seconds = taken + said["taken"], refused + said["refused"], seconds + said["seconds"]
            faults.update(said["faults"])
            if not said["over"]:
                n_crashes += 1
                faults[f"crash {n_crashes}"] = _kept_crash(Path(scratch), asked.keep, name, status)
    n = taken + refused
    print(f"| {says} | {n:,} | {taken:,} | {refused:,} | {len(faults)} | {n / seconds:,.0f} |", flush=True)
    for what, where in faults.items():
        print(f"    {name}: {what} [{where}]", file=sys.stderr, flush=True)
    return len(faults)


def _kept_crash(scratch: Path, keep: Path, name: str, status: int) -> str:
    """What the fuzzer left of an input that has ended the process."""
    text = (scratch / "output").read_text(errors="replace")
    reason = next((line for line in text.splitlines() if "ERROR: " in line or "Error" in line), f"status {status}")
    keep.mkdir(exist_ok=True)
    for number, path in enumerate(sorted(scratch.glob("*-*"))):
        path.rename(keep / f"{name}_crash_{number}_{path.name[:20]}")
    (keep / f"{name}_crash.txt").write_text(text[-20000:])
    return reason


def _fuzz(name: str, n_inputs: int, seed: int, keep: Path, told: Path) -> None:
    """In a process of its own; `told` says at every moment how far it is."""
    import atheris
    import readers_of_app
    from fuzz_targets import TARGETS

    from chimerax.cryotrans.engine.errors import InputError

    target = TARGETS[name]
    folder = told.parent / "files"
    path = folder / "input" / target.reader.name
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = {"taken": 0, "refused": 0}
    faults: dict[str, str] = {}
    begun = time.monotonic()
    refusals = (InputError, readers_of_app.UserError)

    def say(over: bool = False) -> None:
        told.write_text(
            json.dumps({**counts, "seconds": time.monotonic() - begun, "faults": faults, "over": over}),
            encoding="utf-8",
        )

    def take(content: bytes) -> None:
        data = atheris.FuzzedDataProvider(content[1:])
        try:
            made = target.make(content[0] if content else 0, content[1:], data)
        except Exception:  # what was drawn is no file even to those who write such files
            made = content[1:]
        path.write_bytes(made)
        counts["taken"] += 1
        try:
            with _watched():
                target.reader.read(path)
        except refusals as error:
            counts["taken"] -= 1
            counts["refused"] += 1
            problem = _problem_of_sentence(str(error))
            if problem:
                fault(f"{problem}: {str(error)[:150]!r}", made)
        except (Exception, TooSlow) as error:
            place = traceback.extract_tb(error.__traceback__)
            inside = [frame for frame in place if "cryotrans" in frame.filename or "/src/" in frame.filename] or place
            where = f"{Path(inside[-1].filename).name}:{inside[-1].lineno}"
            fault(f"{type(error).__name__} at {where}", made, str(error)[:150])
        n = sum(counts.values())
        if n % 1000 == 0 or n >= n_inputs:
            say(over=n >= n_inputs)
        if n >= n_inputs:
            sys.stderr.flush()
            os._exit(0)

    def fault(what: str, made: bytes, text: str = "") -> None:
        before = faults.get(what)
        kept = keep / f"{name}_{list(faults).index(what) if before else len(faults)}"
        if before is None or kept.stat().st_size > len(made):
            keep.mkdir(exist_ok=True)
            kept.write_bytes(made)
            faults[what] = f"{kept} {text}"
            say()

    warnings.simplefilter("ignore")
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    seeds = target.seeds()
    for number, content in enumerate(seeds):
        (corpus / str(number)).write_bytes(content)
        take(content)  # what is loaded when first used is there before memory is counted
    say()
    _limit_memory()
    sys.addaudithook(_look)
    words = [f"-atheris_runs={10 * n_inputs}", f"-seed={seed}", f"-max_len={_LONGEST}", f"-timeout={_SECONDS_TO_HANG}"]
    atheris.Setup([sys.argv[0], *words, "-rss_limit_mb=0", str(corpus)], take)
    atheris.Fuzz()


def _problem_of_sentence(text: str) -> str | None:
    if "\n" in text:
        return "a message of several lines"
    if len(text) > 1500:
        return "a message without end"
    return None if text.strip().endswith((".", "?", ")")) or "cryotrans" in text else "a message that is no sentence"


_watching = False


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """What is done here may neither write, nor run anything, nor take its time."""
    global _watching

    def stop(number: int, frame: Any) -> None:
        raise TooSlow

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    _watching = True
    try:
        yield
    finally:
        _watching = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    """Python tells what is about to be done."""
    global _watching
    if not _watching:
        return
    writes = event == "open" and arguments[1] is not None and any(c in str(arguments[1]) for c in "wax+")
    if writes or event.startswith((*_WRITING, *_RUNNING)):
        _watching = False
        raise Forbidden(f"{event} {arguments}")


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
