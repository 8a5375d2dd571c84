# Included by the Makefile.
.PHONY: reference
reference: setup .venv-reference/ready
	.venv-reference/bin/python -m pytest -m reference plugins/reference

.venv-reference/ready: plugins/reference/install.sh plugins/reference/requirements.txt
	sh plugins/reference/install.sh $(VENV) .venv-reference
	@touch $@

.PHONY: bench-generation
bench-generation: .venv-reference/ready
	OMP_NUM_THREADS=1 .venv-reference/bin/python benchmarks/generation.py
