/* Reads pytorch_model.bin: files that torch.save wrote, and files that an attacker might have
 * made. */
#include "lib/common/bf16.h"
#include "lib/common/output.h"
#include "lib/llama/weights.h"
#include "lib/tensorfile/pickle.h"
#include "lib/tensorfile/torch_file.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/synthetic_model.h"

static struct fail why;

static void same_as_made(const char *model, enum dtype type)
{
    struct weights w;
    if (weights_open(&w, model, true, &why)) print_error("%s\n", why.text);
    assert_true(w.count > 0);
    for (int64_t i = 0; i < w.count; i++) {
        const struct tensor *t = &w.table[i];
        float *exact = synthetic_values(t, i);
        const uint16_t *got = w.at[i].data;
        assert_int_equal(w.at[i].type, type);
        for (int64_t j = 0; j < t->rows * t->cols; j++)
            assert_int_equal(got[j], type == DTYPE_F16 ? f16_from_float(exact[j])
                                                       : bf16_from_float(exact[j]));
        free(exact);
    }
    weights_close(&w);
}

static void test_models(void **state)
{
    (void)state;
    same_as_made("tests/golden/torch-files/one", DTYPE_BF16);
    same_as_made("tests/golden/torch-files/shards", DTYPE_F16);
}

static char *read_whole(const char *from, size_t *size)
{
    FILE *f = fopen(from, "rb");
    assert_non_null(f);
    char *bytes = malloc(1 << 20);
    *size = fread(bytes, 1, 1 << 20, f);
    fclose(f);
    return bytes;
}

static void write_whole(const char *bytes, size_t size)
{
    FILE *f = fopen(scratch_file, "wb");
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
}

/* A file that is cut is refused. A file with one changed byte is refused or opened, without a
 * crash. */
static void test_damage(void **state)
{
    (void)state;
    size_t size;
    char *bytes = read_whole("tests/golden/torch-files/one/pytorch_model.bin", &size);
    struct tensor_file file;
    for (size_t cut = 0; cut < size; cut += 97) {
        write_whole(bytes, cut);
        assert_int_equal(torch_open(&file, scratch_file, &why), -1);
        assert_int_equal(why.status, STATUS_INPUT);
    }
    for (size_t at = 0; at < size; at += 13) {
        bytes[at] ^= 0x55;
        write_whole(bytes, size);
        if (!torch_open(&file, scratch_file, &why)) tensor_file_close(&file);
        bytes[at] ^= 0x55;
    }
    free(bytes);
}

static void refused(const char *pickle, size_t size, const char *reason)
{
    struct pickled_tensor *list;
    size_t count;
    assert_int_equal(pickle_tensors(pickle, size, &list, &count, &why), -1);
    if (!strstr(why.text, reason)) print_error("'%s' lacks '%s'\n", why.text, reason);
    assert_non_null(strstr(why.text, reason));
    assert_true(!list && !count);
}
#define REFUSED(pickle, reason) refused(pickle, sizeof(pickle) - 1, reason)

