"""Another machine for tests: a real sshd on the loopback interface, with keys, a home and an ssh configuration.

The sshd is that of CRYOTRANS_SSHD, of PATH or of /usr/sbin.  Its user's home is a folder of the test, and
its pip downloads nothing, its programs have one thread.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

NAME = "elsewhere"  # as ssh calls it


def sshd_path() -> str | None:
    """The sshd, None if there is none here."""
    named = os.environ.get("CRYOTRANS_SSHD")
    return named or shutil.which("sshd") or shutil.which("/usr/sbin/sshd")


class OtherMachine:
    """
    Attributes:
        home: of its user.
        config: for ssh -F.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.home, self.config = folder / "its home", folder / "ssh_config"
        self._sshd: subprocess.Popen[bytes] | None = None
        self.home.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.make_key("host_key")
        self.make_key("user_key")
        self.know("host_key")
        self.config.write_text(
            f"Host {NAME}\n HostName 127.0.0.1\n Port {self._port}\n User {getpass.getuser()}\n IdentitiesOnly yes\n"
            f' IdentityFile "{folder}/user_key"\n UserKnownHostsFile "{folder}/known_hosts"\n'
            f" GlobalKnownHostsFile /dev/null\n"
        )

    def make_key(self, name: str) -> None:
        for path in (self._folder / name, self._folder / f"{name}.pub"):
            path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._folder / name], check=True)

    def know(self, key: str) -> None:
        """Have ssh know it by this key."""
        public = (self._folder / f"{key}.pub").read_text().split()
        (self._folder / "known_hosts").write_text(f"[127.0.0.1]:{self._port} {public[0]} {public[1]}\n")

    def start(self, wrapper: Sequence[str] = (), path: str | None = None) -> None:
        """Begin to listen.

        Args:
            wrapper: words before the command of sshd, as `prlimit` and its options.
            path: PATH of what is run there.
        """
        settings = self._folder / "sshd_config"
        more = f'PATH="{path}"' if path is not None else ""
        settings.write_text(
            f'Port {self._port}\nListenAddress 127.0.0.1\nHostKey "{self._folder}/host_key"\nPidFile none\n'
            f'AuthorizedKeysFile "{self._folder}/user_key.pub"\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n'
            f"KbdInteractiveAuthentication no\nMaxStartups 100\n"
            f'SetEnv "HOME={self.home}" PIP_NO_INDEX=1 OMP_NUM_THREADS=1 {more}\n'
        )
        sshd = sshd_path()
        assert sshd is not None
        with (self._folder / "sshd.log").open("ab") as log:
            self._sshd = subprocess.Popen(
                [*wrapper, sshd, "-D", "-e", "-f", settings], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError((self._folder / "sshd.log").read_text())

    def stop(self) -> None:
        """Listen no more; connections that are there stay."""
        if self._sshd is not None:
            self._sshd.terminate()
            self._sshd.wait(10)
            self._sshd = None

    @property
    def runs(self) -> list[Path]:
        """The folders of runs there."""
        return sorted((self.home / ".cryotrans" / "runs").glob("*"))
