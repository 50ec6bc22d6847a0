# make serve     the service on http://127.0.0.1:18080 (PORT, HOST and every setting of docs/operating.md from the environment)
# make test      the whole test suite
# make check     ruff, mypy, import-linter, generated docs
# make prepare   what a first start does, without serving
# make bench     the measured claims
# make bench-galleries  those of galleries: ROWS=1000000 (100,000 unless given), store and service
# make bench-milvus  those of galleries in a real Milvus server, which is fetched into build/
# make soak      20,000 mixed requests, and whether memory stays where it is
# make rtx-test  engines of every real network, built without a GPU by TensorRT for RTX (2 GB of packages)
# make plots     the plots of docs/performance.md
# make compare   this tree against another commit: BASE=<commit>
# make image-test  build Dockerfile_cpu and run what comes out, without a Docker engine (root; buildah, debootstrap)
# make chart-test  lint, render and validate the Helm chart, read the compose files
# make triton-test  the triton backend against a real Triton server, which is fetched into build/
# make arm64-test  whether every pinned package has a wheel for 64-bit ARM (asks the package index)
# make milvus-test  the Milvus store against a real Milvus server and Milvus Lite, which are fetched into build/ (20 minutes)
# make docs      write the generated parts of docs/

VENV := .venv
BIN := $(VENV)/bin
# The newest supported Python on the machine, or PYTHON=… of your choice.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python3.14; do command -v $$p >/dev/null 2>&1 \
	&& $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && { echo $$p; break; }; done)

# What `make rtx-test` installs besides, in a venv of its own.
RTX_VENV := .venv-rtx
RTX_PACKAGES := tensorrt-rtx-cu12==1.7.1.116 cupy-cuda12x==14.2.0 nvidia-cuda-nvrtc-cu12==12.9.86

.PHONY: serve test check prepare bench bench-galleries bench-milvus soak rtx-test plots compare image-test chart-test arm64-test triton-test milvus-test docs clean
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

ROWS ?= 100000
bench-galleries: $(VENV)/.dev
	$(BIN)/python -m benchmarks.search --rows $(ROWS)
	$(BIN)/python -m benchmarks.galleries --rows $(ROWS)

bench-milvus: $(VENV)/.dev build/milvus-client/.done build/milvus-server/.done
	PYTHONPATH=src:build/milvus-client $(BIN)/python -m benchmarks.milvus

soak: $(VENV)/.dev
	$(BIN)/python -m benchmarks.soak

rtx-test: $(RTX_VENV)/.rtx
	$(RTX_VENV)/bin/pytest -n 0 -m rtx $(PYTEST_ARGS)

plots: $(VENV)/.dev
	$(BIN)/python -m benchmarks.plots

compare: $(VENV)/.dev
	$(BIN)/python -m benchmarks.compare $(BASE) $(COMPARE_ARGS)

image-test:
	@tests/container/image_test.sh

arm64-test: $(VENV)/.dev
	@$(BIN)/pip install --quiet --disable-pip-version-check --dry-run --ignore-installed --no-deps --require-hashes --only-binary=:all: \
		--platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
		--python-version $$($(BIN)/python -c 'import platform; print(platform.python_version())') --target build/arm64 \
		-r requirements.txt
	@echo "every package of requirements.txt has a wheel for 64-bit ARM"

chart-test: $(VENV)/.dev
	@tests/container/chart_test.sh

# The server (the one inside nvidia-pytriton, which wants an old numpy) and its client (which wants an older protobuf than
# the pinned requirements have) stay out of $(VENV).
TRITON_PYTHON ?= $(shell for p in python3.12 python3.11 $(PYTHON); do $$p -c 'import ensurepip, venv' 2>/dev/null && { echo $$p; break; }; done)

triton-test: $(VENV)/.dev build/triton/.done build/triton-client/.done
	PYTHONPATH=src:build/triton-client $(BIN)/pytest -n 0 tests/contract/test_triton.py tests/backends/test_triton.py \
		tests/backends/test_triton_repository.py tests/backends/test_triton_model.py tests/backends/test_triton_readiness.py $(PYTEST_ARGS)

build/triton/.done:
	$(TRITON_PYTHON) -m venv build/triton
	build/triton/bin/pip install --quiet --disable-pip-version-check nvidia-pytriton==0.7.0 "numpy<2" onnxruntime
	@touch $@

build/triton-client/.done: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --no-deps --target build/triton-client tritonclient==2.73.0 \
		grpcio==1.85.3 protobuf==6.33.6 ml-dtypes==0.5.4 python-rapidjson==1.25
	@touch $@

# pymilvus fits beside what the requirements pin, but is not of them: 200 MB for what few need. The server is Milvus 2.3.5.
milvus-test: $(VENV)/.dev build/milvus-client/.done build/milvus-server/.done
	PYTHONPATH=src:build/milvus-client $(BIN)/pytest -n 0 -m "milvus or not slow" --timeout 900 tests/search/contract tests/search/milvus $(PYTEST_ARGS)

build/milvus-client/.done: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --no-deps --target build/milvus-client pymilvus==3.0.2 \
		milvus-lite==3.2.2 grpcio==1.85.3 pandas==3.1.1 pyarrow==26.0.1 cachetools==8.0.2 python-dotenv==1.2.4 faiss-cpu==1.15.1
	@touch $@

build/milvus-server/.done: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --no-deps --target build/milvus-server milvus==2.3.5
	@touch $@

docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) $(RTX_VENV) build models/onnx

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

$(RTX_VENV)/.rtx: requirements-dev.txt Makefile pyproject.toml
	@test -n "$(PYTHON)" || { echo "visage needs Python 3.11 to 3.14: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(RTX_VENV)
	@echo "Installing requirements-dev.txt and $(RTX_PACKAGES) into $(RTX_VENV)"
	@$(RTX_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(RTX_VENV)/bin/pip install --quiet --disable-pip-version-check $(RTX_PACKAGES)
	@$(RTX_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
