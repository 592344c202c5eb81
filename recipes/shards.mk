# Samples from many shards of text, made by as many processes and machines as there are: byte for
# byte the samples that one process makes of all of them (docs/scaling.md). Usage:
#
#     make -j 16 -f recipes/shards.mk OUT=work MODEL=Llama-2-7b-hf TEXT="redpajama/*.jsonl.zst" \
#         BOUNDS="--min-tokens 4096 --max-tokens 32768" DRAW="--samples 54212" PACK="--context 8192"
#
# makes work/train.smp. If it was killed, run the same command again: finished files are not made
# again. Variables may also come from the environment. Targets are the steps:
#
#     lengths   work/lengths/I.len, for each shard I
#     draw      work/drawn/I.lines, from all lengths
#     parts     work/parts/I.tok, for each shard
#     samples   work/train.smp, from all parts (the default)
#     count     prints the number of shards
#     settings  records the options; call it before many processes make single shards
#
# With SHARD=I the targets lengths and parts make the files of that shard alone, so that GNU
# parallel or a Slurm array can run them anywhere.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := samples

OUT ?= shards
MODEL ?= $(error MODEL=: name the tokenizer, or the folder of the model)
# The text's files, or patterns of names. They are cut into SHARDS groups of neighbours.
TEXT ?= $(error TEXT=: name the files of text)
FILES := $(foreach f,$(TEXT),$(or $(sort $(wildcard $(f))),$(error TEXT=: $(f) is not there)))
SHARDS ?= $(words $(FILES))
# TEXT_OPTIONS are for tokenize, the others for pack: BOUNDS select documents by length, DRAW says
# how many samples are drawn, and PACK says how they are made.
TEXT_OPTIONS ?=
BOUNDS ?=
DRAW ?= $(error DRAW=: --samples N or --quota SOURCE=N is needed)
PACK ?= --context 8192
# Each shard is one process. It has few threads, because many shards run at the same time.
THREADS ?= 1
# What stands before the programs' names. Installed programs have PROGRAMS=longqlora-.
PROGRAMS ?= bin/

QUIET := --quiet --progress none
TOKENIZE := $(PROGRAMS)tokenize --model $(MODEL) $(TEXT_OPTIONS) --threads $(THREADS) $(QUIET)
PACKS := $(PROGRAMS)pack $(QUIET)

$(if $(wordlist 1,$(SHARDS),$(FILES)),,$(error SHARDS=$(SHARDS): not a number of shards))
$(if $(word $(SHARDS),$(FILES)),,$(error SHARDS=$(SHARDS): there are only $(words $(FILES)) files))
# A word for each shard: its name, its number, and the numbers of its first and its last file.
GROUPS := $(shell awk -v files=$(words $(FILES)) -v shards=$(SHARDS) 'BEGIN { \
	for (i = 1; i <= shards; i++) printf("%05d/%d/%d/%d\n", i, i, \
		int((i - 1) * files / shards) + 1, int(i * files / shards)) }')
field = $(word $(1),$(subst /, ,$(2)))
files_of = $(wordlist $(call field,3,$(1)),$(call field,4,$(1)),$(FILES))
ALL := $(foreach g,$(GROUPS),$(call field,1,$(g)))

SELECTED := $(if $(SHARD),$(shell printf %05d $(SHARD)),$(ALL))
$(if $(filter-out $(ALL),$(SELECTED)),$(error SHARD=$(SHARD): there are shards 1 to $(SHARDS)))

samples: $(OUT)/train.smp
lengths: $(SELECTED:%=$(OUT)/lengths/%.len)
draw: $(ALL:%=$(OUT)/drawn/%.lines)
parts: $(SELECTED:%=$(OUT)/parts/%.tok)
count:
	@echo $(SHARDS)
settings: $(OUT)/lengths.options $(OUT)/draw.options $(OUT)/pack.options

# Files that depend on options are made again if the options change.
lengths_options = $(MODEL) $(TEXT_OPTIONS) $(BOUNDS) $(SHARDS) $(FILES)
draw_options = $(BOUNDS) $(DRAW)
pack_options = $(BOUNDS) $(DRAW) $(PACK)
quoted = '$(subst ','\'',$(1))'
$(OUT)/%.options: FORCE
	@mkdir -p $(@D)
	@echo $(call quoted,$($*_options)) | cmp -s - $@ || echo $(call quoted,$($*_options)) > $@
FORCE:

# $(call shard,NAME,NUMBER,FILES)
define shard
$(OUT)/lengths/$(1).len: $(3) $(OUT)/lengths.options
	@mkdir -p $$(@D)
	$(TOKENIZE) $(3) | $(PACKS) --lengths --shard $(2)/$(SHARDS) $(BOUNDS) -o $$@
$(OUT)/parts/$(1).tok: $(OUT)/drawn/$(1).lines $(3)
	@mkdir -p $$(@D)
	$(TOKENIZE) --lines $$< $(3) -o $$@

endef
$(foreach g,$(GROUPS),$(if $(filter $(call field,1,$(g)),$(SELECTED)),$(eval $(call \
	shard,$(call field,1,$(g)),$(call field,2,$(g)),$(call files_of,$(g))))))

# The jobs of single shards never draw.
ifeq ($(SHARD),)
$(ALL:%=$(OUT)/drawn/%.lines) &: $(ALL:%=$(OUT)/lengths/%.len) $(OUT)/draw.options
	$(PACKS) --draw $(BOUNDS) $(DRAW) $(ALL:%=$(OUT)/lengths/%.len) -o $(OUT)/drawn

$(OUT)/train.smp: $(ALL:%=$(OUT)/parts/%.tok) $(OUT)/pack.options
	cat $(ALL:%=$(OUT)/parts/%.tok) | $(PACKS) $(PACK) $(BOUNDS) $(DRAW) -o $@
endif

.PRECIOUS: $(OUT)/%.options
.PHONY: samples lengths draw parts count settings FORCE
