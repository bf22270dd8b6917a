"""Nothing of ours goes to the network but `cryotrans install`, by pip, and the processes of one run to each other.

What users may have is what is tried.
"""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from phantoms import LEVEL, two_domains, write_mrc
from test_layout import MODULES, SOURCE, imports_of

ROOT = SOURCE.parent
# Of Python's own and the usual ones of others; urllib.parse only writes and reads addresses.
_NETWORK = re.compile(
    r"socket|socketserver|ssl|asyncio|http|urllib\.(request|error|robotparser)|urllib3?|ftplib|smtplib|imaplib|poplib"
    r"|telnetlib|nntplib|xmlrpc|webbrowser|requests|httpx|aiohttp|paramiko|torch\.(hub|distributed)"
    r"|multiprocessing\.(connection|managers)|Qt\.Qt(Network|WebEngine)\w*|chimerax\.core\.fetch"
)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_can_reach_the_network(path: Path) -> None:
    for line, module, ours, _ in imports_of(path):
        parts = module.split(".")
        wholes = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
        if path == Path("engine", "ranks.py") and module == "torch.distributed":
            continue
        if not ours and module != "urllib.parse":
            assert not any(_NETWORK.fullmatch(whole) for whole in wholes), f"{path}:{line} imports {module}"


def test_pip_is_called_by_the_installation_alone() -> None:
    calling = {path for path in MODULES if re.search(r'"pip"', (SOURCE / path).read_text(encoding="utf-8"))}
    app = Path("app")
    assert calling == {app / "installation.py", app / "pytorch_build.py", app / "remote" / "installation.py"}


# In a process of its own: what is forbidden stays so.
FORBIDDEN = """
import sys
def refuse(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "smtplib.")):
        print("NETWORK", event, arguments, file=sys.stderr, flush=True)
        raise RuntimeError("the network is forbidden: " + event)
sys.addaudithook(refuse)
from chimerax.cryotrans.programs.command_line import main
if sys.argv[1] == "socket":
    import socket
    socket.create_connection(("127.0.0.1", 9))
then = sys.argv.index("then")
sys.exit(main(sys.argv[1:then]) or main(sys.argv[then + 1:]))
"""


def _forbidden(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", FORBIDDEN, *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False)


def test_the_programs_do_without_a_network(tmp_path) -> None:
    assert "NETWORK socket." in _forbidden("socket").stderr  # it is forbidden indeed
    for name, time in (("initial", 0), ("target", 1)):
        write_mrc(tmp_path / f"{name}.mrc", two_domains(time))
    initial = ["-t0", LEVEL, "-i0", tmp_path / "initial.mrc"]
    small = ["--device", "cpu", "-n", 3, "-p", 3, "--depth", 2, "--width", 8, "--w2_iter", 2]
    target = ["-i1", tmp_path / "target.mrc", "-t1", LEVEL]
    frames = ["-i", tmp_path / "initial.mrc", "--run", tmp_path / "run", "-d", tmp_path / "frames", "--frames", 2]
    train = ["train", *initial, *target, "-d", tmp_path / "run", *small]
    done = _forbidden(*train, "then", "predict", *frames)
    assert done.returncode == 0 and "NETWORK" not in done.stderr, done.stderr
    assert (tmp_path / "run" / "report.html").is_file() and (tmp_path / "frames" / "frame_01.mrc").is_file()


def _versions(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_lowest_versions_that_are_promised_are_tried() -> None:
    setup = configparser.ConfigParser(delimiters=("=",))
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = setup["options.extras_require"]
    wanted = "\n".join((setup["options"]["install_requires"], extras["atoms"], extras["report"])).split("\n")
    promised = dict(line.split(">=") for line in wanted if line)
    lowest, newest = _versions("requirements-lowest.txt"), _versions("requirements-newest.txt")
    assert set(promised) - {"torch"} <= set(lowest)
    for name, version in promised.items():
        if name != "torch":  # too large to fetch twice
            assert re.fullmatch(rf"{re.escape(version)}(\.0)*", lowest[name]), name
            assert tuple(map(int, newest[name].split("."))) > tuple(map(int, version.split("."))), name
