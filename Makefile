# make demo, make test: from nothing but Python 3.9 or later, make and a package index.
# Another Python: make PYTHON=python3.11 test.  More for pytest: make test PYTEST_ARGS="-x -k flow".

PYTHON ?= python3
CHIMERAX ?= $(shell command -v chimerax || command -v ChimeraX)
PYTEST_ARGS ?=
PAIRS ?=
PROTEINS ?=

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/ready

unexport PYTHONPATH
unexport PYTHONHOME

.PHONY: help demo test accuracy verdicts reliability fuzz pictures lint wheel release install clean

help:
	@echo "make demo      a small example, from two maps to a pseudo-trajectory"
	@echo "make test      all the tests that can run here"
	@echo "make accuracy  trainings on known pairs against the truth, PAIRS=\"folder ...\" (an hour or two; goes on where it was)"
	@echo "make verdicts  how often the verdict is right, by benchmarks/verdicts.jsonl; PROTEINS=\"folder ...\" adds trainings to it"
	@echo "make reliability  programs are killed, and what is left is looked at; LONG=1 for ten times as many"
	@echo "make fuzz      broken files for all readers, INPUTS=2000 of each kind (Python 3.11 on Linux x86_64)"
	@echo "make pictures  remake pictures of docs/, with the ChimeraX on PATH or in CHIMERAX="
	@echo "make lint      ruff and mypy"
	@echo "make wheel     the bundle's wheel, in dist/ (needs Python 3.11 on Linux x86_64)"
	@echo "make release   the same for the Toolshed, EMAIL=someone@somewhere URL=https://... (docs/development.md)"
	@echo "make install   the bundle, into the ChimeraX on PATH or in CHIMERAX="
	@echo "make clean     remove what these have made"

demo: $(READY)
	$(PY) benchmarks/demo.py

# Two processes: a ChimeraX session changes the process that it is in.
test: $(READY)
	$(PY) -m pytest --ignore tests/app $(PYTEST_ARGS) tests
	$(PY) -m pytest $(PYTEST_ARGS) tests/app

accuracy: $(READY)
	@test -n "$(PAIRS)" || { echo "Which pairs? make accuracy PAIRS=\"folder ...\": see benchmarks/accuracy.py"; exit 1; }
	$(PY) benchmarks/accuracy_table.py benchmarks/accuracy.csv $(PAIRS)

verdicts: $(READY)
	$(PY) benchmarks/verdicts.py benchmarks/verdicts.jsonl $(PROTEINS)

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy src

reliability: $(READY)
	$(PY) benchmarks/reliability.py --kills $(if $(LONG),500,50)

fuzz: $(READY)
	$(PY) benchmarks/fuzzing.py --inputs $(or $(INPUTS),2000)

# The panel's pictures need a ChimeraX with a window, in which the bundle and PyTorch are; the others do not.
pictures: $(READY)
	$(PY) benchmarks/icon.py src/icons/cryotrans.png
	$(PY) benchmarks/verdict_picture.py benchmarks/verdicts.jsonl docs/verdict.png
	@test -n "$(CHIMERAX)" || { echo "No ChimeraX on PATH, so none of the panel: make pictures CHIMERAX=/path/to/ChimeraX"; exit 1; }
	"$(CHIMERAX)" --script "docs/pictures.py docs"
	for name in maps running morph motion; do cp docs/panel_$$name.png src/docs/user/tools/cryotrans_$$name.png; done

wheel: $(READY)
	$(PY) tests/app/headless.py wheel dist

# For the Toolshed, which wants to know whom to write to; it refuses to be made without.
release: $(READY)
	$(PY) tests/app/headless.py wheel dist "$(EMAIL)" "$(URL)"

# build/ would bring files back that src/ no longer has.
install:
	@test -n "$(CHIMERAX)" || { echo "No ChimeraX on PATH. Say where it is: make install CHIMERAX=/path/to/ChimeraX"; exit 1; }
	rm -rf build
	"$(CHIMERAX)" --nogui --exit --cmd 'devel install "$(CURDIR)"'

clean:
	rm -rf $(VENV) build dist demo_output fuzz_faults *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Can the ChimeraX libraries of requirements-chimerax.txt be installed?
CAN_CHIMERAX := import platform, sys; \
	sys.exit((sys.version_info[:2], sys.platform, platform.machine()) != ((3, 11), "linux", "x86_64"))
SITE_PACKAGES := import sysconfig; print(sysconfig.get_path("purelib"))

# Two things make `chimerax` the namespace that it is in ChimeraX:  the wheel's __init__.py, which ChimeraX does not
# have and which fails, is removed; and .venv/dev/chimerax/cryotrans, on the path, is a link to src/.
$(READY): requirements-dev.txt requirements-chimerax.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9))' || \
		{ echo "Python 3.9 or later is needed: make PYTHON=/path/to/python"; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check -r requirements-dev.txt
	@if $(PY) -c '$(CAN_CHIMERAX)'; then \
		$(PY) -m pip install --disable-pip-version-check --no-deps -r requirements-chimerax.txt \
		|| echo "*** The ChimeraX libraries could not be installed (see above): going on without tests/app."; \
	else \
		echo "*** There are ChimeraX libraries for Python 3.11 on Linux x86_64 only: going on without tests/app."; \
	fi
	rm -f "$$($(PY) -c '$(SITE_PACKAGES)')/chimerax/__init__.py"
	mkdir -p $(VENV)/dev/chimerax
	ln -s ../../../src $(VENV)/dev/chimerax/cryotrans
	echo ../../../dev > "$$($(PY) -c '$(SITE_PACKAGES)')/cryotrans_dev.pth"
	touch $@
