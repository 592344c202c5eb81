/* adapter_save.h - writes a model's trained matrices as a PEFT adapter.
 *
 * If a tied embedding was trained, the file stores a copy as the head, and modules_to_save names
 * both modules. This is needed because PEFT unties an embedding that is saved alone.
 */
#ifndef LONGQLORA_MODEL_ADAPTER_SAVE_H
#define LONGQLORA_MODEL_ADAPTER_SAVE_H

#include "lib/llama/adapter.h"
#include "model/model.h"

/* What adapter_save writes in addition to the parameters. Everything is borrowed. */
struct adapter_origin {
    const char *base_name;                  /* the base as the user named it */
    const json_t *peft_name;                /* NULL: adapter_name_for_peft(base_name, …) */
    const char *base, *tokenizer;           /* digests of the base and of its tokenizer */
    const char *quantization;               /* what the base was quantized to during training */
    const json_t *attention, *recipe;       /* become fields of longqlora.json; NULL: no field */
    const struct template_record *template; /* the chat template of the training data; NULL: none */
    const struct adapter *from;             /* the adapter that was trained further; NULL: none */
};

/* Returns a name of the base that PEFT can open: the model directory, or the `_name_or_path` of the
 * config if the base is a weights stream, which PEFT cannot open. JSON's null if there is none;
 * NULL if memory runs out. The caller calls json_decref. */
json_t *adapter_name_for_peft(const char *base_name, const struct config *c);
/* Writes adapter_model.safetensors, adapter_config.json and, last, longqlora.json into an existing
 * directory. So an adapter with a longqlora.json is complete. */
int adapter_save(const struct model *m, const struct adapter_origin *origin, const char *directory,
                 struct fail *why) MUST_USE;

#endif
