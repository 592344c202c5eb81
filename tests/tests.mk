# Tests: unit and kernel tests use cmocka, tests of command lines bats. All write TAP, whose totals
# tests/run adds up. FLAVOUR=asan runs them with sanitizers.

## Test and check
TEST_UNITS := $(wildcard tests/unit/test_*.c)
TEST_KERNELS := $(wildcard tests/kernels/test_*.c)
TEST_CUDA := $(wildcard tests/cuda/test_*.c)
TEST_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(TEST_UNITS) $(TEST_KERNELS) $(TEST_CUDA))
RECIPE := $(BUILD)/tools/train/recipe.o \
	$(patsubst %,$(BUILD)/tools/train/recipe_%.o,adapter scalar set words yaml ranges \
	print idle settle invisible foreign foreign_trainer foreign_programs \
	foreign_defaults)
TEST_LIBRARY := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/lib/*.c))
TOOL_PARTS := $(patsubst %,$(BUILD)/tools/merge/%.o,merger update biases parts) \
	$(BUILD)/tools/pack/packer.o $(BUILD)/tools/pack/reservoir.o $(BUILD)/tools/pack/lots.o \
	$(BUILD)/tools/pack/spill.o \
	$(BUILD)/tools/pack/best_fit.o $(BUILD)/tools/tokenize/jsonl.o \
	$(RECIPE) $(patsubst %,$(BUILD)/tools/generate/%.o,generator sampler speech talk)

# The references of the kernel tests are slow. Their sums, in double precision, may be computed in
# any order. With asan they are compiled without sanitizers, which then watch the kernels and the
# memory that both use, but not each step of a reference.
ORACLES := $(patsubst %.c,$(BUILD)/%.o,$(TEST_KERNELS) $(TEST_CUDA) tests/lib/check.c)
ifneq ($(filter release asan,$(FLAVOUR)),)
$(ORACLES): OWN := $(filter-out -O% -fsanitize=% -fno-sanitize-recover=%,$(OWN)) -O3 \
	-fassociative-math -fno-signed-zeros -fno-trapping-math
endif

$(TEST_PROGRAMS): $(BUILD)/%: $(BUILD)/%.o $(TEST_LIBRARY) $(TOOL_PARTS) $(LIBRARY)
	@echo "LD $@"
	$(Q)$(CC) $(LINK) $^ $(LIBS) -lcmocka -o $@

# The reference for the tokenizer: SentencePiece itself.
$(BUILD)/tests/spm_oracle: tests/lib/spm_oracle.cpp
	@mkdir -p $(@D)
	@echo "CXX $@"
	$(Q)g++ -O2 -w $< -lsentencepiece -o $@

# Records which code each test reaches (tests/reach/run).
$(BUILD)/tests/reach/reach.o: OWN := $(filter-out -fsanitize-coverage=%,$(OWN))

# The CUDA sources compiled as host C++ (tests/cuda-emulation): once with f32 elements, for tests
# with the bounds of f32, and once with bf16 and with f16 elements.
EMULATED := $(if $(filter x86_64,$(ARCH)),$(if \
	$(filter release,$(FLAVOUR)),$(foreach e,f32 bf16 \
	f16,$(BUILD)/emulation/$(e)/kernels-cuda.so) $(BUILD)/emulation/choices \
	$(BUILD)/emulation/nccl/libnccl.so.2))
EMULATED_CXX := g++ -std=c++20 -I. -MMD -MP -g1 -fPIC -fvisibility=hidden -Wall -Wextra \
	-Wno-unknown-pragmas -D_GNU_SOURCE -DHOPPER -DEMULATE -include \
	tests/cuda-emulation/emulation.h
# The compiler calls the run time at each load and store, and at no function's begin or end.
WATCHED := -O1 -fsanitize=thread --param tsan-instrument-func-entry-exit=0 -ffp-contract=off
# The small sources are one file, as for nvcc. nvtx.cpp replaces the profiler's ranges.
EMULATED_CODE := $(CUDA_PARTS) emulation cublaslt nvtx
build/emulated.cu: Makefile
	@mkdir -p $(@D)
	@printf '#include "kernels/cuda/%s.cu"\n' $(filter-out profiler,$(CUDA_SMALL)) > $@
emulate = $(Q)$(EMULATED_CXX) -x c++ -Itests/cuda-emulation $(1) $(WATCHED) -c
define emulated
$(BUILD)/emulation/$(1)/%.o: kernels/cuda/%.cu Makefile
	@mkdir -p $$(@D)
	@echo "EMULATE $$@"
	$(call emulate,$(2)) $$< -o $$@
$(BUILD)/emulation/$(1)/small.o: build/emulated.cu Makefile
	@mkdir -p $$(@D)
	@echo "EMULATE $$@"
	$(call emulate,$(2)) $$< -o $$@
$(BUILD)/emulation/$(1)/%.o: tests/cuda-emulation/%.cpp Makefile
	@mkdir -p $$(@D)
	$$(Q)$(EMULATED_CXX) $(2) -O3 -c $$< -o $$@
$(BUILD)/emulation/$(1)/fail.o: lib/common/fail.c lib/common/fail.h
	@mkdir -p $$(@D)
	$$(Q)$(CC) $(CPPFLAGS) -std=gnu11 -fPIC -c $$< -o $$@
$(BUILD)/emulation/$(1)/kernels-cuda.so: \
	$(EMULATED_CODE:%=$(BUILD)/emulation/$(1)/%.o) $(BUILD)/emulation/$(1)/fail.o
	$$(Q)g++ -shared -Wl,-Bsymbolic $$^ -o $$@
endef
# NCCL for emulated GPUs. A test gives its folder to the programs in LD_LIBRARY_PATH.
$(BUILD)/emulation/nccl/libnccl.so.2: tests/cuda-emulation/nccl.c tests/cuda-emulation/nccl.h
	@mkdir -p $(@D)
	@echo "CC $@"
	$(Q)$(CC) -I. -D_GNU_SOURCE -O1 -Wall -Wextra -fPIC -fvisibility=hidden -shared $< -o $@
$(eval $(call emulated,f32,-DELEM_F32))
$(eval $(call emulated,bf16,))
$(eval $(call emulated,f16,-DELEM_F16))

# Each parser has a fuzz target. `make test` runs it over its corpus. `make fuzz` and `make
# test-long` run libFuzzer on it with sanitizers, for SECONDS each.
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZED := $(LIB_OBJECTS) $(RECIPE) $(BUILD)/tools/tokenize/jsonl.o
CORPUS_PROGRAMS := $(FUZZ:%=$(BUILD)/tests/fuzz/corpus_%)
FUZZ_PROGRAMS := $(FUZZ:%=$(BUILD)/tests/fuzz/libfuzzer_%)
SECONDS ?= 600

$(CORPUS_PROGRAMS): $(BUILD)/tests/fuzz/corpus_%: $(BUILD)/tests/fuzz/fuzz_%.o \
	$(BUILD)/tests/fuzz/fuzz.o $(BUILD)/tests/fuzz/run_corpus.o $(FUZZED)
	@echo "LD $@"
	$(Q)$(CC) $(LINK) $^ $(LIBS) -o $@

$(FUZZ_PROGRAMS): $(BUILD)/tests/fuzz/libfuzzer_%: $(BUILD)/tests/fuzz/fuzz_%.o \
	$(BUILD)/tests/fuzz/fuzz.o $(FUZZED)
	@echo "LD $@"
	$(Q)$(CC) $(LINK) -fsanitize=fuzzer $^ $(LIBS) -o $@

fuzz: ## fuzz each parser with sanitizers (SECONDS=600 each)
	@$(MAKE) --no-print-directory -j$(JOBS) FLAVOUR=fuzz CC=clang fuzz-programs
	@SECONDS_EACH=$(SECONDS) tests/fuzz/run build/fuzz/tests/fuzz

fuzz-programs: $(FUZZ_PROGRAMS)

BENCH_PROGRAMS := $(addprefix $(BUILD)/tests/bench/,random_model random_adapter bandwidth kernels \
	layer logits sums)

$(BENCH_PROGRAMS): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/tests/bench/measured.o \
	$(BUILD)/tests/lib/synthetic_model.o $(LIBRARY)
	@echo "LD $@"
	$(Q)$(CC) $(LINK) $^ $(LIBS) -o $@

# Measures the choices that the plug-in makes between its kernels: on a GPU with the plug-in's own
# objects, and emulated, to try the program without a GPU.
CHOICES := $(if $(PLUGIN),$(BUILD)/tests/bench/choices)
choices_parts = $(filter-out attention_mma gemm_cublaslt,$(1))
$(BUILD)/tests/bench/choices: tests/bench/choices.cu tests/bench/measured.h \
	$(patsubst %,$(OBJECTS_cuda)/%.o,$(call choices_parts,$(CUDA_PARTS))) \
	$(BUILD)/tests/bench/measured.o $(LIBRARY) \
	kernels/cuda/attention_mma.cu kernels/cuda/gemm_cublaslt.cu Makefile
	@echo "NVCC $@"
	$(Q)$(NVCC) -std=c++20 -O3 -I. -MMD -MP -MF $@.d -MT $@ $(call cuda_code,$(ARCHS_cuda)) \
		-Werror all-warnings -cudart static $< $(filter %.o,$^) $(LIBS) -lcublasLt -o $@
# Replaces cuBLASLt when racecheck runs.
PLAIN_PRODUCTS := $(if $(PLUGIN),$(BUILD)/tests/gpu/cublaslt.so)
$(BUILD)/tests/gpu/cublaslt.so: tests/gpu/cublaslt.cu Makefile
	@mkdir -p $(@D)
	@echo "NVCC $@"
	$(Q)$(NVCC) -std=c++20 -O3 -I. $(call cuda_code,$(ARCHS_cuda)) -Werror all-warnings \
		-Xcompiler -fPIC -shared -cudart static $< -o $@
EMULATED_PARTS := $(patsubst %,$(BUILD)/emulation/bf16/%.o,$(call choices_parts,$(EMULATED_CODE)))
$(BUILD)/emulation/choices.o: tests/bench/choices.cu Makefile
	@mkdir -p $(@D)
	$(Q)$(EMULATED_CXX) -x c++ -Itests/cuda-emulation $(WATCHED) -c $< -o $@
$(BUILD)/emulation/choices: $(BUILD)/emulation/choices.o $(EMULATED_PARTS) \
	$(BUILD)/emulation/bf16/kernels-cuda.so $(BUILD)/tests/bench/measured.o $(LIBRARY)
	$(Q)g++ $< $(EMULATED_PARTS) $(BUILD)/tests/bench/measured.o $(LIBRARY) $(LIBS) -o $@

# Libraries that make system calls and allocations fail. Sanitizers have a malloc of their own, so
# they are tested in release only.
FAULT := $(if $(filter release,$(FLAVOUR)),$(BUILD)/tests/fault.so $(BUILD)/tests/shrink.so)
$(BUILD)/tests/%.so: tests/fault/%.c
	@mkdir -p $(@D)
	@echo "CC $@"
	$(Q)$(CC) -D_GNU_SOURCE -O1 -Wall -Wextra -fPIC -shared $< -o $@ -ldl

test-programs: programs $(FAULT) $(TEST_PROGRAMS) $(CORPUS_PROGRAMS) $(BUILD)/tests/spm_oracle \
	$(EMULATED)

# TIMES=--times also prints the table of what each test takes.
test: ## every test (TIMES=--times: and what each takes; FLAVOUR=asan: with sanitizers)
	@packaging/requirements test
	@$(MAKE) --no-print-directory $(parallel) test-programs
	@BIN=$(abspath $(BIN)) BUILD=$(abspath $(BUILD)) FLAVOUR=$(FLAVOUR) \
		JOBS=$(if $(filter-out file,$(origin JOBS)),$(JOBS)) \
		tests/run $(TIMES) $(TEST_PROGRAMS)

test-long: ## every test with its long loops, then fuzz
	@packaging/requirements test
	@$(MAKE) --no-print-directory $(parallel) test-programs
	@LONG=1 BIN=$(abspath $(BIN)) BUILD=$(abspath $(BUILD)) FLAVOUR=$(FLAVOUR) tests/run \
		$(TEST_PROGRAMS)
	@$(MAKE) --no-print-directory fuzz

reach: ## which tests need not be repeated with sanitizers (takes about as long as two `make test`)
	@$(MAKE) --no-print-directory $(parallel) programs
	@$(MAKE) --no-print-directory $(parallel) test-programs FLAVOUR=reach
	@env --default-signal tests/reach/run

coverage: ## which lines of lib/, kernels/ and model/ the tests reach
	@rm -rf build/coverage
	@$(MAKE) --no-print-directory test FLAVOUR=coverage
	@gcovr -r . --object-directory build/coverage --filter 'lib/' --filter 'kernels/' --filter \
		'model/' -s 2>/dev/null | tail -n 60

# Collects what a machine with a GPU needs for the checks, and runs them if a GPU is here.
gpu-check-programs: programs $(BENCH_PROGRAMS) $(CHOICES) $(PLAIN_PRODUCTS) \
	$(BUILD)/tests/cuda/test_bf16 $(BUILD)/tests/cuda/test_fp8 \
	$(BUILD)/tests/kernels/test_attention_parts
gpu-check: ## gather the checks that need a GPU in build/gpu-check, and run them if one is here
	@$(MAKE) --no-print-directory $(parallel) CUDA_ARCHS=all gpu-check-programs
	@BUILD=$(BUILD) tests/gpu/prepare build/gpu-check
	@if nvidia-smi -L > /dev/null 2>&1; then build/gpu-check/run build/gpu-check/out; \
	else echo "gpu-check: no GPU here: take build/gpu-check to one"; fi

bench-programs: programs $(BUILD)/tests/spm_oracle $(BENCH_PROGRAMS)
bench: ## time the programs here, and other programs beside them where they are installed
	@$(MAKE) --no-print-directory $(parallel) bench-programs
	@tests/bench/all

golden: ## say where the tests' reference values come from
	@echo "Golden files are made by hand: see tests/golden/README.md"

SOURCES_C := $(shell git ls-files '*.c' '*.h' 2>/dev/null)

format: ## lay out all C files as .clang-format says
	clang-format -i $(SOURCES_C)

check-format: ## name the C files that are laid out otherwise
	clang-format --dry-run -Werror $(SOURCES_C)

# Warnings of both compilers count as errors. Then come the rules of the house (tests/house),
# clang-tidy and cppcheck. cppcheck's ctuuninitvar is off for fail.c, because it takes the array
# that fail_with writes for one that is read.
lint: check-format ## warnings of two compilers as errors, tests/house, clang-tidy, cppcheck
	@$(MAKE) --no-print-directory FLAVOUR=lint-gcc CC=gcc CFLAGS='-O1 -Werror' programs \
		$(patsubst build/$(FLAVOUR)/%,build/lint-gcc/%,$(TEST_PROGRAMS))
	@BUILD=build/lint-gcc tests/house
	@$(MAKE) --no-print-directory FLAVOUR=lint-clang CC=clang CFLAGS='-O1 -Werror' programs \
		$(patsubst build/$(FLAVOUR)/%,build/lint-clang/%,$(TEST_PROGRAMS))
	clang-tidy --quiet $(filter %.c,$(filter-out tests/% $(if $(MPICC),,lib/ranks/mpi/%), \
		$(SOURCES_C))) -- -std=gnu11 $(CPPFLAGS) -DKERNELS_CPU=kernels_cpu_baseline \
		$(if $(MPICC),$$($(MPICC) --showme:compile))
	cppcheck --quiet --error-exitcode=1 --inline-suppr --enable=warning,portability \
		--suppress=missingInclude --suppress=ctuuninitvar:lib/common/fail.c -D__x86_64__ \
		-DKERNELS_CPU=kernels_cpu_baseline -I . lib kernels model tools

man: all ## put the programs' own options into the manual pages
	@for t in $(TOOLS); do tests/man-options $$t; done

.PHONY: gpu-check-programs bench-programs fuzz fuzz-programs test test-programs test-long coverage \
	reach bench gpu-check golden format check-format lint man
