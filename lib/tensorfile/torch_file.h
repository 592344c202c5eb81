/* torch_file.h - reads state dicts that torch.save has written since PyTorch 1.6
 * (pytorch_model.bin).
 *
 * The file is a zip of uncompressed entries, among them one for each storage, and a pickle that
 * lists the tensors. pickle.h reads the pickle without executing anything.
 */
#ifndef LONGQLORA_TENSORFILE_TORCH_FILE_H
#define LONGQLORA_TENSORFILE_TORCH_FILE_H

#include "lib/tensorfile/tensor_file.h"

/* Maps a file and lists its tensors. The caller closes it with tensor_file_close. A tensor that is
 * not contiguous is refused. */
int torch_open(struct tensor_file *file, const char *path, struct fail *why) MUST_USE;

#endif
