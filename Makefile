# The two commands of the README, and what contributors use. Only Python >= 3.10 and make are needed.
.PHONY: help demo test lint matrix clean

FAST = -m "not integration and not slow"
# The order of sets comes of it, and so a part of what a simulation does: a seed that failed fails again.
export PYTHONHASHSEED ?= 0
EXTRAS ?= greengrass,lint,test,types
NEWEST = .venv-test
OLDEST = .venv-oldest
VERSIONS = 'import platform, twisted; print(f"Python {platform.python_version()}, Twisted {twisted.version.short()}")'

help:
	@echo "make demo    start a simulated GX and the service, and show them"
	@echo "make test    all tests on the newest Python here, the fast ones on the oldest with the lowest versions"
	@echo "make lint    ruff and mypy"
	@echo "make matrix  the fast tests on every Python and Twisted that is supported (tox)"
	@echo "make clean   remove what these made"

demo:
	@sh scripts/venv.sh .venv newest -e .
	@.venv/bin/victron-twin demo --state-dir .demo

test: $(NEWEST) $(OLDEST)
	@printf 'All tests: ' && $(NEWEST)/bin/python -c $(VERSIONS)
	@$(NEWEST)/bin/python -m pytest -q -n 4 --dist worksteal
	@printf 'The fast tests: ' && $(OLDEST)/bin/python -c $(VERSIONS)
	@VICTRON_TWIN_SEEDS=2 $(OLDEST)/bin/python -m pytest -q -n 2 --dist worksteal --hypothesis-profile again $(FAST)

lint: $(NEWEST)
	@PATH="$(CURDIR)/$(NEWEST)/bin:$$PATH" sh scripts/lint.sh

matrix:
	@sh scripts/venv.sh .venv-tox newest tox tox-uv
	@PATH="$$(sh scripts/python.sh path)" .venv-tox/bin/tox run

.PHONY: $(NEWEST) $(OLDEST)
$(NEWEST):
	@sh scripts/venv.sh $(NEWEST) newest -e ".[$(EXTRAS)]"

$(OLDEST):
	@sh scripts/venv.sh $(OLDEST) oldest -e ".[test]" -c tests/lowest.txt

clean:
	rm -rf greengrass-build deploy/lite/greengrass-build .venv .venv-* .tox .cache .demo .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	rm -f twisted/plugins/dropin.cache
