# The commands of the book. `make demo` needs only Python 3.11+ and make.

PYTHON ?= python3
BIN := .venv/bin
CHAPTERS := utils working_with_text_data attention_mechanisms gpt_model pretraining finetuning chat_ui deployment
# CPU-only Linux: `make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu` saves gigabytes of CUDA.
TORCH_INDEX ?=
PYTEST_ARGS ?=

.PHONY: demo chat doctor test test-fast test-cov lint format type-check layers notebooks bench clean help

help:
	@echo "make demo        walk from bytes to a chat, about 4 minutes after installing"
	@echo "make chat        talk to the newest model in a browser"
	@echo "make test        everything that CI runs"
	@echo "make test-fast   the quick tests, under 3 minutes"
	@echo "make doctor test-cov lint format type-check layers notebooks bench clean"

# Installed again only when the project's own requirements change.
.venv: .venv/installed
.venv/installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "Building .venv with $(PYTHON) ..."; $(PYTHON) -m venv .venv; }
	@if [ -n "$(TORCH_INDEX)" ]; then $(BIN)/pip install -q --index-url $(TORCH_INDEX) -c constraints.txt torch; fi
	@echo "Installing the packages (1-3 minutes, once) ..."
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[notebooks,data,hf,classify,export,galore,track,chat,serve,cloud,dev]' 2>&1 | grep -v "is ignored: it is neither" || true
	@$(BIN)/python -c "import importlib.util as u, sys; missing = [m for m in 'torch tiktoken datasets transformers onnxruntime chainlit pytest scratchbook'.split() if not u.find_spec(m)]; sys.exit(f'not installed: {missing}' if missing else 0)"
	@touch .venv/installed

demo: .venv/installed
	@$(BIN)/scratchbook demo $(ARGS)

chat: .venv/installed
	@$(BIN)/scratchbook chat $(ARGS)

doctor: .venv/installed
	@$(BIN)/scratchbook doctor

# Two processes, because a test uses one thread; then the notebooks, which use both, one after the other.
test: .venv/installed lint type-check layers
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not notebooks" $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m notebooks $(PYTEST_ARGS)

test-fast: .venv/installed
	$(BIN)/python -m pytest -q -m "not slow and not notebooks and not browser" $(PYTEST_ARGS)

test-cov: .venv/installed
	$(BIN)/python -m pytest --cov --cov-report=term --cov-report=html $(PYTEST_ARGS)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type-check: .venv/installed
	$(BIN)/mypy

layers: .venv/installed
	$(BIN)/lint-imports

# Executes every notebook in order, offline, and writes its outputs back.
notebooks: .venv/installed
	$(BIN)/python -m utils.notebooks --write

bench: .venv/installed
	$(BIN)/scratchbook bench all

clean:
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis htmlcov .coverage dist
	find $(CHAPTERS) tests -name __pycache__ -type d -prune -exec rm -rf {} +
