# Everything a newcomer or a developer runs. Each target may be repeated; once set up, setting up costs nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARTS := $(wildcard plugins/*/pyproject.toml) $(wildcard examples/*/pyproject.toml)
# diffusers needs Python 3.11.
NOT_HERE := $(shell $(PYTHON) -c 'import sys; print("" if sys.version_info >= (3, 11) else "plugins/diffusers/%")')
# The reference plugin needs packages that cannot live beside today's: see `make reference`.
EDITABLE := $(foreach part,$(filter-out plugins/reference/% $(NOT_HERE),$(PARTS)),-e $(dir $(part)))
# Two busy cores lose more to threads that wait by spinning than they gain.
export OMP_WAIT_POLICY ?= passive

.PHONY: setup browser demo starter test test-slow test-processors test-pythons test-wheels test-cluster wheels lint fix types docs docs-check docs-site ray clean \
	bench bench-startup bench-prepare bench-mixed bench-captions bench-filing bench-vectors bench-engine bench-workers bench-serve bench-training bench-recipes bench-checkpointing bench-shards bench-clipgen bench-clipcap bench-dalle2 bench-shapes bench-starter bench-audio speech campaign

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt $(PARTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "t2i needs Python 3.10 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt -e '.[audio,data,search,show,stream,train,dev]' $(EDITABLE)
	@touch $@

# Two processes on two cores: more threads in each would only get in one another's way.
test: export OMP_NUM_THREADS ?= 1
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The tests of all that is computed, as other processors and other numbers of threads would have it; an hour or more.
test-processors: setup
	$(BIN)/python tests/processors.py

# For the tests of the page of `t2i serve`: a browser, a Chinese font, and a checker of accessibility that is not ours to ship.
browser: setup
	command -v chromium || apt-get install -y --no-install-recommends chromium fonts-noto-cjk
	mkdir -p build && cd build && npm pack --silent axe-core && tar -xzf axe-core-*.tgz --strip-components=1 package/axe.min.js

# What needs no torch, on the oldest and the newest Python that we claim, where they are to be found.
test-pythons: export OMP_NUM_THREADS ?= 1
test-pythons: setup
	$(BIN)/python tests/pythons.py

test-slow: setup
	$(BIN)/python -m pytest -m 'slow'

# What goes to an index, or to a machine without one: pip install --find-links dist 't2icli[all]'
wheels: setup
	for part in . $(dir $(PARTS)); do (cd $$part && $(CURDIR)/$(BIN)/python -m hatchling build -d $(CURDIR)/dist) || exit 1; done

# They are built, checked, and installed where nothing else of ours is.
test-wheels: setup
	$(BIN)/python -m pytest -m slow tests/packaging

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup
	$(BIN)/python docs/generate.py

docs-check: setup
	$(BIN)/python docs/generate.py --check

# The documentation in English and Chinese, with search. To read it: python3 -m http.server --directory build/site
docs-site: setup .venv-docs/ready
	$(BIN)/python docs/generate.py --site build/pages
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

.venv-docs/ready: constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --constraint constraints.txt mkdocs-material mkdocs-static-i18n jieba
	@touch $@

# Preparing data and embedding on a Ray cluster: daft and ray are too large for everyone.
ray: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt -e '.[ray]'

# On a cluster of Ray's that is started for it.
test-cluster: ray
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow tests/engine/test_cluster.py tests/engine/test_lost.py tests/engine/test_nodes.py tests/prepare/test_cluster.py

# The README's main command, with the small models that ship; it ends with where the gallery is.
demo: setup
	$(BIN)/t2i generate "红烧牛肉面" -n 16 --rerank brivl --output pictures/demo --force

# The small models that plugins/starter ships, from nothing: hours on two cores. What was stopped goes on. Faster with a
# core for each of two trainings at a time: OMP_NUM_THREADS=1 make -j2 starter
STARTER := tokenizer vqgan brivl dalle flow clip vqgan-sharper clipcap wavbrivl clipgen dalle2-prior dalle2-decoder

SHIPPED := plugins/starter/src/t2i_starter/models
PLATES := runs/starter/plates/dataset.toml
SPOKEN := runs/starter/spoken/dataset.toml

.PHONY: $(STARTER:%=starter-%)
starter: $(STARTER:%=starter-%)
	$(BIN)/python recipes/starter/assemble.py runs/starter $(SHIPPED)
	$(BIN)/python recipes/starter/prompts.py 300 > runs/starter/prompts.txt
	for model in dalle flow clipgen dalle2; do \
		$(BIN)/t2i evaluate generation runs/starter/prompts.txt -m $(SHIPPED)/$$model -r brivl --judge clip --calibrate || exit 1; \
	done

$(PLATES): | setup
	$(BIN)/t2i prepare plates 120000 -o ingredients=1,3,9,8 -o rules.duplicates=keep -o rules.store=jpg --output $(@D)

$(STARTER:%=starter-%): starter-%: $(PLATES)
	$(BIN)/t2i train $(*:%-sharper=%) --config recipes/starter/$*.toml --resume

# Their Chinese names, spoken: needs espeak-ng.
$(SPOKEN): $(PLATES) | speech
	$(BIN)/t2i prepare spoken $(<D) -o language=zh -o pictures=spectrogram --output $(@D)

# Each is trained on what those on the right have become. Those behind the bar are waited for to save time: DALL-E takes
# longest and so begins first, and the codes that it makes in its first minutes are there when CLIP-GEN wants the same.
starter-vqgan-sharper: starter-vqgan
starter-dalle: starter-tokenizer starter-vqgan
starter-flow: starter-tokenizer starter-vqgan starter-brivl
starter-clip: starter-tokenizer | starter-vqgan
starter-clipcap: starter-tokenizer starter-clip
starter-wavbrivl: $(SPOKEN) starter-brivl
starter-clipgen: starter-brivl starter-vqgan | starter-vqgan-sharper
starter-dalle2-prior: starter-clip
starter-dalle2-decoder: starter-dalle2-prior starter-vqgan | starter-vqgan-sharper

# The layers of which `t2i prepare plates` composes dishes: path-traced, about 16 minutes on one core. What
# is there is not rendered again; to render one anew, delete it. Blender's package is for one Python version alone.
LAYERS_PYTHON ?= python3.11
.PHONY: starter-layers
starter-layers: .venv-layers/ready
	.venv-layers/bin/python recipes/starter/layers/render.py runs/starter/layers
	.venv-layers/bin/python recipes/starter/layers/store.py runs/starter/layers plugins/starter/src/t2i_starter/layers

.venv-layers/ready:
	$(LAYERS_PYTHON) -m venv .venv-layers
	.venv-layers/bin/python -m pip install --quiet --disable-pip-version-check bpy==4.5.15 pillow==13.0.0
	@touch $@

# Everything that is measured, each beside what it replaces; hours on a small machine. One: make bench-generation
bench: bench-startup bench-prepare bench-mixed bench-filing bench-vectors bench-serve bench-generation bench-training bench-recipes bench-checkpointing bench-shards bench-clipgen bench-clipcap bench-dalle2 bench-shapes

bench-startup bench-prepare bench-mixed bench-captions bench-filing bench-vectors bench-serve bench-checkpointing bench-shards: setup
	$(BIN)/python benchmarks/$(@:bench-%=%).py
bench-engine: ray
	$(BIN)/python benchmarks/engine.py
bench-workers: ray
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/workers.py
# Which recipe and size fits which GPU, and steps on this processor, into docs/sizes.md. Some: make bench-recipes RECIPES="clip flow"
bench-recipes: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/recipes.py $(RECIPES)
bench-training: setup .venv-reference/ready
	OMP_NUM_THREADS=1 .venv-reference/bin/python benchmarks/training.py
bench-dalle2: setup .venv-reference/ready
	.venv-reference/bin/python -m pip install --quiet --disable-pip-version-check dalle2-pytorch==1.15.6
	OMP_NUM_THREADS=1 .venv-reference/bin/python benchmarks/dalle2_speed.py
bench-clipgen bench-clipcap: setup
	$(BIN)/python benchmarks/$(@:bench-%=%).py speed
# The proofs that training works: small models of drawn shapes, judged by the pixels.
bench-shapes: setup
	$(BIN)/python benchmarks/shapes.py runs/bench/shapes
	$(BIN)/python benchmarks/ranking.py runs/bench/ranking
	$(BIN)/python benchmarks/clipgen.py shapes runs/bench/clipgen
	$(BIN)/python benchmarks/clipcap.py shapes runs/bench/clipcap
	$(BIN)/python benchmarks/dalle2.py runs/bench/dalle2

# What ships in plugins/starter, on names it was never trained on; trains the checker alone, where there is none yet.
bench-starter: setup
	$(BIN)/python benchmarks/starter.py bench
	$(BIN)/python benchmarks/starter.py page

# How well the starter's tower hears dish names, once it is trained: make bench-audio HEARS=runs/wavbrivl/model
HEARS ?= wavbrivl/starter
bench-audio: setup
	$(BIN)/python benchmarks/audio.py $(HEARS)

# What speaks captions in the tests of wavbrivl, which are skipped without it.
speech:
	command -v espeak-ng > /dev/null || apt-get install --yes --quiet espeak-ng || echo 'without espeak-ng, tests of spoken captions are skipped'

# Everything hostile that we could think of, against the command line; minutes to an hour. One: make campaign FAMILY=images
SEED ?= 0
campaign: setup
	$(BIN)/python benchmarks/hostile $(FAMILY) --seed $(SEED)

clean:
	rm -rf $(VENV) .venv-docs .venv-reference .venv-layers .venv-3.* build .pytest_cache .mypy_cache .ruff_cache

include plugins/reference/setup.mk
