# The method in miniature: a tiny LLaMA is trained from scratch on real text and extended by a
# factor of two (as in the report) and of four. It takes minutes on two CPU cores.

HEADLINE := extension by two
FACTORS := 2 4
SOURCES := bible perl
BASE_CONTEXT := 128
CONTEXTS := 32,64,128,256,512
EVAL_TOKENS := 10240

VOCABULARY := 2048
# recipes/reproduce.mk replaces CONTEXT by the context that a model is trained for.
CONFIG := {"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":2048,"hidden_size":128,"intermediate_size":352,"num_hidden_layers":4,"num_attention_heads":4,"num_key_value_heads":4,"rms_norm_eps":1e-5,"rope_theta":10000,"hidden_act":"silu","tie_word_embeddings":false,"initializer_range":0.06,"bos_token_id":1,"eos_token_id":2,"max_position_embeddings":CONTEXT}

# A step of the training from scratch has 512 tokens, and a step of the extension 4096.
SCRATCH_STEPS := 2000
SCRATCH_TOKENS := 512
EXTEND_STEPS := 32
EXTEND_TOKENS := 4096
SAVE_STEPS := 500
EXAMPLE_PROMPTS := "And the LORD spake unto Moses, saying," "The following example shows how"
