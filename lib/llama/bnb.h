/* bnb.h - NF4 weights in safetensors files as bitsandbytes stores them.
 *
 * Source: bitsandbytes' QuantState.as_dict(packed=True). A linear layer NAME.weight with n elements
 * is stored as
 *
 *   NAME.weight                               U8 [⌈n/2⌉, 1]     4-bit codes
 *   NAME.weight.absmax                        U8 [⌈n/64⌉]       8-bit codes of absmax
 *   NAME.weight.nested_absmax                 F32 [⌈n/16384⌉]   their scales
 *   NAME.weight.nested_quant_map              F32 [256]         the values of the 8-bit codes
 *   NAME.weight.quant_map                     F32 [16]          the values of NF4
 *   NAME.weight.quant_state.bitsandbytes__nf4 U8                JSON: shape, offset, dtype …
 *
 * Without double quantization absmax is F32 [⌈n/64⌉] and the nested tensors are missing. Reading
 * requires blocks of 64. Writing uses double quantization with blocks of 256.
 */
#ifndef LONGQLORA_BNB_H
#define LONGQLORA_BNB_H

#include "lib/common/dtype.h"
#include "lib/llama/model_files.h"
#include "lib/llama/tensors.h"
#include "lib/tensorfile/ggml_types.h"
#include "lib/tensorfile/safetensors.h"

/* Rows of a tensor as a GGUF file has them; see weights_rows. */
struct packed_rows {
    enum ggml_type type;
    const void *data;
    int64_t interleaved; /* head_dim if the rows of q or k are interleaved; otherwise 0 */
    bool has_one;        /* the tensor is a norm, of which the file stores 1 + weight */
};

struct weight {
    enum dtype type;
    const void *data;                 /* NULL if there are only packed rows */
    const struct packed_rows *packed; /* only for rows of a GGUF that must be converted, or NULL */
    const uint8_t *absmax; /* for NF4: 8-bit codes of absmax; NULL without double quantization */
    const float *absmax_scale;
    float offset;
};

/* Reads quantization_config of a config.json. Returns 0 if there is none, 1 for bitsandbytes' NF4.
 * Refuses anything else; the message names it. */
int bnb_check_config(const json_t *config, struct fail *why) MUST_USE;
/* Like bnb_check_config, for a plan: sets *is_nf4 if the config asks for NF4. path: the path of the
 * config, for messages. */
int bnb_outline(const json_t *config, const char *path, bool *is_nf4, struct fail *why) MUST_USE;

/* Does this tensor have the packed codes of a linear layer? */
bool bnb_is_quantized(const struct model_files *files, const char *name);
/* Reads the tensors of a linear layer into *w. Its pointers point into the mapped files. */
int bnb_read(const struct model_files *files, const struct tensor *t, struct weight *w,
             struct fail *why) MUST_USE;
/* Is this the name of a further tensor of a packed linear layer, such as NAME.weight.absmax? */
bool bnb_is_part(const char *name);

/* The key of quantization_config under which the tool quantize stores the digest of the source
 * tensors. */
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

/* The length to which the JSON text is padded with spaces. The length is fixed because the header,
 * which contains it, is written first. */
enum { BNB_STATE_BYTES = 256 };

/* Returns the name, dtype and shape of a part of t. The text of the name is written into
 * name[name_size]. */
struct tensor_header bnb_header(const struct tensor *t, enum bnb_tensor part, char *name,
                                size_t name_size);
/* Writes the JSON text. dtype: PyTorch's name for the type before quantization. */
void bnb_state(const struct tensor *t, const char *dtype, float offset,
               char text[BNB_STATE_BYTES + 1]);
/* Returns quantization_config for a config.json. The caller decrefs it. */
json_t *bnb_config(const char *compute_dtype);

/* bitsandbytes' tables of values, static: [16] for NF4, [256] for the codes of absmax. */
const float *bnb_map(void);
const float *bnb_nested_map(void);

#endif
