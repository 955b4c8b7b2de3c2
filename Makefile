# make demo    the whole benchmark on rendered people: minutes on a laptop
# make test    the tests; test-all also those that take minutes
# make lint    style, imports, and whether the generated pages are up to date
# make report CONFIG=config/coco.yaml    the report of whatever results of a config are there
# make bench   speed against named baselines, into results/bench: half an hour
# make gpu-check  whether a GPU computes what the CPU does: ten checks, minutes
# make bench-gpu  speed on a GPU against the released way, into results/bench: minutes
# make clean   removes what make made: .venv and results/demo
# Everything runs in .venv, which is made from requirements.lock on first use.

PYTHON ?= python3
override VENV := .venv
BIN := $(VENV)/bin
# An index with torch for another CUDA: make TORCH_INDEX=https://download.pytorch.org/whl/cu126 setup
OF_CUDA := ^(torch|torchvision|triton|nvidia-.*|cuda-.*)==
SNAKEMAKE := PATH="$(CURDIR)/$(BIN):$$PATH" snakemake
override DEMO := results/demo
CONFIG ?= config/config.yaml

.PHONY: demo report test test-all bench gpu-check bench-gpu lint lock setup clean

# What the steps print is shown; what Snakemake does is in its log, and shown where it fails.
demo: setup
	@mkdir -p $(DEMO)/logs
	@$(SNAKEMAKE) --cores all --quiet rules 2> $(DEMO)/logs/snakemake.log || \
		{ cat $(DEMO)/logs/snakemake.log; exit 1; }
	@test $(DEMO)/report.zip -nt $(DEMO)/tables/table1.html || \
		$(SNAKEMAKE) --report $(DEMO)/report.zip --quiet
	@echo "Tables    $(DEMO)/tables/   (table1.html, .md, .csv)"
	@echo "Figures   $(DEMO)/figures/  (figure1 to figure9, training, samples, overlays_MODEL)"
	@echo "Workflow  $(DEMO)/report.zip  (Snakemake's report)"
	@echo "Report    $(DEMO)/report.html"

# Snakemake's own report needs every result; the page takes whatever is there.
report: setup
	@$(BIN)/python -m analysis.report $(CONFIG)
	@folder=results/$$(sed -n 's/^name: *//p' $(CONFIG)) && mkdir -p $$folder/logs && \
		$(SNAKEMAKE) --configfile $(CONFIG) --report $$folder/report.zip --quiet \
			2> $$folder/logs/report.zip.log && echo "Workflow  $$folder/report.zip" \
		|| echo "Workflow  not made, as $$folder/logs/report.zip.log says"

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m ""

bench: setup
	$(BIN)/pip install --quiet --disable-pip-version-check openvino==2026.4.1
	$(BIN)/python -m pose.bench --output-dir results/bench

gpu-check: setup
	$(BIN)/python -m pose.gpu_check

bench-gpu: setup
	$(BIN)/python -m pose.bench gpu --repeats 3 --within 180 --output-dir results/bench

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/python -m workflow.document --check
	$(BIN)/python docs/architecture.py --check
	$(BIN)/python docs/models.py --check
	$(BIN)/python docs/measured.py --check
	$(SNAKEMAKE) --lint

setup: $(VENV)/.installed

# xtcocotools is built here against the installed numpy: its wheels want numpy 1. Without a C
# compiler all else still works, and whoever asks for that evaluator is told.
$(VENV)/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ...")'
	@{ test ! -L $(VENV) && { test ! -e $(VENV) || test -e $(VENV)/.made-by-make || test -e $@; }; } || \
		{ echo "error: $(VENV) is not ours to replace; move it away"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $(VENV)/.made-by-make
ifdef TORCH_INDEX
	grep -E '^torch(vision)?==' requirements.lock > $(VENV)/torch.txt
	grep -Ev '$(OF_CUDA)' requirements.lock > $(VENV)/others.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --index-url $(TORCH_INDEX) -r $(VENV)/torch.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r $(VENV)/others.txt
else
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
endif
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--no-binary xtcocotools xtcocotools==1.14.3 \
		|| echo "xtcocotools could not be built (is a C compiler installed?); going on without it"
	@touch $@

# After a change of pyproject.toml.
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --quiet \
		--no-annotate --custom-compile-command "make lock" -o requirements.lock

# Only what make made: its environment, and the demo's results, unless they are links elsewhere.
clean:
	test ! -e $(VENV)/.made-by-make -a ! -e $(VENV)/.installed -o -L $(VENV) || rm -rf $(VENV)
	test -L results -o -L $(DEMO) || rm -rf $(DEMO)
