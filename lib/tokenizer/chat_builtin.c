/* chat_builtin.c - the built-in templates, in the format of docs/formats/chat_template.md, which
 * lists them too.
 *
 * Sources: LongQLoRA's component/dataset.py and script/inference/chat.py; FastChat 0.2.36's
 * conversation.py and train/train.py; Stanford Alpaca's train.py; and the chat_template of the
 * models that chat_known.c names. tests/golden/templates has the ids that each template gives.
 */
#include "lib/tokenizer/chat_template_internal.h"

#include "lib/common/nearest.h"

#define VICUNA                                                                                     \
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives " \
    "helpful, detailed, and polite answers to the user's questions."
#define ALPACA "\\n\\n### Instruction:\\n{}\\n\\n"
#define LLAMA_3(sentence)                                                                          \
    "{\"begin\": \"{bos}\", \"system_turn\": "                                                     \
    "\"<|start_header_id|>system<|end_header_id|>\\n\\n" sentence "{}<|eot_id|>\","                \
    " \"turn\": \"{system}<|start_header_id|>user<|end_header_id|>\\n\\n{}<|eot_id|>"              \
    "<|start_header_id|>assistant<|end_header_id|>\\n\\n\", \"end\": \"<|eot_id|>\","              \
    " \"special\": [\"<|start_header_id|>\", \"<|end_header_id|>\", \"<|eot_id|>\"],"              \
    " \"whole\": true"
#define CHATML                                                                                     \
    "\"system_turn\": \"<|im_start|>system\\n{}<|im_end|>\\n\","                                   \
    " \"turn\": \"{system}<|im_start|>user\\n{}<|im_end|>\\n<|im_start|>assistant\\n\","           \
    " \"following\": \"\\n\", \"end\": \"<|im_end|>\","                                            \
    " \"special\": [\"<|im_start|>\", \"<|im_end|>\"], \"whole\": true, \"strip\": []"
/* <think> and </think> are single tokens if the tokenizer has such tokens; otherwise they are
 * text. */
#define THINK ", \"optional\": [\"<think>\", \"</think>\"]"
#define QWEN_3                                                                                     \
    "{" CHATML THINK                                                                               \
    ", \"thinking\": \"drop_newlines\", \"thought\": \"<think>\\n{}\\n</think>\\n\\n\""
#define DEEPSEEK_END "<\uff5cend\u2581of\u2581sentence\uff5c>"
#define DEEPSEEK                                                                                   \
    "{\"begin\": \"{bos}\", \"system_turn\": \"{}\","                                              \
    " \"turn\": \"{system}<\uff5cUser\uff5c>{}<\uff5cAssistant\uff5c>\","                          \
    " \"end\": \"" DEEPSEEK_END "\","                                                              \
    " \"special\": [\"<\uff5cUser\uff5c>\", \"<\uff5cAssistant\uff5c>\","                          \
    " \"" DEEPSEEK_END "\"]" THINK ", \"whole\": true, \"strip\": []"
#define PHI_3(n)                                                                                   \
    "{\"system_turn\": \"<|system|>" n "{}<|end|>" n "\","                                         \
    " \"turn\": \"{system}<|user|>" n "{}<|end|>" n "<|assistant|>" n "\","                        \
    " \"following\": \"" n "\", \"finish\": \"{eos}\", \"end\": \"<|end|>\","                      \
    " \"special\": [\"<|user|>\", \"<|assistant|>\", \"<|end|>\"],"                                \
    " \"optional\": [\"<|system|>\"], \"whole\": true, \"strip\": []"
#define GEMMA(system)                                                                              \
    "{\"begin\": \"{bos}\", \"turn\": \"<start_of_turn>user\\n" system                             \
    "{}<end_of_turn>\\n<start_of_turn>model\\n\", \"following\": \"\\n\","                         \
    " \"end\": \"<end_of_turn>\", \"special\": [\"<start_of_turn>\", \"<end_of_turn>\"],"          \
    " \"whole\": true, \"strip\": [\"prompt\", \"answer\"]"
#define MISTRAL "\"begin\": \"{bos}\", \"optional\": [\"[INST]\", \"[/INST]\"], \"whole\": true"

