/* adapter_load.h - a model with an adapter: how it is opened, and its values.
 *
 *     fit_set_up(&fit, &a, &setup)               after adapter_fit, before model_open
 *     adapter_load(&a, model, why)               after it
 */
#ifndef LONGQLORA_MODEL_ADAPTER_LOAD_H
#define LONGQLORA_MODEL_ADAPTER_LOAD_H

#include "lib/llama/adapter.h"
#include "model/model.h"

/* Sets what of a model's setup the adapter decides; the fit must live until the model is open. */
void fit_set_up(const struct fit *fit, const struct adapter *a, struct model_setup *setup);

/* Fills the parameters of a model that was opened with the adapter's fit. */
int adapter_load(const struct adapter *a, struct model *m, struct fail *why) MUST_USE;

#endif
