/* adapter_load.h - opens a model with an adapter and loads the adapter's values.
 *
 *     adapter_fit(&a, &config, &fit, why)
 *     fit_set_up(&fit, &a, &setup)
 *     model_open(&model, &setup, …)
 *     adapter_load(&a, &fit, model, why)
 */
#ifndef LONGQLORA_MODEL_ADAPTER_LOAD_H
#define LONGQLORA_MODEL_ADAPTER_LOAD_H

#include "lib/llama/adapter.h"
#include "model/model.h"

/* Copies rank, alpha and the adapted tensors from the adapter to the setup. The setup borrows
 * fit->each, so the fit must live until the model is open. */
void fit_set_up(const struct fit *fit, const struct adapter *a, struct model_setup *setup);

/* Uploads the adapter's values to the parameters of a model that was opened with its fit. For
 * trainable_token_indices it uploads only the rows of these tokens. Fails if a tensor is missing or
 * has another shape. */
int adapter_load(const struct adapter *a, const struct fit *fit, struct model *m,
                 struct fail *why) MUST_USE;

#endif
