# The reproduction as one graph of make's rules. recipes/$(SCALE).mk sets its scale. Files that are
# up to date are not made again, and a killed training is resumed from its checkpoint.

SCALE ?= miniature
SEED ?= 0
comma := ,
scales := miniature smoke smollm2 llama2-7b vicuna-13b
$(if $(filter $(SCALE),$(scales)),,$(error SCALE=$(SCALE): choose one of: $(scales)))
include recipes/$(SCALE).mk
# REHEARSE=1 tries a scale with a random model, one step and one window.
$(if $(REHEARSE),$(eval include recipes/rehearse.mk))

R := run/$(SCALE)$(if $(REHEARSE),-rehearsal)-seed$(SEED)
STAGE := @$(if $(REHEARSE),MEASURE=1 )recipes/stage $(R)
# What `make reproduce` makes and prints, and the list of deps.txt that it needs. A scale that sets
# GRAPH has its rules in that file.
RESULTS ?= $(R)/table.md $(R)/examples.txt
LIST ?= reproduce
ifdef GRAPH
include $(GRAPH)
else
# Rows of the table: SINGLE_ROWS once, FACTOR_ROWS for each factor. A scale may leave some out.
SINGLE_ROWS ?= base base-nf4 control
FACTOR_ROWS ?= full lora longqlora longqlora-plus merged scratch interpolated
ROWS := $(SINGLE_ROWS) $(foreach f,$(FACTORS),$(FACTOR_ROWS:%=%-$(f)))
# How pack makes samples, which recipes are used for training, and which recipe key sets the number
# of samples in a step.
PACK_OPTIONS ?= --strategy split
# DEVICE chooses where the rows are trained and measured.
ON ?= $(if $(DEVICE),--device $(DEVICE))
FULL_RECIPE ?= miniature-full
LORA_RECIPE ?= miniature-lora
STEP_SAMPLES ?= per_device_train_batch_size
# Prompts for the examples at the end.
EXAMPLE_TOKENS ?= 180
EXAMPLE_PROMPTS ?= "In the beginning"
SCORES := $(foreach row,$(ROWS),$(foreach s,$(SOURCES),$(R)/scores/$(row).$(s).json))
endif

## Reproduce and draw
demo: ## the whole method in miniature: tables and a figure in run/, in minutes
	@$(MAKE) --no-print-directory reproduce SCALE=miniature

# make builds programs in parallel but runs stages one after the other, because each stage uses all
# cores.
reproduce: ## the same, another scale or seed (SCALE=smoke, smollm2, llama2-7b, vicuna-13b; SEED=1)
	@packaging/requirements $(LIST)
	@$(MAKE) --no-print-directory -j$(JOBS) programs
	@$(MAKE) --no-print-directory -j1 $(RESULTS)
	@cat $(filter %.txt,$(RESULTS)) $(R)/table.txt
	@$(if $(GRAPH),,recipes/differ.pl $(R))

ifndef GRAPH
# A rehearsal's model has random weights and a vocabulary of the text.
ifdef REHEARSE
$(MODEL)/config.json: $(R)/vocabulary/tokenizer.model $(SHAPE) | \
	build/release/tests/bench/random_model
	@sed 's/\("num_hidden_layers": *\)[0-9]*/\1$(LAYERS)/' $(SHAPE) > $(R)/shape.json
	$(STAGE) "random model of $(LAYERS) layers" build/release/tests/bench/random_model \
		$(R)/shape.json $(MODEL) $(DTYPE) $(<D)
$(MODEL)/tokenizer.model: $(MODEL)/config.json ;

$(R)/costs.txt: $(R)/table.md $(R)/examples.txt recipes/costs.pl
	@recipes/costs.pl $(R) $(WHOLE_SAMPLES)
endif

# If a scale names a MODEL, that model is the base. It is trained on TEXT and measured on HELDOUT.
# Otherwise the rules below make text, vocabulary and base.
ifdef MODEL
$(R)/tokenizer/tokenizer.model: $(MODEL)/tokenizer.model
	@mkdir -p $(@D)
	@ln -sfn $(abspath $<) $@

$(R)/base/config.json: $(MODEL)/config.json
	@mkdir -p $(R)
	@ln -sfn $(abspath $(MODEL)) $(R)/base

