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

.PHONY: help demo test accuracy verdicts reliability failures fuzz pictures lint versions licences audit wheel release install clean

help:
	@echo "make demo      a small example, from two maps to a pseudo-trajectory"
	@echo "make test      all the tests that can run here"
	@echo "make accuracy  trainings on known pairs against the truth, PAIRS=\"folder ...\" (an hour or two; goes on where it was)"
	@echo "make verdicts  how often the verdict is right, by benchmarks/verdicts.jsonl; PROTEINS=\"folder ...\" adds trainings to it"
	@echo "make reliability  programs are killed, disks and folders fail them, and what is left is looked at; LONG=1 for more"
	@echo "make failures  write docs/failures.md: what goes wrong, and what is said then"
	@echo "make fuzz      broken files for all readers, INPUTS=2000 of each kind (Python 3.11 on Linux x86_64)"
	@echo "make pictures  remake pictures of docs/, with the ChimeraX on PATH or in CHIMERAX="
	@echo "make lint      ruff and mypy"
	@echo "make versions  quick tests with the lowest and with the newest versions of what users may have"
	@echo "make licences  what the wheel needs, and under which licences that is"
	@echo "make audit     known vulnerabilities of what the wheel needs (asks a service on the network)"
	@echo "make wheel     the bundle's wheel, in dist/ (needs Python 3.11 on Linux x86_64)"
	@echo "make release   the same for the Toolshed, EMAIL=someone@somewhere URL=https://... (docs/development.md)"
	@echo "make install   the bundle, into the ChimeraX on PATH or in CHIMERAX="
	@echo "make clean     remove what these have made"

demo: $(READY)
	$(PY) benchmarks/demo.py

# Apart, since a ChimeraX session changes the process that it is in; a process for each core.
test: $(READY)
	$(PY) -m pytest -n auto --dist loadfile --ignore tests/app $(PYTEST_ARGS) tests
	$(PY) -m pytest -n auto --dist loadfile $(PYTEST_ARGS) tests/app

accuracy: $(READY)
	@test -n "$(PAIRS)" || { echo "Which pairs? make accuracy PAIRS=\"folder ...\": see benchmarks/accuracy.py"; exit 1; }
	$(PY) benchmarks/accuracy_table.py benchmarks/accuracy.csv $(PAIRS)

verdicts: $(READY)
	$(PY) benchmarks/verdicts.py benchmarks/verdicts.jsonl $(PROTEINS)

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy src

# On top of the tests' environment, so that PyTorch is not fetched again; with the same Python.
QUICK_TESTS := $(addprefix tests/engine/,files carrying flow/test_checkpoint.py judging/test_tables.py) \
	$(addprefix tests/engine/maps/test_,density_map.py deposit.py fsc.py preparation.py reading_limits.py segments.py) \
	tests/programs/test_carried_atoms.py

versions: $(READY)
	@for name in lowest newest; do \
		rm -rf $(VENV)/$$name && $(PY) -m venv --without-pip $(VENV)/$$name && \
		$(PY) -m pip --python $(VENV)/$$name/bin/python install -q --disable-pip-version-check --no-deps \
			--only-binary :all: -r requirements-$$name.txt && \
		$(PY) -c '$(SITE_PACKAGES)' > $(VENV)/below && echo "$(CURDIR)/$(VENV)/dev" >> $(VENV)/below && \
		cp $(VENV)/below "$$($(VENV)/$$name/bin/python -c '$(SITE_PACKAGES)')/below.pth" && \
		echo "With the $$name versions:" && \
		$(VENV)/$$name/bin/python -m pytest -q -p no:cacheprovider $(QUICK_TESTS) || exit 1; \
	done

licences: $(READY)
	$(PY) benchmarks/licences.py

# pip-audit in an environment of its own: what it brings along is not to be tested.
audit: $(READY)
	@test -x $(VENV)/audit/bin/pip-audit || { $(PY) -m venv $(VENV)/audit && \
		$(VENV)/audit/bin/python -m pip install -q --disable-pip-version-check pip-audit; }
	$(PY) -m pip list --disable-pip-version-check --format freeze --exclude chimerax > $(VENV)/installed.txt
	grep -iE "^(numpy|mrcfile|tqdm|torch|matplotlib|gemmi)==" $(VENV)/installed.txt | sed 's/+.*//' > $(VENV)/audited.txt
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip -r $(VENV)/audited.txt

# Under 20 minutes on two cores.
reliability: $(READY)
	$(PY) benchmarks/reliability.py --kills $(if $(LONG),60,6)
	$(PY) benchmarks/disks.py --times $(if $(LONG),50,5)
	$(PY) benchmarks/reliability_chimerax.py --kills $(if $(LONG),200,10)

failures: export CRYOTRANS_WRITE_FAILURES := 1
failures: $(READY)
	$(PY) -m pytest -q tests/programs/test_failures.py
	$(PY) -m pytest -q tests/app/test_failures.py

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
