/* file_kind.h - recognises the kind of a file by its first bytes, and names it for a message.
 *
 * Users pass what they have: a parquet file instead of JSON lines, a web page that a failed
 * download left, weights in another format. A reader that cannot use its file asks here what the
 * file is, and adds what to do, because only the reader knows what it needed:
 *
 *     enum file_kind kind = file_kind_of(head, bytes);
 *     if (kind != FILE_KIND_OTHER)
 *         return fail_input(why, "%s: %s: ...", path, file_kind_words(kind));
 *
 * Ordinary UTF-8 text is never taken for one of these kinds: where a magic number consists of
 * letters, the bytes after it are checked too.
 */
#ifndef LONGQLORA_FILE_KIND_H
#define LONGQLORA_FILE_KIND_H

#include <stdbool.h>
#include <stddef.h>

/* This many of a file's first bytes are enough for every kind. Most kinds need fewer. */
enum { FILE_KIND_HEAD = 512 };

enum file_kind {
    FILE_KIND_OTHER, /* none of the kinds below: UTF-8 text, or an unknown format */
    /* Compressed files. Their content may be anything. */
    FILE_KIND_ZSTD,
    FILE_KIND_GZIP,
    FILE_KIND_XZ,
    FILE_KIND_BZIP2,
    FILE_KIND_LZ4,
    FILE_KIND_LZIP,
    FILE_KIND_LZMA, /* the predecessor of xz */
    /* Archives and documents. */
    FILE_KIND_ZIP,
    FILE_KIND_OFFICE, /* a zip file written by Word, Excel or OpenOffice */
    FILE_KIND_OLE,    /* the format of Word and Excel before 2007 */
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
    /* Tables and arrays. */
    FILE_KIND_PARQUET,
    FILE_KIND_ARROW,
    FILE_KIND_HDF5,
    FILE_KIND_NUMPY, /* .npy, or .npz, which is a zip file of .npy files */
    FILE_KIND_SQLITE,
    FILE_KIND_IMAGE,
    FILE_KIND_PROGRAM,
    /* Models. */
    FILE_KIND_SAFETENSORS,
    FILE_KIND_TORCH, /* a checkpoint written by torch.save: .bin, .pt, .pth */
    FILE_KIND_PICKLE,
    FILE_KIND_GGUF,
    FILE_KIND_GGML,          /* the predecessor of GGUF */
    FILE_KIND_SENTENCEPIECE, /* tokenizer.model */
    FILE_KIND_LONGQLORA,     /* one of our own streams, after decompression */
    FILE_KIND_COUNT
};

/* Returns the kind of the file whose first bytes are head[bytes]. If they are too few to show its
 * kind, returns FILE_KIND_OTHER or a more general kind, such as FILE_KIND_ZIP. */
enum file_kind file_kind_of(const void *head, size_t bytes);

/* Returns the kind's name with its article, as it follows a colon in a message: "a parquet file".
 * FILE_KIND_OTHER gives "an unknown file". */
const char *file_kind_words(enum file_kind kind);

/* Returns advice on how to make JSON lines or UTF-8 text of such a file. In a message the advice
 * follows file_kind_words. */
const char *file_kind_way_to_text(enum file_kind kind);

/* Is this a kind of text (a web page, XML, RTF) that the user may really want to pass as text? A
 * reader of arbitrary text accepts these kinds and tells the user what the file is. */
bool file_kind_is_text(enum file_kind kind);

#endif
