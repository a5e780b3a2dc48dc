.DEFAULT_GOAL := help
.PHONY: site help install test slow exhaustive lint types format demo table figures theory fuzz

help:     ## list the targets
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | awk -F ': *## ' '{printf "make %-11s %s\n", $$1, $$2}'

install:  ## install with everything for development
	pip install -c constraints.txt -e ".[dev]"

test:     ## tests
	pytest

slow:     ## the tests that take longer
	pytest -m "slow and not exhaustive"

exhaustive: ## further cases of what the slow tests sample, before a release
	pytest -m exhaustive

lint:     ## style
	ruff check . && ruff format --check .

types:    ## static types
	mypy

format:   ## put the style right
	ruff check --fix . && ruff format .

site:     ## the documentation as a site, on a local port
	mkdocs serve

demo:     ## the default run
	python train.py

table:    ## the runs of the README's table
	python train.py -m method=flyp,tracer,tracer_ema,static_sd seed=0,1,2

figures:  ## the figure in the README
	python scripts/figure_idea.py

theory:   ## the paper's theorems, tested
	python scripts/theory.py

fuzz:     ## a thousand random command lines
	python scripts/fuzz_config.py 1000 0
