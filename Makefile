# LongQLoRA as Unix tools. `make help` lists the targets that have a ## comment, in this file, in
# recipes/reproduce.mk and in tests/tests.mk.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

VERSION := 0.2
FLAVOUR ?= release
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local

# ---- what is built ----

TOOLS := $(notdir $(patsubst %/,%,$(dir $(wildcard tools/*/main.c))))
BUILD := build/$(FLAVOUR)
BIN := $(if $(filter release,$(FLAVOUR)),bin,$(BUILD)/bin)

WARNINGS := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
	-Wwrite-strings -Wundef -Wvla
# Paths of includes begin at the root.
CPPFLAGS += -I. -D_GNU_SOURCE -DLONGQLORA_VERSION='"$(VERSION)"'
CFLAGS_release := -O2 -g
CFLAGS_asan := -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
CFLAGS_tsan := -O1 -g -fsanitize=thread
CFLAGS_fuzz := -O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
CFLAGS_coverage := -O0 -g --coverage
# FLAVOUR=reach: programs that record which parts of their code run, for tests/reach/run.
REACH_reach := tests/reach/reach.c
CFLAGS_reach := -O1 -g1 -fsanitize-coverage=trace-pc
OWN := -std=gnu11 $(WARNINGS) $(CFLAGS_$(FLAVOUR)) -MMD -MP -pthread
LINK := $(CFLAGS_$(FLAVOUR)) -pthread -Wl,--as-needed
# packaging/requirements finds the libraries' flags once, before anything is compiled.
FOUND := build/libraries
CPPFLAGS += $(shell cat $(FOUND).cflags 2>/dev/null)
LIBS = $(shell cat $(FOUND).libs)

LIB_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard lib/*/*.c) $(REACH_$(FLAVOUR)))
MODEL_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard model/*.c))

# The CPU kernels are compiled once for each level of the instruction set. Each level is linked into
# one object, whose only visible symbol is the level's table of kernels.
KERNEL_SOURCES := $(wildcard kernels/cpu/*.c)
ARCH := $(shell uname -m)
LEVELS := baseline $(if $(filter x86_64,$(ARCH)),v3 v4 bf16)
MARCH_v3 := -march=x86-64-v3
MARCH_v4 := -march=x86-64-v4 -mprefer-vector-width=512
# This level multiplies in bf16 and adds up in f32 (device cpu-bf16).
MARCH_bf16 := $(MARCH_v4) -mavx512bf16 -mamx-tile -mamx-bf16 -DGEMM_BF16
# At -O3 with sanitizers, the four levels would take half of all the time of compiling. With -O1
# alone gcc leaves out vzeroupper, and code without AVX that runs after a kernel takes four times as
# long.
OPTIMIZE_asan := -O1 -fexpensive-optimizations
OPTIMIZE_coverage := -O0
OPTIMIZE_reach := $(OPTIMIZE_asan)
# -Wno-pass-failed: clang warns if it cannot vectorise a loop marked simd, which is not an error.
OPTIMIZE := $(or $(OPTIMIZE_$(FLAVOUR)),-O3) -fopenmp-simd -fno-math-errno \
	-fno-trapping-math -Wno-pass-failed
# These files are compiled without fused multiply-add, because their bits are part of a format, or
# must be the same on every level.
EXACT := nf4 adamw convert
KERNELS := $(BUILD)/kernels/kernels.o $(foreach l,$(LEVELS),$(BUILD)/kernels/cpu-$(l).o)

LIBRARY := $(LIB_OBJECTS) $(MODEL_OBJECTS) $(KERNELS)
# A program takes only the objects that it uses from the archive.
ARCHIVE := $(BUILD)/liblongqlora.a

# V=1 shows the commands.
Q := $(if $(V),,@)

# If nvcc is installed, two CUDA plug-ins are built beside the programs: one computes in bf16, the
# other in f16 for older GPUs. CUDA_ARCHS chooses the architectures. `own`, the default, is the
# architecture of this machine's GPU; without a GPU it is 90 for bf16 and 75 for f16. `all`, for
# make install and for other machines, is every supported architecture, and PTX for later GPUs. GPUs
# of compute capability 8.6 and 8.9 normally use the bf16 plug-in, so the f16 plug-in has no code of
# its own for them; there they run the code for 8.0. A list is possible too, such as "80 90". What
# ptxas says of each kernel (registers, spills) is in .log files beside the objects; `make
# cuda-report` prints a summary.
NVCC := $(shell command -v nvcc 2>/dev/null)
CUDA_ARCHS ?= own
ifneq ($(NVCC),)
ALL_ARCHS := 80 86 89 90
# CUDA 13 no longer compiles for Volta (compute_70).
OLDER_ARCHS := $(shell $(NVCC) --list-gpu-arch | sed -n 's/^compute_70$$/70/p') 75
GPU_ARCH := $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head \
	-n 1 | tr -d .)
# Toolkits before 12 do not know the instructions that only Hopper has.
KNOWS_HOPPER := $(shell $(NVCC) --version | grep -qE 'release (1[2-9]|[2-9][0-9])' && echo yes)
endif
at_least_80 = $(filter-out 7%,$(1))
archs_all = $(ALL_ARCHS)
archs_own = $(or $(filter $(ALL_ARCHS),$(GPU_ARCH)),90)
archs_f16_all = $(OLDER_ARCHS) $(filter-out 86 89,$(ALL_ARCHS))
archs_f16_own = $(or $(filter $(OLDER_ARCHS) $(ALL_ARCHS),$(GPU_ARCH)),75)
ARCHS_cuda := $(call at_least_80,$(or $(archs_$(CUDA_ARCHS)),$(CUDA_ARCHS)))
ARCHS_cuda-f16 := $(or $(archs_f16_$(CUDA_ARCHS)),$(CUDA_ARCHS))
CUDA_SOURCES := $(wildcard kernels/cuda/*.cu)
# nvcc needs two seconds for the headers of each source, and less than that for the kernels of these
# sources. So they are compiled as one file, which includes them. Their code is the same, byte for
# byte.
CUDA_SMALL := convert copy device dropout embedding head linear messages profiler rope scale \
	swiglu table
CUDA_PARTS := small $(filter-out $(CUDA_SMALL),$(CUDA_SOURCES:kernels/cuda/%.cu=%))
# Code for each architecture, and PTX for later GPUs. From 8.0 on the sources do not distinguish
# architectures, apart from attention_wgmma, and nvcc makes the same PTX for each of them. So the
# first half of its work, which takes longer, is done once for all of them. Their code is the same,
# byte for byte.
one_ptx = $(filter 80 86 89 90,$(1))
virtual_arch = $(if $(call one_ptx,$(1)),$(firstword $(call one_ptx,$(2))),$(1))
cuda_code = $(foreach a,$(1),-gencode arch=compute_$(call virtual_arch,$(a),$(1)),code=sm_$(a)) \
	-gencode arch=compute_$(call virtual_arch,$(lastword $(1)),$(1)),code=compute_$(call \
	virtual_arch,$(lastword $(1)),$(1))
PLUGIN := $(if $(NVCC),$(if $(filter release,$(FLAVOUR)),$(BIN)/kernels-cuda.so \
	$(BIN)/kernels-cuda-f16.so))

# If Open MPI's mpicc is installed, the plug-in with which several processes share a run is built.
MPICC := $(shell command -v mpicc 2>/dev/null)
RANKS := $(if $(MPICC),$(BIN)/ranks-mpi.so)

## Build
# Programs and plug-ins are built in parallel even if make was started without -j.
parallel = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))
all: ## programs, and the CUDA plug-ins where there is nvcc (CUDA_ARCHS=all: for every GPU)
	@$(MAKE) --no-print-directory $(parallel) programs
programs: $(addprefix $(BIN)/,$(TOOLS)) $(PLUGIN) $(RANKS)

# These files are compiled without fused multiply-add, because their bits must equal the CPU's.
CUDA_EXACT := adamw
uses_hopper = $(and $(filter attention_wgmma,$(1)),$(filter 90,$(2)),$(KNOWS_HOPPER))
hopper_code := -DHOPPER -gencode arch=compute_90a,code=sm_90a

# All CUDA objects wait for this file. Otherwise make would begin with those that need not wait, and
# the object of this file, which takes long, would come last.
build/small.cu: Makefile
	@mkdir -p $(@D)
	@printf '#include "kernels/cuda/%s.cu"\n' $(CUDA_SMALL) > $@
cuda_source = $(if $(filter small,$(1)),build/small.cu,kernels/cuda/$(1).cu)

space := $() $()
# The folder of the objects is named after the architectures. If these change, the plug-in is linked
# again.
define plugin
OBJECTS_$(1) := $(BUILD)/$(1)/$(subst $(space),-,$(strip $(ARCHS_$(1))))
$$(foreach p,$(CUDA_PARTS),$$(eval $$(OBJECTS_$(1))/$$(p).o: $$(call cuda_source,$$(p))))
$(CUDA_PARTS:%=$$(OBJECTS_$(1))/%.o): $$(OBJECTS_$(1))/%.o: Makefile | build/small.cu
	@mkdir -p $$(@D)
	@echo "NVCC $$@"
	$(Q)$(NVCC) -std=c++20 -O3 -I. $$(if $$(filter $$*,$(CUDA_EXACT)),-fmad=false) \
		-DMIN_CAPABILITY=$(firstword $(ARCHS_$(1))) $(2) \
		$$(if $$(call uses_hopper,$$*,$(ARCHS_$(1))),$$(hopper_code),$$(call \
		cuda_code,$(ARCHS_$(1)))) \
		-MMD -MP -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra -Werror all-warnings \
		--ptxas-options=-v -c $$(call cuda_source,$$*) -o $$@ \
		> $$(@:.o=.log) 2>&1 || { cat $$(@:.o=.log); false; }
$(BUILD)/$(1)/fail.o: lib/common/fail.c Makefile
	@mkdir -p $$(@D)
	$(Q)$(CC) $(CPPFLAGS) $(OWN) -fPIC -c $$< -o $$@
$(BUILD)/$(1)/archs: FORCE
	@mkdir -p $$(@D)
	@echo '$(ARCHS_$(1))' | cmp -s - $$@ || echo '$(ARCHS_$(1))' > $$@
$(BIN)/kernels-$(1).so: $(CUDA_PARTS:%=$$(OBJECTS_$(1))/%.o) \
	$(BUILD)/$(1)/fail.o $(BUILD)/$(1)/archs
	@mkdir -p $$(@D)
	@echo "LD $$@"
	$(Q)$(NVCC) -shared -cudart static $$(filter %.o,$$^) -lcublasLt -o $$@
endef
$(if $(NVCC),$(eval $(call plugin,cuda,)))
$(if $(NVCC),$(eval $(call plugin,cuda-f16,-DELEM_F16)))
FORCE:

$(BIN)/ranks-mpi.so: lib/ranks/mpi/ranks_mpi.c lib/ranks/ranks.h lib/common/fail.c \
	lib/common/buffer.c Makefile
	@mkdir -p $(@D)
	@echo "MPICC $@"
	$(Q)OMPI_CC='$(CC)' $(MPICC) $(CPPFLAGS) \
		$(filter-out -MMD -MP -fsanitize-coverage=%,$(OWN)) -fPIC -fvisibility=hidden \
		-shared $(filter %.c,$^) -o $@

cuda-report: ## registers and spills of each CUDA kernel
	@for p in $(OBJECTS_cuda) $(OBJECTS_cuda-f16); do echo "$$p:"; tests/ptxas-report $$p; done

$(FOUND).libs: packaging/requirements $(if $(filter deps,$(MAKECMDGOALS)),| deps)
	@CC='$(CC)' $< build $(FOUND)

$(BUILD)/%.o: %.c Makefile | $(FOUND).libs
	@mkdir -p $(@D)
	@echo "CC $@"
	$(Q)$(CC) $(CPPFLAGS) $(OWN) -ffp-contract=off $(CFLAGS) -c $< -o $@

# With sanitizers this file takes a third of a training's time at -O1, a fifth at -O3.
$(LEVELS:%=$(BUILD)/kernels/%/dropout.o): OPTIMIZE := $(OPTIMIZE:-O1=-O3)

define level
$(BUILD)/kernels/$(1)/%.o: kernels/cpu/%.c Makefile | $(FOUND).libs
	@mkdir -p $$(@D)
	@echo "CC $$@"
	$$(Q)$$(CC) $$(CPPFLAGS) $$(OWN) $$(OPTIMIZE) $$(MARCH_$(1)) \
		-ffp-contract=$$(if $$(filter $$*,$$(EXACT)),off,fast) \
		-DKERNELS_CPU=kernels_cpu_$(1) $$(CFLAGS) -c $$< -o $$@
$(BUILD)/kernels/cpu-$(1).o: $(patsubst kernels/cpu/%.c,$(BUILD)/kernels/$(1)/%.o,$(KERNEL_SOURCES))
	$$(Q)ld -r -o $$@ $$^
	$$(Q)objcopy --keep-global-symbol=kernels_cpu_$(1) $$@
endef
$(foreach l,$(LEVELS),$(eval $(call level,$(l))))

$(ARCHIVE): $(LIBRARY)
	@rm -f $@
	$(Q)ar qcsD --thin $@ $^

define tool
$(BIN)/$(1): $(patsubst %.c,$(BUILD)/%.o,$(wildcard tools/$(1)/*.c)) $(ARCHIVE)
	@mkdir -p $$(@D)
	@echo "LD $$@"
	$$(Q)$$(CC) $$(LINK) $$^ $$(LIBS) -o $$@
endef
$(foreach t,$(TOOLS),$(eval $(call tool,$(t))))

include tests/tests.mk
include recipes/reproduce.mk

# ---- the machine ----

## This machine

# LISTS has the lists of deps.txt that the other goals on the command line need. `make deps` alone
# installs all lists but `real`.
GOALS := $(filter-out deps,$(MAKECMDGOALS))
BUILD_GOALS := all install uninstall deb info help clean
FIGURE_GOALS := demo reproduce plot
ifneq ($(or $(filter-out $(BUILD_GOALS) $(FIGURE_GOALS),$(GOALS)),$(if $(GOALS),,none)),)
LISTS ?= build reproduce test
else
LISTS ?= build $(if $(filter $(FIGURE_GOALS),$(GOALS)),reproduce)
endif

deps: ## install packages that the goals after it need (make deps all); alone: all lists but real
	@tests/install-deps $(LISTS)
	@rm -f $(FOUND).*
# All other goals of the same command line wait for deps.
$(if $(filter deps,$(MAKECMDGOALS)),$(eval $(GOALS): | deps))

info: ## versions of the compiler, the libraries and CUDA on this machine
	@echo "longqlora $(VERSION), flavour $(FLAVOUR), tools: $(TOOLS)"
	@$(CC) --version | head -n 1
	@echo "levels of the CPU kernels: $(LEVELS); this CPU: $$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
	@for p in $$(sed 's/#.*//; s/^\[[a-z]*\].*//' deps.txt); do \
		dpkg-query -W -f '$${Package} $${Version} $${Status}\n' $${p//|/ } 2>/dev/null | \
		sed -n 's/ install ok installed//p' | \
			grep . || echo "$$p: not installed"; done
	@echo "CUDA: $$(command -v nvcc >/dev/null && nvcc --version | sed -n 's/.*release \([0-9.]*\).*/nvcc \1/p' || echo 'no nvcc')"

install uninstall: export PREFIX := $(PREFIX)
install uninstall: export DESTDIR := $(DESTDIR)
install: ## programs, manuals, documents, examples, recipes, completion (PREFIX, DESTDIR)
	@$(MAKE) --no-print-directory $(parallel) CUDA_ARCHS=all programs
	@packaging/install $(TOOLS) $(if $(PLUGIN)$(RANKS),-- $(PLUGIN) $(RANKS))

uninstall: ## remove exactly what install put there
	@packaging/install --uninstall

deb: ## a Debian package for the release of this machine
	@$(MAKE) --no-print-directory $(parallel) CUDA_ARCHS=all programs
	@packaging/deb $(VERSION) $(TOOLS) $(if $(PLUGIN)$(RANKS),-- $(PLUGIN) $(RANKS))

clean: ## remove build/ and bin/
	rm -rf build bin

help: ## this list
	@awk -F ': *([^#]*)## ' '/^## / { print (heads++ ? "\n" : "") substr($$0, 4) } \
		/^[a-z-]+:.*## / { printf "  %-12s  %s\n", $$1, $$2 }' \
		Makefile recipes/reproduce.mk tests/tests.mk

.PHONY: all programs cuda-report deps info install uninstall deb clean help

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
