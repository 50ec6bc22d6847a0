# make serve     the service on http://127.0.0.1:18080 (PORT, HOST and every setting of docs/operating.md from the environment)
# make test      the whole test suite
# make check     ruff, mypy, import-linter, generated docs
# make prepare   what a first start does, without serving
# make bench     the measured claims
# make soak      20,000 mixed requests, and whether memory stays where it is
# make plots     the plots of docs/performance.md
# make compare   this tree against another commit: BASE=<commit>
# make image-test  build Dockerfile_cpu and run what comes out, without a Docker engine (root; buildah, debootstrap)
# make chart-test  lint, render and validate the Helm chart, read the compose files
# make docs      write the generated parts of docs/

VENV := .venv
BIN := $(VENV)/bin
# The newest supported Python on the machine, or PYTHON=… of your choice.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python3.14; do command -v $$p >/dev/null 2>&1 \
	&& $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: serve test check prepare bench soak plots compare docs image-test chart-test clean
.DEFAULT_GOAL := serve

serve: $(VENV)/.runtime
	@exec $(BIN)/visage serve

prepare: $(VENV)/.runtime
	@$(BIN)/visage prepare

test: $(VENV)/.dev
	$(BIN)/pytest $(PYTEST_ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.service

soak: $(VENV)/.dev
	$(BIN)/python -m benchmarks.soak

plots: $(VENV)/.dev
	$(BIN)/python -m benchmarks.plots

compare: $(VENV)/.dev
	$(BIN)/python -m benchmarks.compare $(BASE) $(COMPARE_ARGS)

image-test:
	@tests/container/image_test.sh

chart-test: $(VENV)/.dev
	@tests/container/chart_test.sh

docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) models/onnx

$(VENV)/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "visage needs Python 3.11 to 3.14: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv: apt-get install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "Installing requirements.txt into $(VENV) (the first time this takes a minute)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@echo "Installing requirements-dev.txt into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
