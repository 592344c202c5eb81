/* The first bytes of a file determine its kind. Each kind is tested with bytes that its own
 * programs write. Texts that begin with the same letters are none of these kinds. */
#include "lib/common/file_kind.h"
#include "tests/lib/check.h"

#include <stdint.h>

#define HEAD(text) text, sizeof(text) - 1

static void test_kinds_are_recognized_by_their_first_bytes(void **state)
{
    (void)state;
    static const struct {
        enum file_kind kind;
        const char *head;
        size_t bytes;
    } files[] = {
        { FILE_KIND_ZSTD, HEAD("\x28\xb5\x2f\xfd\x04\x00\x19\x00\x00") },
        { FILE_KIND_ZSTD, HEAD("\x50\x2a\x4d\x18\x04\x00\x00\x00\x20") },
        { FILE_KIND_ZSTD, HEAD("\x5e\x2a\x4d\x18") },
        { FILE_KIND_GZIP, HEAD("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03") },
        { FILE_KIND_XZ, HEAD("\xfd\x37zXZ\x00\x00\x04") },
        { FILE_KIND_BZIP2, HEAD("BZh91AY&SY\x12\x34") },
        { FILE_KIND_LZMA, HEAD("\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0") },
        { FILE_KIND_LZ4, HEAD("\x04\x22\x4d\x18\x64\x40") },
        { FILE_KIND_ZIP, HEAD("PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                              "\x05\0\0\0a.txthello") },
        { FILE_KIND_TORCH, HEAD("PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                "\x18\0\0\0consolidated.00/data.pklFB") },
        { FILE_KIND_NUMPY, HEAD("PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                "\x05\0\0\0x.npyFB") },
        { FILE_KIND_OFFICE, HEAD("PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                 "\x13\0\0\0[Content_Types].xml") },
        { FILE_KIND_ZIP, HEAD("PK\x03\x04") },
        { FILE_KIND_7Z, HEAD("7z\xbc\xaf\x27\x1c\x00\x04") },
        { FILE_KIND_PDF, HEAD("%PDF-1.4\n%\xc3\xa4") },
        { FILE_KIND_RTF, HEAD("{\\rtf1\\ansi") },
        { FILE_KIND_HTML, HEAD("<!DOCTYPE html>\n<html>") },
        { FILE_KIND_HTML, HEAD("\xef\xbb\xbf\r\n <HTML lang=\"en\">") },
        { FILE_KIND_XML, HEAD("<?xml version=\"1.0\"?><Error>") },
        { FILE_KIND_LFS_POINTER, HEAD("version https://git-lfs.github.com/spec/v1\noid sha256:0") },
        { FILE_KIND_UTF16, HEAD("\xff\xfe{\0\"\0") },
        { FILE_KIND_UTF16, HEAD("\xfe\xff\0{\0\"") },
        { FILE_KIND_UTF16, HEAD("{\0\"\0a\0\"\0:\0") },
        { FILE_KIND_UTF16, HEAD("\0{\0\"\0a\0\"") },
        { FILE_KIND_UTF32, HEAD("\xff\xfe\0\0{\0\0\0") },
        { FILE_KIND_UTF32, HEAD("{\0\0\0\"\0\0\0a\0\0\0\"\0\0\0") },
        { FILE_KIND_UTF32, HEAD("\0\0\0{\0\0\0\"\0\0\0a\0\0\0\"") },
        { FILE_KIND_PARQUET, HEAD("PAR1\x15\x04\x15") },
        { FILE_KIND_ARROW, HEAD("ARROW1\0\0\xff\xff\xff\xff") },
        { FILE_KIND_ARROW, HEAD("\xff\xff\xff\xff\x30\x02\0\0") },
        { FILE_KIND_HDF5, HEAD("\x89HDF\r\n\x1a\n\0") },
        { FILE_KIND_NUMPY, HEAD("\x93NUMPY\x01\0v\0{'descr'") },
        { FILE_KIND_SQLITE, HEAD("SQLite format 3\0\x10\0") },
        { FILE_KIND_IMAGE, HEAD("\x89PNG\r\n\x1a\n\0\0\0\rIHDR") },
        { FILE_KIND_PROGRAM, HEAD("\x7f\x45LF\x02\x01\x01") },
        { FILE_KIND_SAFETENSORS, HEAD("\x48\0\0\0\0\0\0\0{\"__metadata__\"") },
        /* The header lengths of these safetensors files have the same first bytes as UTF-16, UTF-32
         * and gzip. */
        { FILE_KIND_SAFETENSORS, HEAD("\xff\xfe\0\0\0\0\0\0{\"a\"") },
        { FILE_KIND_SAFETENSORS, HEAD("\x1f\x8b\0\0\0\0\0\0{\"a\"") },
        { FILE_KIND_TORCH, HEAD("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.") },
        { FILE_KIND_PICKLE, HEAD("\x80\x04\x95\x0b\0\0\0\0\0\0\0}") },
        { FILE_KIND_GGUF, HEAD("GGUF\x03\0\0\0\x42\0\0\0\0\0\0\0") },
        { FILE_KIND_GGUF, HEAD("GGUF\0\0\0\x03\0\0\0\0\0\0\0\x42") },
        { FILE_KIND_GGML, HEAD("tjgg\x03\0\0\0") },
        { FILE_KIND_SENTENCEPIECE, HEAD("\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0\x18\x02") },
        { FILE_KIND_LONGQLORA, HEAD("\x85\xa6"
                                    "format\xa9longqlora\xa7version\x01") },
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        enum file_kind kind = file_kind_of(files[i].head, files[i].bytes);
        if (kind != files[i].kind)
            fail_msg("file %zu is %s, not %s", i, file_kind_words(kind),
                     file_kind_words(files[i].kind));
    }
    char tar[512] = "docs.jsonl";
    memcpy(tar + 257, "ustar", 5);
    assert_int_equal(file_kind_of(tar, sizeof tar), FILE_KIND_TAR);
    assert_int_equal(file_kind_of(tar, 262 - 1), FILE_KIND_OTHER);
}

static void test_texts_are_of_no_other_kind(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{\"text\": \"a\"}",
        "[{\"instruction\": \"a\"}]",
        "\xef\xbb\xbf{\"text\": \"a\"}",
        "PAR1 is how a parquet file begins",
        "PAR1\nPAR2",
        "GGUF is a format",
        "BZh9 is how bzip2 begins",
        "7zip",
        "PK is short for a name",
        "<html5ever> is a parser",
        "<header>",
        "RARE",
        "version https://example.org",
        "\n\n  text",
        "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        enum file_kind kind = file_kind_of(texts[i], strlen(texts[i]));
        if (kind != FILE_KIND_OTHER)
            fail_msg("'%s' is taken for %s", texts[i], file_kind_words(kind));
    }
}

static void test_each_kind_has_a_description(void **state)
{
    (void)state;
    for (int k = 0; k < FILE_KIND_COUNT; k++) {
        assert_non_null(file_kind_words((enum file_kind)k));
        assert_non_null(file_kind_way_to_text((enum file_kind)k));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds_are_recognized_by_their_first_bytes),
        cmocka_unit_test(test_texts_are_of_no_other_kind),
        cmocka_unit_test(test_each_kind_has_a_description),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
