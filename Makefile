# Needs Python 3.11+, make and access to package registries. Everything else is installed under .venv and the user's cache directory.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help venv tools demo check test lint format bench dashboards screenshots readme chart lock clean
# Use all cores, and keep tests with a shared fixture together, see tests/conftest.py.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadscope --no-loadscope-reorder --durations 15

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

.venv/ready: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

venv: .venv/ready ## install the Python environment from the lock file

tools: venv ## install the real components for the tests: with Go, and from Debian if root
	$(BIN)/python -m tools.install

demo: venv ## run the exporter with an embedded cluster and registry, a real Mojaloop release, and alerts in Slack
	@$(BIN)/python -m tools.install demo
	$(BIN)/mojaloop-image-patch-exporter demo

check: lint ## lint, check types, and run the tests without components; takes a few minutes
	$(PYTEST) -m "not components"

test: tools ## run all tests, with real components
	$(PYTEST)

lint: venv ## lint the code, import layers, types and workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/zizmor --offline --no-progress --quiet --persona pedantic .github

format: venv ## format, and apply the fixes of ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: venv ## benchmark speed and memory
	$(BIN)/python -m benchmarks

dashboards: venv ## generate the Grafana dashboards
	$(BIN)/python -m grafana.generate

screenshots: tools ## take the screenshots in docs/images, from the demo's hub
	$(BIN)/python -m tools.screenshots

readme: venv ## generate the tables of the documentation
	$(BIN)/python -m tools.readme

chart: tools ## generate the chart's README from its values
	$(BIN)/python -c "import subprocess, tools; subprocess.run([tools.find('helm-docs'), '--chart-search-root', 'charts'], check=True)"

lock: venv ## update the lock files to the newest versions
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --upgrade pyproject.toml --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --upgrade --group dev pyproject.toml --output-file requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --upgrade --group build --output-file requirements-build.txt

clean: ## remove everything that make created here
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
