/* bnb.h - NF4 weights as bitsandbytes serializes them in safetensors (its QuantState.as_dict,
 * packed): a linear NAME.weight is
 *
 *   NAME.weight                               U8 [⌈n/2⌉, 1]       codes
 *   NAME.weight.absmax                        U8 [⌈n/64⌉]         8-bit absmax
 *   NAME.weight.nested_absmax                 F32 [⌈n/16384⌉]     their scales
 *   NAME.weight.nested_quant_map              F32 [256]           their map
 *   NAME.weight.quant_map                     F32 [16]            NF4's values
 *   NAME.weight.quant_state.bitsandbytes__nf4 U8                  JSON: shape, offset, dtype …
 *
 * Without double quantization absmax is F32 [⌈n/64⌉] and nothing is nested. Read in blocks of 64,
 * written with double quantization in blocks of 256.
 */
#ifndef LONGQLORA_BNB_H
#define LONGQLORA_BNB_H

#include "lib/common/dtype.h"
#include "lib/llama/model_files.h"
#include "lib/llama/tensors.h"
#include "lib/tensorfile/safetensors.h"

struct weight {
    enum dtype type;
    const void *data;
    const uint8_t *absmax; /* NF4, as in struct linear: codes of absmax, or NULL */
    const float *absmax_scale;
    float offset;
};

/* What a config.json says of quantization: 0 nothing, 1 bitsandbytes' NF4; anything else
 * is refused by name. */
int bnb_check_config(const json_t *config, struct fail *why) MUST_USE;

/* Is it a linear's packed codes? */
bool bnb_is_quantized(const struct model_files *files, const char *name);
/* The tensors of a linear into *w, which points into the files. */
int bnb_read(const struct model_files *files, const struct tensor *t, struct weight *w,
             struct fail *why) MUST_USE;
/* Does the name belong to a packed linear: NAME.weight.absmax and so on? */
bool bnb_is_part(const char *name);

/* Key of quantization_config where quantize says whose tensors it made these of. */
#define BNB_BASE_KEY "longqlora_base"

enum bnb_tensor {
    BNB_CODES,
    BNB_ABSMAX,
    BNB_NESTED_ABSMAX,
    BNB_NESTED_MAP,
    BNB_MAP,
    BNB_STATE,
    BNB_TENSORS
};

/* The JSON is padded with spaces to one length, which headers have to know beforehand. */
enum { BNB_STATE_BYTES = 256 };

/* The name of a part, its dtype and shape. */
struct tensor_header bnb_header(const struct tensor *t, enum bnb_tensor part, char *name,
                                size_t name_size);
/* dtype: of the unquantized tensor, as PyTorch calls it. */
void bnb_state(const struct tensor *t, const char *dtype, float offset,
               char text[BNB_STATE_BYTES + 1]);
/* quantization_config for config.json; the caller decrefs. */
json_t *bnb_config(const char *compute_dtype);

/* bitsandbytes' tables, once: [16] and [256]. */
const float *bnb_map(void);
const float *bnb_nested_map(void);

#endif
