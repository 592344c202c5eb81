/* torch_file.h - state dicts as torch.save writes them since 1.6: pytorch_model.bin.
 *
 * A zip of uncompressed entries: the tensors' storages, and a pickle that names them,
 * which pickle.h reads without executing anything.
 */
#ifndef LONGQLORA_TENSORFILE_TORCH_FILE_H
#define LONGQLORA_TENSORFILE_TORCH_FILE_H

#include "lib/tensorfile/tensor_file.h"

/* Closed by tensor_file_close. Tensors that are not contiguous are refused. */
int torch_open(struct tensor_file *file, const char *path, struct fail *why) MUST_USE;

#endif