static const struct {
    const char *name, *json;
} built_in[] = {
    { "longqlora", "{\"system\": \"" VICUNA "\", \"system_turn\": \"{}\\n\","
                   " \"turn\": \"{system}USER: {}\\nASSISTANT: \"}" },
    { "vicuna", "{\"system\": \"" VICUNA "\", \"system_turn\": \"{} \","
                " \"turn\": \"{system}USER: {} ASSISTANT:\", \"answer\": \" {}\","
                " \"bos\": true, \"whole\": true, \"counted\": true, \"strip\": [],"
                " \"once\": \" ASSISTANT: \", \"never\": \"</s>\", \"empty\": false}" },
    /* Earlier versions called this template "vicuna". */
    { "vicuna-apart", "{\"system\": \"" VICUNA " \", \"turn\": \"USER: {} ASSISTANT: \"}" },
    { "alpaca", "{\"turn\": \"Below is an instruction that describes a task. Write a response that "
                "appropriately completes the request." ALPACA "### Response:\","
                " \"input_turn\": \"Below is an instruction that describes a task, paired with an "
                "input that provides further context. Write a response that appropriately "
                "completes the request." ALPACA "### Input:\\n{input}\\n\\n### Response:\","
                " \"bos\": true, \"whole\": true, \"counted\": true, \"strip\": [],"
                " \"turns\": 1, \"own_system\": false}" },
    { "llama-2", "{\"system_turn\": \"<<SYS>>\\n{}\\n<</SYS>>\\n\\n\","
                 " \"turn\": \"{bos}[INST] {system}{} [/INST]\", \"answer\": \" {} \","
                 " \"optional\": [\"[INST]\", \"[/INST]\", \"<<SYS>>\", \"<</SYS>>\"],"
                 " \"whole\": true, \"strip\": [\"turn\", \"answer\"]}" },
    { "llama-3", LLAMA_3("") "}" },
    { "llama-3.1", LLAMA_3("Cutting Knowledge Date: December 2023\\n"
                           "Today Date: 26 Jul 2024\\n\\n") ", \"always_system\": true}" },
    { "zephyr", "{\"system_turn\": \"<|system|>\\n{}{eos}\\n\","
                " \"turn\": \"{system}<|user|>\\n{}{eos}\\n<|assistant|>\\n\","
                " \"following\": \"\\n\", \"optional\": [\"<|system|>\", \"<|user|>\","
                " \"<|assistant|>\"], \"whole\": true, \"strip\": []}" },
    { "chatml", "{" CHATML "}" },
    { "qwen3", QWEN_3 "}" },
    { "qwen3-no-think", QWEN_3 ", \"waiting\": \"<think>\\n\\n</think>\\n\\n\"}" },
    { "deepseek", DEEPSEEK "}" },
    { "deepseek-r1", DEEPSEEK ", \"thinking\": \"drop\", \"waiting\": \"<think>\\n\"}" },
    { "phi-3", PHI_3("\\n") "}" },
    { "phi-3-medium", "{\"turn\": \"<|user|>\\n{}<|end|>\\n<|assistant|>\\n\","
                      " \"following\": \"\\n\", \"end\": \"<|end|>\", \"own_system\": false,"
                      " \"special\": [\"<|user|>\", \"<|assistant|>\", \"<|end|>\"],"
                      " \"whole\": true, \"strip\": []}" },
    { "phi-4", "{\"system_turn\": \"<|im_start|>system<|im_sep|>{}<|im_end|>\","
               " \"turn\": \"{system}<|im_start|>user<|im_sep|>{}<|im_end|>"
               "<|im_start|>assistant<|im_sep|>\", \"end\": \"<|im_end|>\","
               " \"special\": [\"<|im_start|>\", \"<|im_sep|>\", \"<|im_end|>\"],"
               " \"whole\": true, \"strip\": []}" },
    { "phi-4-mini", PHI_3("") "}" },
    { "gemma", GEMMA("") ", \"own_system\": false}" },
    { "gemma-3", GEMMA("{system}") ", \"system_turn\": \"{}\\n\\n\","
                                   " \"parts\": \"trimmed\"}" },
    { "granite", "{\"system_turn\": "
                 "\"<|start_of_role|>system<|end_of_role|>{}<|end_of_text|>\\n\","
                 " \"turn\": \"{system}<|start_of_role|>user<|end_of_role|>{}<|end_of_text|>\\n"
                 "<|start_of_role|>assistant<|end_of_role|>\", \"following\": \"\\n\","
                 " \"end\": \"<|end_of_text|>\", \"special\": [\"<|start_of_role|>\","
                 " \"<|end_of_role|>\", \"<|end_of_text|>\"], \"whole\": true, \"strip\": []}" },
    { "olmo-2", "{\"begin\": \"{bos}\", \"system_turn\": \"<|system|>\\n{}\\n\","
                " \"turn\": \"{system}<|user|>\\n{}\\n<|assistant|>\\n\", \"between\": \"\\n\","
                " \"optional\": [\"<|system|>\", \"<|user|>\", \"<|assistant|>\"],"
                " \"whole\": true, \"strip\": []}" },
    { "mistral", "{" MISTRAL ", \"system_turn\": \"{}\\n\\n\", \"turn\": \" [INST] {system}{} "
                 "[/INST]\", \"answer\": \" {}\", \"strip\": []}" },
    { "mistral-v3", "{" MISTRAL ", \"system_turn\": \"{}\\n\\n\", \"last_system\": true,"
                    " \"turn\": \"[INST] {system}{}[/INST]\", \"answer\": \" {}\","
                    " \"strip\": [\"answer\"]}" },
    { "mistral-nemo", "{" MISTRAL ", \"system_turn\": \"{}\\n\\n\", \"last_system\": true,"
                      " \"turn\": \"[INST]{system}{}[/INST]\", \"strip\": []}" },
    { "mistral-small", "{\"begin\": \"{bos}\", \"optional\": [\"[INST]\", \"[/INST]\","
                       " \"[SYSTEM_PROMPT]\", \"[/SYSTEM_PROMPT]\"], \"whole\": true,"
                       " \"system_turn\": \"[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT]\","
                       " \"turn\": \"{system}[INST]{}[/INST]\", \"strip\": []}" },
    { "mistral-2023", "{" MISTRAL ", \"turn\": \"[INST] {} [/INST]\", \"own_system\": false,"
                      " \"strip\": []}" },
    { "mistral-2023-space", "{" MISTRAL ", \"turn\": \"[INST] {} [/INST]\", \"following\": \" \","
                            " \"own_system\": false, \"strip\": []}" },
};

