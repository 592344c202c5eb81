#include "lib/common/file_kind.h"

#include "lib/common/compiler.h"

#include <stdint.h>
#include <strings.h>

#define JSON_LINES "JSON lines are needed"
#define PANDAS(reader)                                                                             \
    JSON_LINES ": in Python pandas." reader                                                        \
               "(FILE).to_json('FILE.jsonl', orient='records', lines=True) makes them"
#define UNPACKED "the files in it are needed: unpack it"
#define A_MODEL "a model's file, where text is needed"

static const struct {
    const char *words, *way_to_text;
} kinds[FILE_KIND_COUNT] = {
    [FILE_KIND_OTHER] = { "an unknown file", "text in UTF-8 is needed" },
    [FILE_KIND_ZSTD] = { "zstd", "zstd -dc gives its content" },
    [FILE_KIND_GZIP] = { "gzip", "gzip -dc gives its content" },
    [FILE_KIND_XZ] = { "xz", "xz -dc gives its content" },
    [FILE_KIND_BZIP2] = { "bzip2", "bzip2 -dc gives its content" },
    [FILE_KIND_LZ4] = { "lz4", "lz4 -dc gives its content" },
    [FILE_KIND_LZIP] = { "lzip", "lzip -dc gives its content" },
    [FILE_KIND_LZMA] = { "lzma", "xz -dc gives its content" },
    [FILE_KIND_ZIP] = { "a zip", "unzip -p gives the content of the files in it" },
    [FILE_KIND_OFFICE] = { "a document of an office program", "save it as text in UTF-8" },
    [FILE_KIND_OLE] = { "a document of an office program", "save it as text in UTF-8" },
    [FILE_KIND_7Z] = { "a 7z archive", UNPACKED },
    [FILE_KIND_RAR] = { "a RAR archive", UNPACKED },
    [FILE_KIND_TAR] = { "a tar archive", "tar -xOf gives the content of the files in it" },
    [FILE_KIND_PDF] = { "a PDF document", "pdftotext makes text of it" },
    [FILE_KIND_RTF] = { "a document in RTF", "save it as text in UTF-8" },
    [FILE_KIND_HTML] = { "a web page (HTML)", "a download that failed may have left it" },
    [FILE_KIND_XML] = { "XML", "a download that failed may have left it" },
    [FILE_KIND_LFS_POINTER] = { "a pointer of Git LFS in place of the file", "run git lfs pull" },
    [FILE_KIND_UTF16] = { "text in UTF-16", "iconv -f UTF-16 -t UTF-8 makes UTF-8 of it" },
    [FILE_KIND_UTF32] = { "text in UTF-32", "iconv -f UTF-32 -t UTF-8 makes UTF-8 of it" },
    [FILE_KIND_PARQUET] = { "a parquet file", PANDAS("read_parquet") },
    [FILE_KIND_ARROW] = { "an Arrow file", JSON_LINES ": in Python datasets.Dataset.from_file(FILE)"
                                                      ".to_json('FILE.jsonl') makes them" },
    [FILE_KIND_HDF5] = { "an HDF5 file", PANDAS("read_hdf") },
    [FILE_KIND_NUMPY] = { "arrays of NumPy", "text is needed" },
    [FILE_KIND_SQLITE] = { "a database of SQLite", "sqlite3 -json gives its rows" },
    [FILE_KIND_IMAGE] = { "an image", "text is needed" },
    [FILE_KIND_PROGRAM] = { "a program", "text is needed" },
    [FILE_KIND_SAFETENSORS] = { "weights in safetensors", A_MODEL },
    [FILE_KIND_TORCH] = { "a checkpoint of PyTorch", A_MODEL },
    [FILE_KIND_PICKLE] = { "a pickle of Python", JSON_LINES },
    [FILE_KIND_GGUF] = { "a GGUF file", A_MODEL },
    [FILE_KIND_GGML] = { "a GGML file", A_MODEL },
    [FILE_KIND_SENTENCEPIECE] = { "a SentencePiece model", "a tokenizer, where text is needed" },
    [FILE_KIND_LONGQLORA] = { "a stream of LongQLoRA", "text is needed" },
};

