#include "lib/tokenizer/chat_known.h"

#include "lib/common/digest.h"
#include "lib/tokenizer/chat_template_internal.h"
#include "lib/tokenizer/jinja_form.h"

#define GRANITE_DATE                                                                               \
    "writes the current date if a conversation has no system prompt, so its tokens change every "  \
    "day; if each conversation has one, granite gives the same text"

#define GRANITE_4 "{\"empty_system\": false, \"parts\": \"filled_lines\"}"

/* Each digest is that of a published chat_template. tests/golden/templates.py computes the digests
 * and says where each chat_template is from. The folder tests/golden/templates has the token ids
 * that each chat_template gives for some test conversations. */
const struct chat_known chat_known_table[] = {
    { "3018a1f20386e6814d03ea225d908264", "llama-2", .of = "meta-llama/Llama-2-7b-chat-hf" },
    { "eb909eafebb934890d7925ead89dc7a1", "llama-2", .of = "codellama/CodeLlama-34b-Instruct-hf" },
    { "ddd43c0e9c807421d3fff2402b82729b", "llama-3", .of = "meta-llama/Meta-Llama-3-8B-Instruct" },
    { "bc1059074290ee658bddf97a7e4f36ea", "llama-3",
      .finish = "<|start_header_id|>assistant<|end_header_id|>\n\n",
      .of = "meta-llama/Meta-Llama-3-8B-Instruct of April 2024" },
    { "7a067e25c44496d08e0c8d24dbc8d587", "llama-3", .of = "MLP-KTLim/llama-3-Korean-Bllossom-8B" },
    { "babe9d6f47758285e18f2db92035f5cb", "llama-3.1", .of = "meta-llama/Llama-3.1-8B-Instruct" },
    { "b0549c8ea806ea2ca45603473db66cc0", "zephyr", .of = "TinyLlama/TinyLlama-1.1B-Chat-v1.0" },
    { "e294d77f24e09bd70ca676fb36d6a83a", "zephyr", .of = "ghost-x/ghost-7b-alpha" },
    { "4b5c5049df1104746599eebf3e260e97", "chatml", .of = "01-ai/Yi-Coder-1.5B-Chat" },
    { "e0900c5a088e31c97a8114e54afc54ec", "chatml",
      .of = "cognitivecomputations/dolphin-2.6-mistral-7b-dpo-laser" },
    { "ac08baf258a8df37bdc9affea1fafcf8", "chatml", .of = "abhishek/autotrain-llama3-70b-orpo-v1" },
    { "490a5e0c3d83e678e6178e90b63d34f3", "chatml", .of = "teknium/OpenHermes-2.5-Mistral-7B" },
    { "246483439bfb76673dc2e3b0a15a49b8", "chatml", .of = "Open-Orca/Mistral-7B-OpenOrca" },
    { "39458eacd71a6be2d408a45fec874abe", "chatml", .begin = "{bos}",
      .of = "NousResearch/Nous-Hermes-2-Mixtral-8x7B-DPO" },
    { "58f63390c1618b39132bb8616467c6fd", "chatml", .begin = "{bos}",
      .of = "cognitivecomputations/dolphin-2.8-mistral-7b-v02" },
    { "5c12b2df350e51cfc0ce5f945d5441dc", "chatml", .begin = "{bos}",
      .system = "You are a helpful assistant.", .of = "NousResearch/Hermes-3-Llama-3.1-70B" },
    { "c3d91a88296b03aba9727b78769cc59e", "chatml", .system = "You are a helpful assistant",
      .of = "Qwen/Qwen1.5-0.5B" },
    { "2243863c5fee38aa9acc7d8ec0684e6b", "chatml", .system = "You are a helpful assistant.",
      .of = "Qwen/Qwen2-7B-Instruct" },
    { "6ebdc627065523ec4213ad1b69aa75a8", "chatml",
      .system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
      .of = "Qwen/Qwen2.5-3B-Instruct" },
    { "85dc9690b151b97483dba7e9e2daca3e", "chatml",
      .system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
      .of = "Qwen/Qwen2.5-0.5B-Instruct" },
    { "f47671175c2201d9551eebf7ce9c5d0d", "chatml",
      .system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
      .of = "HuggingFaceTB/SmolLM2-135M-Instruct" },
    { "9fe920697f504c0cf7fce6b8154d1fcc", "chatml",
      .system = "You are OpenCoder, created by OpenCoder Team.",
      .of = "infly/OpenCoder-8B-Instruct" },
    { "b990918a1c26e2d7e2e66af0159dabfb", "chatml", .system = "You are a helpful assistant.",
      .of = "stabilityai/stable-code-instruct-3b" },
    { "82e54100db0465c61046da9c44194c68", "chatml", .of = "docs/formats/chat_template.md" },
    { "35cf2a4da4e5cafe61bdf5421844510f", "chatml", .of = "Qwen/Qwen3-4B-Instruct-2507" },
    { "b78a4eedb0630fe0ab66b9671740a246", "qwen3", .of = "Qwen/Qwen3-0.6B" },
    { "9edeed4df33ee5200ba313b9380640ab", "qwen3", .of = "Qwen/Qwen3-1.7B" },
    { "9157ed533a1b379b577567fd5ebf4e3f", "qwen3", .others = "{\"waiting\": \"<think>\\n\"}",
      .of = "Qwen/Qwen3-Next-80B-A3B-Thinking" },
    { "12d7195145311b2f0819b81b7119839e", "deepseek", .of = "deepseek-ai/DeepSeek-V3" },
    { "6b7d2cf641b1aff4efb11382a84c796b", "deepseek-r1", .of = "deepseek-ai/DeepSeek-R1" },
    { "094219ebe5ddb0322111a8b4cfce73ad", "deepseek-r1",
      .of = "deepseek-ai/DeepSeek-R1-Distill-Llama-8B" },
    { "8dc9091155d91cb7eec540069637daef", "deepseek-r1", .others = "{\"waiting\": \"\"}",
      .of = "deepseek-ai/DeepSeek-R1-Distill-Llama-8B of January 2025" },
    { "0f0ffc44f379f27660d0cc12d6adec5d", "phi-3", .of = "microsoft/Phi-3-mini-4k-instruct" },
    { "132ca41264bbb0571e29829a790b6b56", "phi-3", .others = "{\"empty_system\": false}",
      .of = "microsoft/Phi-3.5-mini-instruct" },
    { "d6e3725a3e4f6a7100a9e7684f36a29c", "phi-3", .begin = "{bos}",
      .of = "microsoft/Phi-3-small-8k-instruct" },
    { "d358f07b517c022ae713f562506cdb88", "phi-3-medium",
      .of = "microsoft/Phi-3-medium-128k-instruct" },
    { "6e88f5d209fe43b3d5e1ab2598b25d35", "phi-4", .of = "microsoft/phi-4" },
    { "aa354281b369a6be78de738d0e10c0a7", "phi-4", .of = "microsoft/phi-4 of December 2024" },
    { "7e1a60d0eae8ac41dc12ca0e239e5f80", "phi-4-mini", .of = "microsoft/Phi-4-mini-instruct" },
    { "78039b9581d6da951b7341b7bb17b42d", "gemma", .of = "google/gemma-2-2b-it" },
    { "550a1905fa69c002e6225ae0f71daf19", "gemma-3", .of = "google/gemma-3-1b-it" },
    { "f332137793f7f120b6c49fe361a843f2", "gemma-3", .of = "google/gemma-3-1b-it of March 2025" },
    { "e89d23ce77b706869cc14fbfbe9bee21", "granite",
      .of = "ibm-granite/granite-3.0-1b-a400m-instruct" },
    { "d4f8bd757b1119f6927c8433c92e274d", "granite",
      .system = "You are a helpful assistant. Please ensure responses are professional, accurate, "
                "and safe.",
      .others = GRANITE_4, .of = "ibm-granite/granite-4.0-350m" },
    { "28e717c01c9eb049731514eefe3d8b30", "granite", .others = GRANITE_4,
      .of = "ibm-granite/granite-4.0-micro" },
    { "a39fd25de35e66de950e92ad4bdd0e4e", "olmo-2", .of = "allenai/OLMo-2-1124-7B-Instruct" },
    { "eb5120648fb3a37180d7a9debbd0e2d1", "olmo-2", .begin = "",
      .of = "allenai/Llama-3.1-Tulu-3-70B" },
    { "683b77f63f54c29b515cf47fba205324", "mistral", .of = "mistralai/Mistral-7B-Instruct-v0.1" },
    { "dd3800906dc15029971a7329ec23924d", "mistral-v3",
      .of = "mistralai/Mistral-7B-Instruct-v0.3" },
    { "7002faa8a28b8c400cecb212e8be0b6b", "mistral-nemo",
      .of = "mistralai/Mistral-Nemo-Instruct-2407" },
    { "e639e2b33cb6851de3e774fdbaf5a362", "mistral-small",
      .of = "mistralai/Mistral-Small-24B-Instruct-2501" },
    { "2418fa482991c87d0135b2d5fcd20ece", "mistral-small",
      .others = "{\"system_turn\": \"[SYSTEM_PROMPT] {}[/SYSTEM_PROMPT]\","
                " \"turn\": \"{system}[INST] {}[/INST]\", \"answer\": \" {}\"}",
      .of = "mistralai/Mistral-Large-Instruct-2411" },
    { "9e6f935cbbcf92f2e604c388328d1f72", "mistral-2023",
      .of = "mistralai/Mixtral-8x7B-Instruct-v0.1 of 2023" },
    { "0b009b9c7531be3855012385752694d1", "mistral-2023", .of = "abacusai/Smaug-Mixtral-v0.1" },
    { "b3f5f04e473f049fb4e759b44076eb62", "mistral-2023-space",
      .of = "mistralai/Mistral-7B-Instruct-v0.1 of 2023" },
    { "5ae77c092ba9bb1e5ff50d3c6b74c074", NULL,
      .reason = "writes the current date, so the tokens change every day; llama-3.1 gives the same "
                "text with the date 26 Jul 2024",
      .of = "meta-llama/Llama-3.2-3B-Instruct" },
    { "60b68ca2eb13cb29e12533036fc62158", NULL, .reason = GRANITE_DATE,
      .of = "ibm-granite/granite-3.1-3b-a800m-instruct" },
    { "7df1056b7890ba912d84098ffa014f7c", NULL, .reason = GRANITE_DATE,
      .of = "ibm-granite/granite-3.2-2b-instruct" },
    { "be89187f641d6c44e0fb901ceee85f9f", NULL, .reason = GRANITE_DATE,
      .of = "ibm-granite/granite-3.3-2b-instruct" },
    { "8360e73306192828784baa548b24ecc1", NULL, .reason = GRANITE_DATE,
      .of = "ibm-granite/granite-3.3-2b-instruct" },
    { "94161755067f05dec352a793a70aa6cf", NULL,
      .reason = "writes the current date, so the tokens change every day; if each conversation has "
                "a system prompt of its own, mistral-small gives the same text",
      .of = "mistralai/Mistral-Small-3.2-24B-Instruct-2506" },
    { "1f04d5cde4ddc73da12742cf699dce22", NULL,
      .reason =
          "formats answers differently if the system prompt has /think or /no_think; a template "
          "file with 'system_turn' and 'waiting' can format answers in one of the two ways",
      .of = "HuggingFaceTB/SmolLM3-3B (Unsloth)" },
    { 0 },
};