const char *chat_builtin(const char *name)
{
    for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++)
        if (!strcmp(name, built_in[i].name)) return built_in[i].json;
    return NULL;
}

bool chat_builtin_is_of_program(const char *name)
{
    static const char *const names[] = { "longqlora", "vicuna", "vicuna-apart", "alpaca" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

/* Names that LLaMA-Factory, Axolotl and FastChat use for templates, and our names for the same
 * templates. The table leaves out names from which nearest_word finds ours. */
static const struct {
    const char *theirs, *ours;
} elsewhere[] = {
    { "vicuna_v1.1", "vicuna" },
    { "vicuna-v1.1", "vicuna" },
    { "qwen", "chatml" },
    { "qwen2", "chatml" },
    { "qwen_25", "chatml" },
    { "mistral_v1", "mistral" },
    { "mistral_v2v3", "mistral-v3" },
    { "mistral_v3_tekken", "mistral-nemo" },
    { "mistral_small", "mistral-small" },
    { "qwen3_nothink", "qwen3-no-think" },
    { "deepseekr1", "deepseek-r1" },
    { "deepseek3", "deepseek" },
    { "deepseek_v3", "deepseek" },
    { "phi", "phi-3" },
    { "phi_3", "phi-3" },
    { "phi_35", "phi-3" },
    { "phi_4", "phi-4" },
    { "phi4_mini", "phi-4-mini" },
    { "gemma2", "gemma" },
    { "gemma3", "gemma-3" },
    { "granite3", "granite" },
    { "olmo", "olmo-2" },
    { "tulu", "olmo-2" },
    { "tokenizer_default", "auto" },
    { "default", "auto" },
    { "llama-2-chat", "llama-2" },
    { "llama-3-instruct", "llama-3" },
};

const char *chat_builtin_nearest(const char *name)
{
    enum { COUNT = sizeof built_in / sizeof *built_in };
    const char *names[COUNT + 1] = { [COUNT] = "auto" };
    for (size_t i = 0; i < COUNT; i++)
        names[i] = built_in[i].name;
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (!strcmp(name, elsewhere[i].theirs)) return elsewhere[i].ours;
    /* A word with a slash or a suffix is a missing file, not a misspelled name. */
    return strpbrk(name, "/") || strstr(name, ".j") ? NULL : nearest_word(name, names, COUNT + 1);
}
