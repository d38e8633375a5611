# Each target sets up what it needs into $(VENV), once; `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
# Further arguments of the demo or of pytest: make test ARGS="tests/ops -k nms".
ARGS ?=
export PYTHON VENV

# The commands below import the package from this checkout, whichever one the environment was set up
# from: clones may share an environment.
RUN = PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}" "$$VENV/bin/python"
# Set-up sees nothing but the environment (-I), so that a PYTHONPATH cannot pass for installed packages.
PIP = "$$VENV/bin/python" -I -m pip --disable-pip-version-check
# The versions that every pin in requirements.txt has wheels for.
SUPPORTED = import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
# Imports that fail where a system library is missing.
IMPORTS = import cv2, matplotlib, mmcv, mmengine, pycocotools.mask, scipy, torch, torchvision

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all gpu-check lint format docs clean environment checkout

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo '  Variables: VENV=.venv (the environment), PYTHON=python3 (makes it), ARGS="..." (demo, test, gpu-check).'

setup: TAKE_OVER = yes
setup: environment checkout ## install everything into $(VENV), and this checkout into it
	@echo "Ready. To use it in this shell: . $$VENV/bin/activate"

demo: environment checkout ## segment generated videos; RETRAIN=1 trains the model anew first
	@$(RUN) tools/demo.py $(if $(filter-out 0,$(RETRAIN)),--retrain) $(ARGS)

# Two workers; a file's tests, or those of a group, go to one of them.
PYTEST = $(RUN) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder
test: environment checkout ## run the tests, without the slow and the long ones unless ARGS="-m slow"
	@$(PYTEST) -m "not slow and not long" $(ARGS)

test-all: environment checkout ## run all tests, the slow and the long ones too
	@$(PYTEST) $(ARGS)

gpu-check: environment checkout ## try on a GPU what only a GPU can show; prints a table to paste
	@$(RUN) tools/gpu_check.py $(ARGS)

lint: environment checkout ## check style and formatting
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

format: environment checkout ## mend what of style and formatting can be mended
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

# Material tells of its successor at each build unless it is asked not to.
docs: environment checkout ## build the pages of docs/ into site/, and check their links
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict
	@echo 'The pages are in site/: open site/index.html'

clean: ## remove caches and build products; keeps environments, data and work_dirs
	rm -rf build dist site *.egg-info .pytest_cache .ruff_cache
	find configs tests tools vispropnet -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment with the pinned packages. Its stamp is a copy of the pins, written last: an interrupted
# set-up has none and is completed by the next make; a clone with the same pins has nothing to do.
environment:
	@set -e; \
	fail() { printf 'error: %s\n' "$$@" >&2; exit 1; }; \
	if ! "$$VENV/bin/python" -c '' 2>/dev/null; then \
	  "$$PYTHON" -c '$(SUPPORTED)' 2>/dev/null || { \
	    found=$$("$$PYTHON" -V 2>&1) || found='not there'; \
	    fail "vispropnet needs Python 3.10 to 3.13, but $$PYTHON is $$found." \
	         "Name another one, for example: make PYTHON=python3.12 ..."; }; \
	  "$$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || \
	    fail "$$PYTHON cannot make environments: its modules venv and ensurepip are missing." \
	         "On Debian and Ubuntu: apt install python3-venv"; \
	  echo "Setting up $$VENV with $$("$$PYTHON" -V). This is done once and needs 6 GB."; \
	  rm -f "$$VENV"/bin/python*; \
	  "$$PYTHON" -m venv "$$VENV"; \
	fi; \
	"$$VENV/bin/python" -c '$(SUPPORTED)' || \
	  fail "vispropnet needs Python 3.10 to 3.13, but $$VENV has $$("$$VENV/bin/python" -V)." \
	       "Remove it, or name another one, for example: make VENV=.venv312 PYTHON=python3.12 ..."; \
	stamp=$$("$$VENV/bin/python" -c 'import sys; print(".vispropnet-pins-%d.%d" % sys.version_info[:2])'); \
	if cmp -s requirements.txt "$$VENV/$$stamp"; then exit 0; fi; \
	$(DROP_HALF_INSTALLED); \
	"$$VENV/bin/python" -I -c 'from importlib.metadata import version; version("pip")' 2>/dev/null || \
	  "$$VENV/bin/python" -I -m ensurepip --upgrade --default-pip; \
	$(PIP) install -r requirements.txt; \
	echo 'Taking the OpenCV build that needs no graphics libraries ...'; \
	$(PIP) install --quiet --force-reinstall --no-deps "$$(grep '^opencv-python-headless==' requirements.txt)"; \
	"$$VENV/bin/python" -I -c '$(IMPORTS)' || \
	  fail "the packages were installed into $$VENV, but do not import (see above)." \
	       "If nothing above names a missing system library, remove $$VENV and run make again."; \
	cp requirements.txt "$$VENV/$$stamp"

# This checkout as an editable install, for tools run without make. An environment outside the checkout
# that holds another clone stays with that clone until `make setup`.
TAKE_OVER = no
checkout: environment
	@set -e; \
	stamp="$$VENV/.vispropnet-checkout"; \
	here=$$(pwd -P); \
	state="$$here $$(cksum < setup.py)"; \
	if [ "$$state" = "$$(cat "$$stamp" 2>/dev/null)" ]; then exit 0; fi; \
	case "$$(cd "$$VENV" && pwd -P)" in \
	  "$$here"/*) ;; \
	  *) if [ -s "$$stamp" ] && [ $(TAKE_OVER) = no ]; then exit 0; fi;; \
	esac; \
	$(DROP_HALF_INSTALLED); \
	$(PIP) install --quiet --no-deps --editable .; \
	echo "$$state" > "$$stamp"

# pip writes a package's RECORD last, and neither completes nor replaces a package that has none.
DROP_HALF_INSTALLED = if [ -f "$$VENV/pyvenv.cfg" ]; then \
	  for info in "$$VENV"/lib/python3*/site-packages/*.dist-info; do \
	    if [ -d "$$info" ] && [ ! -e "$$info/RECORD" ]; then rm -r "$$info"; fi; \
	  done; fi
