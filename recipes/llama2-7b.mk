# The scale of the LongQLoRA report's pretraining: LLaMA-2-7B is extended from 4096 to 8192 tokens
# on 54,212 documents of RedPajama, which have 4096 to 32768 tokens. Usage:
#
#     make reproduce SCALE=llama2-7b MODEL=Llama-2-7b-hf \
#         TEXT="redpajama/*.jsonl.zst" HELDOUT=pg19.jsonl

MODEL ?= Llama-2-7b-hf
TEXT ?= $(sort $(wildcard redpajama/*.jsonl redpajama/*.jsonl.zst))
TEXT_OPTIONS := --source-key meta.redpajama_set_name
HELDOUT ?= pg19.jsonl

HEADLINE := extension by two
FACTORS := 2
SOURCES := pg19
BASE_CONTEXT := 4096
CONTEXTS := 1024,2048,4096,8192
EVAL_TOKENS := 0
SINGLE_ROWS := base base-nf4
FACTOR_ROWS := lora longqlora merged interpolated
PACK_OPTIONS := --strategy truncate --min-tokens 4096 --max-tokens 32768 --samples 54212

# 1000 steps of 16 samples; a batch holds one sample.
LORA_RECIPE := llama2-7b-longqlora
STEP_SAMPLES := per_device_train_batch_size=1 gradient_accumulation_steps
EXTEND_STEPS := 1000
EXTEND_TOKENS := 131072
SAVE_STEPS := 100