/* Returns the name of the template whose special texts occur in this chat_template, or NULL if
 * there is none. More specific texts are tried first. */
static const char *nearest(const char *form)
{
    static const struct {
        const char *mark, *other, *template_name;
    } marks[] = {
        { "<|im_start|>", "<|im_sep|>", "phi-4" },
        { "<|im_start|>", "</think>", "qwen3" },
        { "<|im_start|>", "<|im_end|>", "chatml" },
        { "<|start_header_id|>", "Cutting Knowledge Date", "llama-3.1" },
        { "<|start_header_id|>", "<|eot_id|>", "llama-3" },
        { "<<SYS>>", "[INST]", "llama-2" },
        { "[SYSTEM_PROMPT]", "[INST]", "mistral-small" },
        { "[INST]", " [/INST]", "mistral" },
        { "[INST] ", "[/INST]", "mistral-v3" },
        { "[INST]", "[/INST]", "mistral-nemo" },
        { "<\uff5cUser\uff5c>", "</think>", "deepseek-r1" },
        { "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "deepseek" },
        { "<start_of_turn>", "first_user_prefix", "gemma-3" },
        { "<start_of_turn>", "<end_of_turn>", "gemma" },
        { "<|start_of_role|>", "<|end_of_role|>", "granite" },
        { "<|assistant|>", "<|end|>", "phi-3" },
        { "<|user|>", "<|assistant|>", "zephyr" },
        { "USER:", "ASSISTANT:", "vicuna" },
        { "### Instruction:", "### Response:", "alpaca" },
    };
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (strstr(form, marks[i].mark) && strstr(form, marks[i].other))
            return marks[i].template_name;
    return NULL;
}

static void refuse(const char *form, const char *option, struct fail *why)
{
    const char *template_name = nearest(form);
    if (strstr(form, "strftime_now"))
        fail_input(why,
                   "the chat_template writes the current date (strftime_now), so the tokens of a "
                   "conversation change every day: %s %s formats conversations without the current "
                   "date%s",
                   option, template_name ? template_name : "FILE",
                   template_name ? "" : " (docs/formats/chat_template.md)");
    else if (template_name)
        fail_input(why,
                   "the chat_template is not one of the known published ones; it has special texts "
                   "of %s: if you know that this is the model's template, choose it with %s %s",
                   template_name, option, template_name);
    else
        fail_input(
            why,
            "the chat_template is not one of the known published ones, and has none of their "
            "special texts: %s FILE reads a template from a file (docs/formats/chat_template.md)",
            option);
}

const struct chat_known *chat_known_find(const char *text, size_t bytes, const char *option,
                                         struct fail *why)
{
    char digest[DIGEST_TEXT];
    char *form = jinja_form(text, bytes, why);
    const struct chat_known *found = NULL;
    if (!form) return NULL;
    digest_of_bytes(form, strlen(form), digest);
    for (const struct chat_known *k = chat_known_table; !found && k->digest; k++)
        if (!strcmp(k->digest, digest)) found = k;
    if (!found) refuse(form, option, why);
    if (found && !found->template_name) {
        fail_input(why, "the chat_template of %s %s: choose a template with %s NAME", found->of,
                   found->reason, option);
        found = NULL;
    }
    free(form);
    return found;
}

int chat_known_open(struct chat_template *t, const struct chat_known *known,
                    const struct tokenizer *tokenizer, struct fail *why)
{
    struct chat_changes changes = { known->begin, known->system, known->finish, known->others };
    return chat_template_open_changed(t, known->template_name, &changes, tokenizer, why);
}

static bool is_jinja(const char *name)
{
    size_t length = strlen(name);
    return length > 6 && !strcmp(name + length - 6, ".jinja");
}

static int find_source(struct chat_source *s, const char *const *places, size_t count,
                       struct fail *why)
{
    *s = (struct chat_source){ 0 };
    for (size_t i = 0; i < count && !s->text; i++)
        if (places[i] && chat_source_find(s, places[i], why)) return -1;
    return 0;
}

int chat_known_choose(struct chat_template *t, const char *name, const char *const *places,
                      size_t count, const char *option, const struct tokenizer *tokenizer,
                      const struct chat_known **known, struct fail *why)
{
    struct chat_source source;
    *known = NULL;
    *t = (struct chat_template){ 0 };
    if (strcmp(name, "auto") != 0 && !is_jinja(name))
        return chat_template_open(t, name, tokenizer, why);
    if (is_jinja(name) ? chat_source_find(&source, name, why)
                       : find_source(&source, places, count, why))
        return -1;
    int status = -1;
    if (!source.text)
        fail_input(why,
                   "%s auto: the model has no chat_template (chat_template.jinja, or one in "
                   "tokenizer_config.json): choose a template with %s NAME",
                   option, option);
    else if (!(*known = chat_known_find(source.text, source.bytes, option, why)))
        (void)fail_in(why, source.place);
    else
        status = chat_known_open(t, *known, tokenizer, why);
    chat_source_release(&source);
    return status;
}

void chat_known_describe(const struct chat_template *t, const struct chat_known *known,
                         const char *option, char *text, size_t size)
{
    *text = 0;
    if (known)
        snprintf(text, size, "the chat_template is that of %s: it is %s%s%.160s%s", known->of,
                 known->template_name, *t->system ? ", by default with the system prompt '" : "",
                 t->system, *t->system ? "'" : "");
    else if (!strcmp(t->name, "vicuna"))
        snprintf(text, size,
                 "vicuna is the template of FastChat's v1.1; the vicuna of earlier versions (no "
                 "BOS, prompt and answer encoded separately) is %s vicuna-apart",
                 option);
}