$(R)/train.tok: $(TEXT) $(R)/tokenizer/tokenizer.model | bin/tokenize
	$(STAGE) "tokenize: train" bin/tokenize --model $(R)/tokenizer/tokenizer.model \
		$(TEXT_OPTIONS) $(TEXT) -o $@

$(R)/heldout.tok: $(HELDOUT) $(R)/tokenizer/tokenizer.model | bin/tokenize
	$(STAGE) "tokenize: heldout" bin/tokenize --model $(R)/tokenizer/tokenizer.model --source \
		$(SOURCES) $(HELDOUT) -o $@
else
$(R)/%.tok: $(R)/%.jsonl $(R)/tokenizer/tokenizer.model | bin/tokenize
	$(STAGE) "tokenize: $*" bin/tokenize --model $(R)/tokenizer/tokenizer.model $< -o $@
endif

# samples-1 has BASE_CONTEXT tokens a sample, for the base; samples-2 has twice as many, and so on.
$(R)/samples-%.smp: $(R)/train.tok | bin/pack
	$(STAGE) "pack: $*x" bin/pack --context $$(( $* * $(BASE_CONTEXT) )) $(PACK_OPTIONS) \
		--summary $(@:.smp=.json) $< -o $@
	@recipes/lengths.pl $(@:.smp=.json) $(@:.smp=.svg)

$(R)/config-%.json:
	@mkdir -p $(@D)
	@echo '$(CONFIG)' | sed "s/CONTEXT/$$(( $* * $(BASE_CONTEXT) ))/" > $@

# The text of the miniature and of a rehearsal, and its vocabulary.
ifneq ($(if $(MODEL),$(REHEARSE),yes),)
$(R)/train.jsonl $(R)/heldout.jsonl: $(R)/%.jsonl: recipes/corpus.pl
	$(STAGE) "corpus: $*" bash -o pipefail -c 'recipes/corpus.pl $* > $@.tmp && mv $@.tmp $@'

# LLaMA's options: BPE with byte fallback, without normalisation; each digit is a token.
$(if $(MODEL),$(R)/vocabulary,$(R)/tokenizer)/tokenizer.model: $(R)/train.jsonl recipes/text.pl
	@mkdir -p $(@D)
	@recipes/text.pl < $< > $(R)/train.txt
	$(STAGE) vocabulary spm_train --input=$(R)/train.txt --model_prefix=$(R)/spm \
		--model_type=bpe \
		--vocab_size=$(VOCABULARY) --byte_fallback=true --character_coverage=0.99995 \
		--split_digits=true --normalization_rule_name=identity --add_dummy_prefix=true \
		--remove_extra_whitespaces=false --allow_whitespace_only_pieces=true \
		--max_sentence_length=20000 --num_threads=2 --minloglevel=1
	@mv $(R)/spm.model $@
	@rm -f $(R)/train.txt $(R)/spm.vocab
endif

# ---- trainings: one for each row of the table ----

# $(call trained,NAME,RESULT,BEGINS WITH,RECIPE,CONTEXT,LENGTH,KEYS): % stands for the context of
# the samples, as a multiple of BASE_CONTEXT. LENGTH is SCRATCH or EXTEND, and the scale sets
# LENGTH_STEPS and LENGTH_TOKENS (of a step).
define trained
$(R)/$(1)/$(2): $(R)/$(3) $(R)/samples-$(5).smp recipes/$(4).yaml | bin/train
	$(STAGE) "train: $(subst %,$$*,$(1))" bin/train recipes/$(4).yaml $(ON) \
		output_dir=$(R)/$(subst %,$$*,$(1)) seed=$(SEED) \
		train_file=$(R)/samples-$(subst %,$$*,$(5)).smp max_steps=$($(6)_STEPS) \
		save_steps=$(SAVE_STEPS) \
		$(STEP_SAMPLES)=$$$$(( $($(6)_TOKENS) / $(subst %,$$*,$(5)) / $(BASE_CONTEXT) )) \
		model_name_or_path=$(R)/$(subst %,$$*,$(3:/config.json=)) $(7)

endef
ifndef MODEL
$(eval $(call trained,base,config.json,config-1.json,scratch,1,SCRATCH,tokenizer=$(R)/tokenizer))
endif
$(eval $(call trained,scratch-%,config.json,config-%.json,scratch,%,SCRATCH, \
	tokenizer=$(R)/tokenizer))
