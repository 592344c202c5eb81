#include "lib/llama/stored_names.h"

#include <fnmatch.h>

#define MERGE "; it holds an adapter: save the model after merge_and_unload"

static const struct {
    const char *pattern, *hint;
} hints[] = {
    { "*.lora_[AB].*", MERGE },
    { "*.base_layer.*", MERGE },
    { "base_model.model.*", MERGE },
    { "_orig_mod.*", "; saved from a compiled model: take '_orig_mod.' out of its names" },
    { "module.*", "; saved from a parallel model: take 'module.' out of its names" },
    { "model.model.*", "; take the first 'model.' out of its names" },
    { "*q_norm.weight", "; this type of model has no QK norm" },
    { "*k_norm.weight", "; this type of model has no QK norm" },
    { "*.experts.*", "; mixtures of experts are not supported" },
    { "*.block_sparse_moe.*", "; mixtures of experts are not supported" },
    { "*.bias", "; its config.json mentions no bias there" },
    { "score.weight", "; it has a classifier's head, so it is not a language model" },
    { "*language_model.*",
      "; its language model is a part of a larger model: save that part alone, "
      "with names that begin with 'model.'" },
    { "*vision*", "; models of several parts, such as text and images, are not supported" },
    { "*multi_modal*", "; models of several parts, such as text and images, are not supported" },
    { "tok_embeddings.weight", "; Meta's own names: transformers' convert_llama_weights_to_hf.py "
                               "makes a model of it" },
    { "*.weight_scale*", "; compressed weights: fetch or make the model without quantization" },
    { "*.qweight", "; GPTQ's or AWQ's weights: fetch or make the model without quantization" },
    { "*.weight_packed", "; compressed weights: fetch or make the model without quantization" },
    { "*.SCB", "; bitsandbytes' 8 bits: fetch or make the model without quantization" },
};

const char *stored_name_hint(const char *name)
{
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (!fnmatch(hints[i].pattern, name, 0)) return hints[i].hint;
    return "";
}

const char *stored_names_hint(const struct model_files *files)
{
    for (size_t f = 0; f < files->count; f++)
        for (size_t i = 0; i < files->at[f].count; i++) {
            const char *hint = stored_name_hint(files->at[f].at[i].name);
            if (*hint) return hint;
        }
    return "";
}
