"""The end of a program that cannot answer, because a disk or a network folder does not come back.

Python takes a signal up between two of its own instructions, so a call that waits for a dead server for ever takes none
up; the system even keeps the signal back for the thread that waits.  A thread that waits for nothing else counts the
requests to stop, and ends the process some seconds after the second one if that has not ended by itself.  All files are
whole then, as after a kill: see engine/files/writing.py.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator

_SECONDS_TO_ANSWER = 5.0  # from the second request on
_SECONDS_BETWEEN_LOOKS = 0.5
_SENTENCE = "Ended where the disk or the network does not answer; what had been saved before is whole.\n"


class Guard:
    """Counts signals that ask to stop, see the module.

    Args:
        numbers: of the signals.
        once: of those, the one that asks no second time: a hangup.
    """

    def __init__(self, numbers: Iterable[int], once: int | None) -> None:
        self._numbers, self._once = set(numbers), once
        self._over = threading.Event()
        self._asked = False
        self._to_come = 0  # how often a signal will still be told of that is counted, or is none of the user's

    @contextlib.contextmanager
    def on_watch(self) -> Iterator[None]:
        """To be entered by the main thread, when the signals have handlers."""
        told, tell = os.pipe()
        if hasattr(os, "set_blocking") and os.name == "posix":
            os.set_blocking(tell, False)
        before = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        watch = threading.Thread(target=self._watch, args=(told,), daemon=True)
        watch.start()
        try:
            yield
        finally:
            self._over.set()
            signal.set_wakeup_fd(before)
            os.close(tell)  # which ends the thread
            watch.join()
            os.close(told)

    def expect(self) -> None:
        """The program is about to interrupt itself."""
        self._to_come += 1

    def _watch(self, told: int) -> None:
        if hasattr(signal, "sigtimedwait"):
            signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)  # of this thread: else it could not take them
            threading.Thread(target=self._take_what_is_kept_back, daemon=True).start()
        with contextlib.suppress(OSError):
            while numbers := os.read(told, 64):
                for number in numbers:
                    self._count(number)

    def _take_what_is_kept_back(self) -> None:
        """Signals that the system keeps for a thread which does not take them; Linux hands them out to who asks."""
        main = threading.main_thread().ident
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            kept = signal.sigtimedwait(self._numbers, 0)
            if kept is not None and main is not None:
                self._to_come += 1
                signal.pthread_kill(main, kept.si_signo)  # for when it comes back
                self._count(kept.si_signo, is_told=False)

    def _count(self, number: int, is_told: bool = True) -> None:
        if number not in self._numbers:
            return
        if is_told and self._to_come:
            self._to_come -= 1
            return
        if self._asked and number != self._once:
            threading.Thread(target=self._end_if_needed, args=(number,), daemon=True).start()
        self._asked = True

    def _end_if_needed(self, number: int) -> None:
        if not self._over.wait(_SECONDS_TO_ANSWER):
            with contextlib.suppress(OSError):
                os.write(2, _SENTENCE.encode())
            os._exit(128 + number)
