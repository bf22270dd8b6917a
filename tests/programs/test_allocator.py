"""Freed memory is kept for the next step, and given back where other sizes come."""

import os
import subprocess
import sys

import pytest

# Sixteen arrays of 64 MB, one after the other: page faults, each of 4 kB, after the first.
_SCRIPT = """
import sys, resource, numpy
from chimerax.cryotrans.programs.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
numpy.ones(1 << 23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(16):
    numpy.ones(1 << 23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(word, **more):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}
    return int(subprocess.check_output([sys.executable, "-c", _SCRIPT, word], env=environment, encoding="utf-8"))


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_large_arrays_come_without_page_faults_the_second_time():
    assert _faults("keep") < 0.1 * _faults("leave")


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_what_the_user_has_set_stays():
    assert _faults("keep", MALLOC_MMAP_THRESHOLD_="65536") > 0.5 * _faults("leave")


# Memory in use, pages, after arrays of 256 MB in all are freed, and after that is given back.
_GIVING = """
import numpy
from chimerax.cryotrans.programs.allocator import give_freed_memory_back, keep_freed_memory
keep_freed_memory()
resident = lambda: int(open("/proc/self/statm", encoding="ascii").read().split()[1])
arrays = [numpy.ones(1 << 22) for _ in range(8)]
above = numpy.ones(64)  # what lies above freed memory keeps it from being given back by itself
del arrays
kept = resident()
give_freed_memory_back()
print(kept - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_freed_memory_is_given_back():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    given = int(subprocess.check_output([sys.executable, "-c", _GIVING], env=environment, encoding="utf-8"))
    assert given * os.sysconf("SC_PAGE_SIZE") > 200e6