/* Magic numbers at the beginning of a file that hardly any text begins with. */
static const struct {
    const char *bytes;
    size_t count;
    enum file_kind kind;
} magics[] = {
#define MAGIC(text, kind)                                                                          \
    {                                                                                              \
        text, sizeof(text) - 1, FILE_KIND_##kind                                                   \
    }
    MAGIC("\x28\xb5\x2f\xfd", ZSTD),
    MAGIC("\x1f\x8b", GZIP),
    MAGIC("\xfd\x37zXZ\0", XZ),
    MAGIC("\x04\x22\x4d\x18", LZ4),
    MAGIC("LZIP\x01", LZIP),
    MAGIC("7z\xbc\xaf\x27\x1c", 7Z),
    MAGIC("Rar!\x1a\x07", RAR),
    MAGIC("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    MAGIC("%PDF-1.", PDF),
    MAGIC("%PDF-2.", PDF),
    MAGIC("{\\rtf1", RTF),
    MAGIC("version https://git-lfs.github.com/spec/", LFS_POINTER),
    MAGIC("\xff\xfe\0\0", UTF32),
    MAGIC("\0\0\xfe\xff", UTF32),
    MAGIC("\xff\xfe", UTF16),
    MAGIC("\xfe\xff", UTF16),
    MAGIC("ARROW1\0\0", ARROW),
    MAGIC("FEA1\0", ARROW),
    MAGIC("\xff\xff\xff\xff", ARROW),
    MAGIC("\x89HDF\r\n\x1a\n", HDF5),
    MAGIC("\x93NUMPY", NUMPY),
    MAGIC("SQLite format 3\0", SQLITE),
    MAGIC("\x89PNG\r\n\x1a\n", IMAGE),
    MAGIC("\xff\xd8\xff", IMAGE),
    MAGIC("GIF87a", IMAGE),
    MAGIC("GIF89a", IMAGE),
    MAGIC("\x7f\x45LF", PROGRAM),
    MAGIC("tjgg", GGML),
    MAGIC("lmgg", GGML),
    MAGIC("fmgg", GGML),
    MAGIC("algg", GGML),
#undef MAGIC
};

static uint32_t u32_at(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static bool begins(const unsigned char *at, size_t bytes, const char *with)
{
    size_t n = strlen(with);
    return bytes >= n && !memcmp(at, with, n);
}

/* The name of the first entry of a zip file tells which program made it. */
static enum file_kind kind_of_zip(const unsigned char *at, size_t bytes)
{
    size_t length = bytes >= 30 ? at[26] | (size_t)at[27] << 8 : 0;
    const char *name = (const char *)at + 30;
    static const char *const office[] = {
        "[Content_Types].xml", "_rels/", "docProps/", "word/", "xl/", "mimetype"
    };
    if (bytes < 30 || length > bytes - 30) return FILE_KIND_ZIP;
    for (size_t i = 0; i < sizeof office / sizeof *office; i++)
        if (begins(at + 30, length, office[i])) return FILE_KIND_OFFICE;
    if (memmem(name, length, "/data.pkl", 9)) return FILE_KIND_TORCH;
    return memmem(name, length, ".npy", 4) ? FILE_KIND_NUMPY : FILE_KIND_ZIP;
}

/* Is the text UTF-16 or UTF-32 without a byte order mark? It is if its first
 * characters, 4 to 16 of them, are ASCII with zero bytes around them. `width` is the number of
 * bytes of a character, and `letter` says which of them is not zero. */
static bool is_wide(const unsigned char *at, size_t bytes, size_t width, size_t letter)
{
    size_t count = bytes / width < 16 ? bytes / width : 16;
    for (size_t i = 0; i < count * width; i++) {
        bool is_letter = i % width == letter;
        bool is_ascii =
            (at[i] >= 32 && at[i] < 127) || at[i] == '\t' || at[i] == '\r' || at[i] == '\n';
        if (is_letter ? !is_ascii : at[i] != 0) return false;
    }
    return count >= 4;
}

/* Does the text begin with this tag, after white space? The tag is in lower case. */
static bool begins_with_tag(const unsigned char *at, size_t bytes, const char *tag)
{
    size_t n = strlen(tag);
    while (bytes && (*at == ' ' || (*at >= 9 && *at <= 13)))
        at++, bytes--;
    if (bytes < n || strncasecmp((const char *)at, tag, n) != 0) return false;
    return bytes == n || at[n] == '>' || at[n] == ' ' || (at[n] >= 9 && at[n] <= 13);
}

static enum file_kind kind_of_letters(const unsigned char *at, size_t bytes)
{
    if (begins(at, bytes, "\xef\xbb\xbf")) at += 3, bytes -= 3;
    if (begins_with_tag(at, bytes, "<!doctype html") || begins_with_tag(at, bytes, "<html") ||
        begins_with_tag(at, bytes, "<head"))
        return FILE_KIND_HTML;
    return begins_with_tag(at, bytes, "<?xml") ? FILE_KIND_XML : FILE_KIND_OTHER;
}

/* Recognises formats whose magic number consists of letters, and formats without a magic number. It
 * also checks the bytes that follow. */
static enum file_kind kind_by_shape(const unsigned char *at, size_t bytes)
{
    if (bytes >= 5 && begins(at, bytes, "PAR1") && at[4] < 32 && !memchr("\t\r\n", at[4], 3))
        return FILE_KIND_PARQUET;
    if (begins(at, bytes, "PK\x03\x04")) return kind_of_zip(at, bytes);
    if (bytes >= 10 && begins(at, bytes, "BZh") && at[3] >= '1' && at[3] <= '9' &&
        begins(at + 4, bytes - 4, "1AY&SY"))
        return FILE_KIND_BZIP2;
    /* An LZMA file: the usual properties, a dictionary of whole 64 KiB, and a size that is unknown
     * or below 2^32. */
    if (bytes >= 13 && begins(at, bytes, "\x5d") && !at[1] && !at[2] && at[9] == at[12] &&
        (!at[12] || at[12] == 0xff))
        return FILE_KIND_LZMA;
    if (bytes >= 8 && begins(at, bytes, "GGUF") && (!at[5] || !at[6])) return FILE_KIND_GGUF;
    if (bytes >= 4 && (at[0] & 0xf0) == 0x50 && begins(at + 1, bytes - 1, "\x2a\x4d\x18"))
        return FILE_KIND_ZSTD; /* a skippable frame; pzstd writes one before each frame */
    if (bytes >= 9 && at[0] == 0x0a && at[2] == 0x0a && at[3] == 5 &&
        begins(at + 4, bytes - 4, "<unk>"))
        return FILE_KIND_SENTENCEPIECE;
    if (bytes >= 9 && (at[0] & 0xf0) == 0x80 && memmem(at, bytes < 40 ? bytes : 40, "longqlora", 9))
        return FILE_KIND_LONGQLORA;
    /* torch.save before the zip format: the file begins with a pickle of a fixed number. */
    if (bytes >= 4 && begins(at, bytes, "\x80\x02\x8a\x0a")) return FILE_KIND_TORCH;
    if (bytes >= 3 && at[0] == 0x80 && at[1] >= 2 && at[1] <= 5) return FILE_KIND_PICKLE;
    if (bytes >= 263 && begins(at + 257, bytes - 257, "ustar")) return FILE_KIND_TAR;
    if (is_wide(at, bytes, 4, 0) || is_wide(at, bytes, 4, 3)) return FILE_KIND_UTF32;
    if (is_wide(at, bytes, 2, 0) || is_wide(at, bytes, 2, 1)) return FILE_KIND_UTF16;
    return kind_of_letters(at, bytes);
}

/* Is it a safetensors file: the length of a header in eight bytes, then '{'? This is checked first,
 * because the length may look like any magic number. */
static bool is_safetensors(const unsigned char *at, size_t bytes)
{
    enum { HEADER_MAX = 100 * 1000 * 1000 };
    return bytes >= 9 && at[8] == '{' && !at[4] && !at[5] && !at[6] && !at[7] && u32_at(at) >= 2 &&
           u32_at(at) <= HEADER_MAX;
}

enum file_kind file_kind_of(const void *head, size_t bytes)
{
    if (is_safetensors(head, bytes)) return FILE_KIND_SAFETENSORS;
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (bytes >= magics[i].count && !memcmp(head, magics[i].bytes, magics[i].count))
            return magics[i].kind;
    return kind_by_shape(head, bytes);
}

const char *file_kind_words(enum file_kind kind) { return kinds[kind].words; }
const char *file_kind_way_to_text(enum file_kind kind) { return kinds[kind].way_to_text; }

bool file_kind_is_text(enum file_kind kind)
{
    return kind == FILE_KIND_HTML || kind == FILE_KIND_XML || kind == FILE_KIND_RTF;
}
