/* file_kind.h - what a file is by its first bytes, in words for a message.
 *
 * People hand over what they have: a parquet file where JSON lines belong, a web page that a failed
 * download left, weights in another format. A reader that finds its file to be of another kind asks
 * here and names the kind, together with what to do, which the reader knows best:
 *
 *     enum file_kind kind = file_kind_of(head, bytes);
 *     if (kind != FILE_KIND_OTHER)
 *         return fail_input(why, "%s: %s: ...", path, file_kind_words(kind));
 *
 * No text of UTF-8 that means something else is taken for any of these kinds: where a magic
 * consists of letters, the bytes after it are looked at too.
 */
#ifndef LONGQLORA_FILE_KIND_H
#define LONGQLORA_FILE_KIND_H

#include <stdbool.h>
#include <stddef.h>

/* So many of a file's first bytes tell every kind; fewer will do for most. */
enum { FILE_KIND_HEAD = 512 };

enum file_kind {
    FILE_KIND_OTHER, /* none of the kinds below: text in UTF-8, or what is unknown here */
    /* Compressed, so that its content may be anything. */
    FILE_KIND_ZSTD,
    FILE_KIND_GZIP,
    FILE_KIND_XZ,
    FILE_KIND_BZIP2,
    FILE_KIND_LZ4,
    FILE_KIND_LZIP,
    FILE_KIND_LZMA, /* what came before xz */
    /* Archives and documents. */
    FILE_KIND_ZIP,
    FILE_KIND_OFFICE, /* a zip of Word's, Excel's or OpenOffice's */
    FILE_KIND_OLE,    /* Word and Excel before 2007 */
    FILE_KIND_7Z,
    FILE_KIND_RAR,
    FILE_KIND_TAR,
    FILE_KIND_PDF,
    FILE_KIND_RTF,
    FILE_KIND_HTML,
    FILE_KIND_XML,
    FILE_KIND_LFS_POINTER,
    /* Text that is not UTF-8. */
    FILE_KIND_UTF16,
    FILE_KIND_UTF32,
    /* Data. */
    FILE_KIND_PARQUET,
    FILE_KIND_ARROW,
    FILE_KIND_HDF5,
    FILE_KIND_NUMPY, /* .npy, or .npz, which is a zip of them */
    FILE_KIND_SQLITE,
    FILE_KIND_IMAGE,
    FILE_KIND_PROGRAM,
    /* Models. */
    FILE_KIND_SAFETENSORS,
    FILE_KIND_TORCH, /* a checkpoint of torch.save: .bin, .pt, .pth */
    FILE_KIND_PICKLE,
    FILE_KIND_GGUF,
    FILE_KIND_GGML,          /* what came before GGUF */
    FILE_KIND_SENTENCEPIECE, /* tokenizer.model */
    FILE_KIND_LONGQLORA,     /* a stream of ours, once it is decompressed */
    FILE_KIND_COUNT
};

enum file_kind file_kind_of(const void *head, size_t bytes);

/* "a parquet file": with its article, to stand after a colon. FILE_KIND_OTHER: "an unknown file".
 */
const char *file_kind_words(enum file_kind kind);

/* What to do where lines of JSON or a text in UTF-8 are wanted, for a message after the words. */
const char *file_kind_way_to_text(enum file_kind kind);

/* Letters that a person could have meant as text: a web page, XML, RTF. Who wants any text takes
 * it, and says what it is. */
bool file_kind_is_text(enum file_kind kind);

#endif