static void test_hostile_pickles(void **state)
{
    (void)state;
    /* This pickle runs a command if a program executes it. */
    REFUSED("\x80\x02"
            "cposix\nsystem\n(X\x02\0\0\0idtR.",
            "names posix.system");
    REFUSED("\x80\x04\x8c\x08"
            "builtins\x8c\x04"
            "eval\x93.",
            "names builtins.eval");
    REFUSED("\x80\x02"
            "ctorch\nload\n.",
            "names torch.load");
    REFUSED("\x80\x02(iposix\nsystem\n.", "opcode 0x69");
    REFUSED("\x80\x02}"
            "ctorch._utils\n_rebuild_tensor_v2\n(tR.",
            "a tensor lacks storage");
    REFUSED("\x80\x02"
            "ctorch\nFloatStorage\n)R.",
            "it calls a storage, which is no function");
    REFUSED("\x80\x02}})R.", "it calls an unknown function");
    REFUSED("\x80\x02"
            "ccollections\nOrderedDict\nK\x01\x85R.",
            "an OrderedDict has arguments");
    REFUSED("\x80\x02"
            "ctorch._utils\n_rebuild_parameter\nN\x85R.",
            "a parameter is no tensor");
    /* torch negates this tensor when it loads it. */
    REFUSED("\x80\x02}X\x01\0\0\0a"
            "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
            "X\x01\0\0\0"
            "0X\x03\0\0\0cpuK\x01tQK\0K\x01\x85K\x01\x85\x89"
            "ccollections\nOrderedDict\n)R}X\x03\0\0\0neg\x88stRs.",
            "a view that torch negates or conjugates");
    /* These pickles use stack entries, marks and memo entries that do not exist. */
    REFUSED(".", "the stack is empty");
    REFUSED("", "ends inside a value");
    REFUSED("}u.", "there is no mark");
    REFUSED("}(K\x01u.", "a key has no value");
    REFUSED("(})u.", "the stack is empty");
    REFUSED("}(}}R.", "it calls an unknown function");
    REFUSED("}(\x85.", "the stack is empty");
    REFUSED("h\x07.", "a memo is empty");
    REFUSED("Nr\xff\xff\xff\xff.", "the number of a memo is too large");
    REFUSED("q\x01.", "the stack is empty");
    REFUSED("X\xff\xff\xff\xff"
            "a",
            "ends inside a value");
    REFUSED("\x8a\x09"
            "123456789.",
            "more than 64 bits");
    REFUSED("NQ.", "a persistent value is no storage");
    REFUSED("N.", "a value of another kind");
    REFUSED("cposix", "ends inside a name");
    REFUSED("}X\x01\0\0\0aNs.", "a is no tensor");
    REFUSED("}K\x01Ns.", "a key is no tensor's name");
    REFUSED("}X\x01\0\0\0\0Ns.", "a key is no tensor's name");
    /* A dict that contains itself is refused, because it is not a tensor. */
    REFUSED("}q\x01X\x01\0\0\0ah\x01s.", "a is no tensor");
}

/* An endless number of values is refused before it fills the memory. */
static void test_pickle_bomb(void **state)
{
    (void)state;
    size_t size = (size_t)PICKLE_VALUES_MAX * 2;
    char *bytes = malloc(size);
    memset(bytes, 'N', size);
    refused(bytes, size, "more than 4194304 values");
    memset(bytes, '(', size);
    refused(bytes, size, "more than 4194304 values");
    free(bytes);
}

static void store(const char *bytes, size_t size, const char *reason)
{
    struct tensor_file file;
    write_whole(bytes, size);
    assert_int_equal(torch_open(&file, scratch_file, &why), -1);
    if (!strstr(why.text, reason)) print_error("'%s' lacks '%s'\n", why.text, reason);
    assert_non_null(strstr(why.text, reason));
}

static void test_other_files(void **state)
{
    (void)state;
    store("", 0, "empty");
    store("\x80\x02\x8a\nl\xfc\x9c"
          "F\xf9 j\xa8P\x19.",
          16,
          "this is the old form of torch.save, from before PyTorch 1.6: convert it with python3 -c "
          "'import sys, torch; w = torch.load(sys.argv[1], weights_only=True); torch.save({");
    store("\x80\x02\x8a\n", 4, "neither a zip nor another file of torch.save: it is damaged");
    store("PK\3\4", 4, "no zip directory at its end");
    char none[22] = "PK\5\6";
    char archive[4 + 22];
    memcpy(archive, "PK\3\4", 4);
    memcpy(archive + 4, none, 22);
    store(archive, sizeof archive, "the zip has no data.pkl");
    archive[4 + 10] = 9; /* the directory names entries that do not exist */
    store(archive, sizeof archive, "the zip has 9 entries");
    archive[4 + 10] = 0;
    archive[4 + 16] = 127; /* the directory lies beyond the end */
    store(archive, sizeof archive, "zip directory is not in the file");
}

/* A transposed tensor that was saved as it is. */
static void test_not_contiguous(void **state)
{
    (void)state;
    size_t size;
    char *bytes = read_whole("tests/golden/torch-files/one/pytorch_model.bin", &size);
    char *strides = memmem(bytes, size, "K\x10K\x01\x86", 5);
    assert_non_null(strides);
    memcpy(strides, "K\x01K\x10\x86", 5);
    store(bytes, size,
          "model.embed_tokens.weight is not contiguous: convert the file with python3 -c 'import "
          "sys, torch; w = torch.load(sys.argv[1], weights_only=True); torch.save({k: "
          "v.contiguous() for k, v in w.items()}, sys.argv[2])' OLD.bin NEW.bin");
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),          cmocka_unit_test(test_damage),
        cmocka_unit_test(test_hostile_pickles), cmocka_unit_test(test_pickle_bomb),
        cmocka_unit_test(test_other_files),     cmocka_unit_test(test_not_contiguous),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
