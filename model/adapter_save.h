/* adapter_save.h - a model's trained matrices as a PEFT adapter.
 *
 * Where a tied embedding was trained, the head is stored too and both are named, since PEFT takes
 * an embedding that is saved alone for one that has parted from the head.
 */
#ifndef LONGQLORA_MODEL_ADAPTER_SAVE_H
#define LONGQLORA_MODEL_ADAPTER_SAVE_H

#include "lib/llama/adapter.h"
#include "model/model.h"

/* What adapter_save writes beside the parameters. */
struct adapter_origin {
    const char *base_name;                /* as the user calls it */
    const char *base, *tokenizer;         /* digests */
    const char *quantization;             /* of the base in training */
    const json_t *attention, *recipe;     /* borrowed */
    const struct stream_wording *wording; /* NULL: none */
    const struct adapter *from;           /* that was trained further; NULL: none */
};

int adapter_save(const struct model *m, const struct adapter_origin *origin, const char *directory,
                 struct fail *why) MUST_USE;

#endif