# The control row is trained for as many further steps as LongQLoRA, at the base's context and with
# full attention.
$(eval $(call trained,control,config.json,base/config.json,$(FULL_RECIPE),1,EXTEND,attention=full))
$(eval $(call trained,full-%,config.json,base/config.json,$(FULL_RECIPE),%,EXTEND,))
$(eval $(call trained,lora-%,longqlora.json,base/config.json,$(LORA_RECIPE),%,EXTEND, \
	quantization=none))
$(eval $(call trained,longqlora-plus-%,longqlora.json,base.nf4,$(LORA_RECIPE),%,EXTEND, \
	quantization=nf4 train_embedding=embedding train_norm=true))
$(eval $(call trained,longqlora-%,longqlora.json,base.nf4,$(LORA_RECIPE),%,EXTEND, \
	quantization=nf4))

$(R)/base.nf4: $(R)/base/config.json | bin/quantize
	$(STAGE) quantize bin/quantize $(R)/base -o $@ --quiet

$(R)/merged-%/config.json: $(R)/longqlora-%/longqlora.json | bin/merge
	$(STAGE) "merge: $*x" bin/merge --base $(R)/base --adapter $(R)/longqlora-$* \
		-o $(R)/merged-$*

# ---- scores: each row of the table is measured on each source ----

# $(call row,NAME,PREREQUISITES,OPTIONS OF PPL); recipes/Rows.pm has the rows' titles.
define row
$(R)/scores/$(1).%.json: $(R)/$(2) $(R)/heldout.tok | bin/ppl $(R)/scores
	$(STAGE) "ppl: $(1) $$*" bin/ppl $(3) --data $(R)/heldout.tok --source $$* \
		--context $(CONTEXTS) --max-tokens $(EVAL_TOKENS) --to json -o $$@ --quiet $(ON)

endef
on_nf4 := --model $(R)/base.nf4 --adapter $(R)
define factor_rows
$(call row,interpolated-$(1),base/config.json,--model $(R)/base --rope linear:$(1))
$(call row,full-$(1),full-$(1)/config.json,--model $(R)/full-$(1))
$(call row,merged-$(1),merged-$(1)/config.json,--model $(R)/merged-$(1))
$(call row,scratch-$(1),scratch-$(1)/config.json,--model $(R)/scratch-$(1))
$(call row,lora-$(1),lora-$(1)/longqlora.json,--model $(R)/base --adapter $(R)/lora-$(1))
$(call row,longqlora-$(1),longqlora-$(1)/longqlora.json,$(on_nf4)/longqlora-$(1))
$(call row,longqlora-plus-$(1),longqlora-plus-$(1)/longqlora.json,$(on_nf4)/longqlora-plus-$(1))
endef
$(eval $(call row,base,base/config.json,--model $(R)/base))
$(eval $(call row,base-nf4,base.nf4,--model $(R)/base.nf4))
$(eval $(call row,control,control/config.json,--model $(R)/control))
$(foreach f,$(FACTORS),$(eval $(call factor_rows,$(f))))

$(R)/scores:
	@mkdir -p $@

# ---- the report: table.txt, table.md, table.json, figure.svg, figure.png ----

$(R)/table.md: $(SCORES) recipes/report.pl recipes/figure.pl recipes/Figure.pm recipes/Rows.pm
	$(STAGE) report recipes/report.pl $(R) "$(FACTORS)" "$(SOURCES)" \
		$(or $(REPORT_CONTEXT),$(BASE_CONTEXT)) "$(ROWS)"

# ---- examples of the model's text, before and after the extension ----

$(R)/examples.txt: $(R)/longqlora-2/longqlora.json $(R)/base.nf4 recipes/examples | bin/generate
	$(STAGE) examples recipes/examples $(R) $(EXAMPLE_TOKENS) $(EXAMPLE_PROMPTS)

.PRECIOUS: $(R)/%.tok $(R)/samples-%.smp $(R)/config-%.json $(R)/scratch-%/config.json \
	$(R)/full-%/config.json $(R)/lora-%/longqlora.json $(R)/longqlora-%/longqlora.json \
	$(R)/longqlora-plus-%/longqlora.json $(R)/merged-%/config.json
endif

# ---- the loss curve of a training ----

plot: ## the loss of trainings, drawn as SVG and PNG (RUN="output_dir ...")
	@recipes/loss.pl $(or $(RUN),$(error plot: say RUN=output_dir, or RUN="one another"))

.PHONY: demo reproduce plot
