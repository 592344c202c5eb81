# A rehearsal of a scale: a model of random weights in the model's shape, text of the right lengths,
# one step of one sample, and one window of the longest context. Every rule runs with matrices of
# full size, and costs.md says what each stage took. LAYERS=N leaves out layers, where time or disk
# are short.

SHAPE ?= recipes/shapes/$(SCALE).json
LAYERS ?= $(shell sed -n 's/.*"num_hidden_layers": *\([0-9]*\).*/\1/p' $(SHAPE))
DTYPE ?= f16
VOCABULARY ?= 8000
MODEL = $(R)/model
TEXT = $(R)/train.jsonl
HELDOUT = $(R)/heldout.jsonl
TEXT_OPTIONS :=
LIST := reproduce
# The samples and steps of the whole run, from which its hours are computed.
WHOLE_SAMPLES := $$(( $(EXTEND_STEPS) * $(EXTEND_TOKENS) / 2 / $(BASE_CONTEXT) ))
WHOLE_SAMPLES := $(shell echo $(WHOLE_SAMPLES))
CONTEXTS := $(lastword $(subst $(comma), ,$(CONTEXTS)))
REPORT_CONTEXT := $(CONTEXTS)
EVAL_TOKENS := $(shell echo $$(( 2 * $(CONTEXTS) + 1 )))
# A CPU that can multiply in bf16 does so.
DEVICE ?= $(if $(wildcard /dev/nvidia0),auto,$(if $(shell grep -m 1 -o avx512_bf16 \
	/proc/cpuinfo),cpu-bf16,cpu))
EXTEND_STEPS := 1
EXTEND_TOKENS := $(shell echo $$(( 2 * $(BASE_CONTEXT) )))
PACK_OPTIONS := --strategy truncate --min-tokens $(EXTEND_TOKENS) --max-tokens 32768 --samples 2
# The first step of a warm-up has rate 0, so nothing would change.
STEP_SAMPLES := warmup_steps=0 per_device_train_batch_size=1 gradient_accumulation_steps
EXAMPLE_TOKENS := 8
RESULTS = $(R)/table.md $(R)/examples.txt $(R)/costs.txt
