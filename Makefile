# Everything a newcomer needs: `make demo`, `make test`. Python 3.11 or newer, no other tool.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo docs test test-slow test-faults test-bench lint clean

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev,docs,ray,tflm,quantizer]"
	touch $@

demo: .venv/ready
	$(BIN)/fedkd run sims/experiments/demo.toml --out runs/demo --overwrite

docs: .venv/ready
	$(BIN)/mkdocs build --quiet

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest --numprocesses 2 --dist loadfile

test-bench: .venv/ready
	$(BIN)/pytest -m bench

test-slow: .venv/ready
	$(BIN)/pytest -m slow --numprocesses 2 --dist loadfile

test-faults: .venv/ready
	$(BIN)/pytest -m faults --numprocesses 2 --dist loadfile

clean:
	rm -rf .venv build *.egg-info clients/device/build clients/device/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
