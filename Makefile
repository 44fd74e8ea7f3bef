# make search                                        set up, then search: minutes on two cores
# make search ARGS="--workers 8 --seed 3"            flags of search.py
# make test                                          set up, then the default tests
# make figures                                       a small search, its random twin, their figures
# make reproduce                                     tables and figures of the results from the published records
# make scratch                                       the published runs themselves, from nothing: a day or two
# make search TORCH_INDEX=https://download.pytorch.org/whl/cpu      PyTorch's smaller CPU wheels

PYTHON ?= python3
TORCH_INDEX ?=
ARGS ?=
FIGURES := $(if $(FIGURES),$(FIGURES),runs/figures-$(shell date +%Y%m%d-%H%M%S))

.PHONY: search test lint figures reproduce scratch clean

search: .venv/ready
	.venv/bin/python search.py $(if $(findstring --preset,$(ARGS)),,--preset laptop) $(ARGS)

test: .venv/ready
	.venv/bin/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

figures: .venv/ready
	.venv/bin/python search.py --preset smoke --samples 200 --out $(FIGURES)/trpo
	.venv/bin/python search.py --preset smoke --samples 200 --algorithm random --out $(FIGURES)/random
	.venv/bin/python -m plots.learning_curve $(FIGURES)/trpo $(FIGURES)/random -o $(FIGURES)/learning_curve.png
	.venv/bin/python -m plots.entropy $(FIGURES)/trpo -o $(FIGURES)/entropy.png
	.venv/bin/python -m plots.hall_of_fame $(FIGURES)/trpo -o $(FIGURES)/hall_of_fame.png
	.venv/bin/python -m plots.timeline $(FIGURES)/trpo -o $(FIGURES)/timeline.png
	.venv/bin/python rosenbrock.py --out $(FIGURES)/rosenbrock

reproduce: .venv/ready
	.venv/bin/python -m reproduce.tables

scratch: .venv/ready
	PATH="$(CURDIR)/.venv/bin:$$PATH" sh reproduce/scratch.sh

.venv/ready: requirements.txt requirements-studies.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "needs Python 3.10 or newer; name one: make PYTHON=python3.12"; exit 2; }
	@echo 'installing torch and what else is needed into .venv: a minute or more'
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),.venv/bin/pip install --quiet --index-url $(TORCH_INDEX) $$(grep ^torch requirements.txt))
	.venv/bin/pip install --quiet -r requirements-dev.txt
	@.venv/bin/python -c 'import torchvision' 2>/dev/null \
	  || { echo 'torch and torchvision do not fit each other: rm -r .venv, then make with one TORCH_INDEX for both'; exit 2; }
	@touch $@

clean:
	rm -rf .venv .pytest_cache .hypothesis .ruff_cache
