# make repro   install, run the whole pipeline, print the comparison table
# make test    install, run all tests
# make help    the other targets

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The installation is one script, so that make and continuous integration do the same.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
# Threads that wait shall sleep: spinning ones ruin every other process on few cores.
export OMP_WAIT_POLICY := PASSIVE
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.PHONY: help install repro test lint format bench ui report clean
.DEFAULT_GOAL := help

help:
	@echo "make repro   install, run the pipeline, print the comparison table"
	@echo "make test    install, run all tests"
	@echo "make ui      open the recorded runs in the MLflow interface"
	@echo "make bench   time the models and kernels"
	@echo "make report  print the comparison table of the last run"
	@echo "make format  format the code"
	@echo "make clean   remove everything that the pipeline made"

$(STAMP): requirements.lock pyproject.toml pipelines/install.sh
	@PYTHON=$(PYTHON) bash pipelines/install.sh $(VENV)
	@touch $@

install: $(STAMP)

repro: $(STAMP)
	@dvc repro
	@python -m pipelines.show

report: $(STAMP)
	@python -m pipelines.show

test: $(STAMP)
	@python -m pytest -n $(shell nproc 2> /dev/null || echo 2)

lint: $(STAMP)
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	python -m pipelines.stages --check

format: $(STAMP)
	ruff check --fix .
	ruff format .

bench: $(STAMP)
	@python -m pipelines.bench

ui: $(STAMP)
	@echo "Open http://127.0.0.1:5000 (Ctrl-C ends it)"
	@mlflow ui --backend-store-uri sqlite:///$(CURDIR)/mlflow.db --host 127.0.0.1 --port 5000

clean:
	rm -rf data/raw data/processed models samples reports mlartifacts mlflow.db
