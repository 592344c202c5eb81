# Settings of `make reproduce` for the LongQLoRA report's chat training: Vicuna-13B is extended from
# 4096 to 8192 tokens on conversations. Usage:
#
#     make reproduce SCALE=vicuna-13b MODEL=vicuna-13b-v1.5 TEXT=chat.jsonl HELDOUT=pg19.jsonl

MODEL ?= vicuna-13b-v1.5
TEXT ?= chat.jsonl
TEXT_OPTIONS := --format chat --template longqlora
HELDOUT ?= pg19.jsonl

HEADLINE := extension by two
FACTORS := 2
SOURCES := pg19
BASE_CONTEXT := 4096
CONTEXTS := 1024,2048,4096,8192
EVAL_TOKENS := 0
SINGLE_ROWS := base base-nf4
FACTOR_ROWS := longqlora merged interpolated
PACK_OPTIONS := --strategy truncate

# 1700 steps of 16 conversations; a batch holds one conversation.
LORA_RECIPE := vicuna-13b-longqlora
STEP_SAMPLES := per_device_train_batch_size=1 gradient_accumulation_steps
EXTEND_STEPS := 1700
EXTEND_TOKENS := 131072
SAVE_STEPS := 100
