# Starts from Python 3.11+, make and the package registries; everything else is set up under .venv and the user's cache folder.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help venv tools demo check test lint format bench dashboards screenshots readme chart lock clean
# The tests on every core. Tests that share a fixture stay together, see tests/conftest.py.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadscope --no-loadscope-reorder --durations 15

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

.venv/ready: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

venv: .venv/ready ## the Python environment, from the lock file

tools: venv ## the real components that the tests need: built with Go, and from Debian where we are root
	$(BIN)/python -m tools.install

demo: venv ## the exporter on an embedded cluster and registry, filled with a real Mojaloop release, and its alerts in Slack
	@$(BIN)/python -m tools.install demo
	$(BIN)/mojaloop-image-patch-exporter demo

check: lint ## lint, types, and every test that needs no component: in a few minutes
	$(PYTEST) -m "not components"

test: tools ## every test, on real components
	$(PYTEST)

lint: venv ## lint, layers, types and workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/zizmor --offline --no-progress --quiet --persona pedantic .github

format: venv ## fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: venv ## speed and memory, by hand
	$(BIN)/python -m benchmarks

dashboards: venv ## write Grafana's dashboards as JSON
	$(BIN)/python -m grafana.generate

screenshots: tools ## the pictures of the page in docs/images, from the demo's hub
	$(BIN)/python -m tools.screenshots

readme: venv ## the generated tables of the documentation
	$(BIN)/python -m tools.readme

chart: tools ## the chart's README, from its values
	$(BIN)/python -c "import subprocess, tools; subprocess.run([tools.find('helm-docs'), '--chart-search-root', 'charts'], check=True)"

lock: venv ## update the lock files to the newest versions
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --upgrade pyproject.toml --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --upgrade --group dev pyproject.toml --output-file requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --upgrade --group build --output-file requirements-build.txt

clean: ## remove what make made here
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
