# A fresh machine needs Python 3.11, make and git. `make demo` runs the whole recipe, `make test` the tests.
#   make INDEX_URL=https://...            another package index
#   make PYTHON=/path/to/python3.11       another interpreter

PYTHON ?= $(shell command -v python3.11 || command -v python3)
INDEX_URL ?=
OUT ?= runs/demo
OVERLAY ?= kind
BIN := .venv/bin

.PHONY: demo test e2e e2e-long bench lint clean lock help golden deploy undeploy images base-image test-images lock-images
.DEFAULT_GOAL := help

help:  ## List the targets.
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

demo: .venv/ready  ## Run the whole recipe on the laptop default, into runs/demo.
	$(BIN)/deepperception run bestiary --out $(OUT)

test: .venv/ready  ## Run the tests.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

e2e: .venv/ready  ## Run small whole pipelines, kill them, run them again.
	$(BIN)/python -m pytest tests/e2e -m "e2e and not long"

e2e-long: .venv/ready  ## Run what takes longer: several processes, the soak, thousands of malformed requests.
	$(BIN)/python -m pytest tests/e2e tests/training tests/serving tests/platform/release -m "e2e and not docker" --deselect tests/e2e/test_run.py

bench: .venv/ready  ## Measure against the alternatives, into build/bench.json.
	$(BIN)/python -m benchmarks

deploy: .venv/ready  ## Bring manifests/overlays/OVERLAY to the cluster (DRY_RUN=1: print everything, touch nothing).
	@$(BIN)/python -m deepperception.platform.deploy up $(OVERLAY) $(if $(INFRA),--infra $(INFRA)) $(if $(IMAGES),--images $(IMAGES)) $(if $(filter 1,$(DRY_RUN)),--dry-run)

undeploy: .venv/ready  ## Take it away again; volumes and Secrets stay, unless DELETE_DATA=1.
	@$(BIN)/python -m deepperception.platform.deploy down $(OVERLAY) $(if $(filter 1,$(DRY_RUN)),--dry-run) $(if $(filter 1,$(DELETE_DATA)),--delete-data)

lint: .venv/ready  ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/mypy

golden: .venv/ready  ## Compile the pipelines anew into tests/pipelines/golden, for a review of the difference.
	$(BIN)/python tools/golden.py

lock: .venv/ready  ## Pin every package of .venv anew, from pyproject.toml.
	$(BIN)/python tools/lock.py
	$(BIN)/python tools/image_locks.py

images: .venv/ready  ## Build the container images, named by their content, into build/images.json (FORM=gpu, REGISTRY=host/path PUSH=1, PRUNE=1).
	$(BIN)/python tools/images.py $(FORM:%=--form %) $(WHEELS:%=--wheels %) $(REGISTRY:%=--registry %) $(PUSH:%=--push) $(PRUNE:%=--prune)

base-image: .venv/ready  ## Make deepperception/base:bookworm, where no registry has one.
	$(BIN)/python tools/base_image.py

test-images: .venv/ready  ## Run the built images.
	$(BIN)/python -m pytest tests/images -m docker

lock-images: .venv/ready  ## Write the digests of third-party images, where their registries can be reached.
	$(BIN)/python tools/third_party.py

clean:  ## Remove what can be made again, the runs included.
	rm -rf .venv .venv-mlflow build dist runs src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/ready: pyproject.toml requirements.lock tools/environment.py
	INDEX_URL="$(INDEX_URL)" $(PYTHON) tools/environment.py
	touch $@

.venv-mlflow/ready: images/tracking/requirements.lock tools/tracking_server.py .venv/ready
	$(BIN)/python tools/tracking_server.py
	touch $@
