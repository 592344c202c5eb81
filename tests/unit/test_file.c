/* Reading whole files, pipes and the first bytes of files: contents, limits, and no leak when
 * memory ends. */
#include "lib/common/file.h"
#include "tests/lib/bounded.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#include <pthread.h>
#include <unistd.h>

static struct fail why;

static void says(const char *text)
{
    assert_string_equal(why.text, text);
    memset(&why, 0, sizeof why);
}

static void test_file(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, 2, 65535, 65536, 65537, 1000000 };
    unsigned char *bytes = malloc(1000000);
    char *data;
    size_t count;
    for (size_t i = 0; i < 1000000; i++)
        bytes[i] = (unsigned char)(i % 251);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        scratch_store(scratch_file, bytes, sizes[i]);
        assert_int_equal(file_read(scratch_file, sizes[i], &data, &count, &why), 0);
        assert_int_equal(count, sizes[i]);
        if (count) assert_memory_equal(data, bytes, count);
        assert_int_equal(data[count], 0);
        free(data);
    }
    free(bytes);
}

static void test_file_of_more_than_the_limit(void **state)
{
    (void)state;
    char *data, wanted[300];
    size_t count;
    scratch_store(scratch_file, (const unsigned char *)"four", 4);
    assert_int_equal(file_read(scratch_file, 3, &data, &count, &why), 1);
    assert_null(data);
    assert_int_equal(count, 4);
    assert_int_equal(why.status, STATUS_INPUT);
    snprintf(wanted, sizeof wanted, "%s: 4 bytes, at most 3", scratch_file);
    says(wanted);
    assert_int_equal(file_read(scratch_directory, 3, &data, &count, &why), -1);
    assert_null(data);
    snprintf(wanted, sizeof wanted, "%s: a directory, where a file is needed", scratch_directory);
    says(wanted);
    assert_int_equal(unlink(scratch_file), 0);
    assert_int_equal(file_read(scratch_file, 3, &data, &count, &why), -1);
    snprintf(wanted, sizeof wanted, "%s: No such file or directory", scratch_file);
    says(wanted);
}

struct pipe_of {
    int fd;
    size_t bytes;
};

/* Writes the bytes into a pipe, one or thousands at a time, and closes it. */
static void *write_pipe(void *arg)
{
    struct pipe_of *p = arg;
    char piece[1000];
    for (size_t at = 0, n; at < p->bytes; at += n) {
        n = at % 3 && p->bytes - at >= sizeof piece ? sizeof piece : 1;
        for (size_t i = 0; i < n; i++)
            piece[i] = (char)((at + i) % 127);
        if (write(p->fd, piece, n) != (ssize_t)n) break;
    }
    close(p->fd);
    return NULL;
}

static int read_pipe(size_t bytes, size_t limit, char **data, size_t *count)
{
    int ends[2];
    pthread_t writer;
    assert_int_equal(pipe(ends), 0);
    struct pipe_of p = { ends[1], bytes };
    assert_int_equal(pthread_create(&writer, NULL, write_pipe, &p), 0);
    int status = file_read_rest(ends[0], "the pipe", limit, data, count, &why);
    if (status) assert_null(*data);
    char rest[4096];
    while (read(ends[0], rest, sizeof rest) > 0) /* so that the writer can end */
        ;
    pthread_join(writer, NULL);
    close(ends[0]);
    return status;
}

static void test_pipe(void **state)
{
    (void)state;
    char *data;
    size_t count;
    static const size_t sizes[] = { 0, 1, 65536, (1 << 20) + 1, 2500000 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(read_pipe(sizes[i], i ? sizes[i] : SIZE_MAX, &data, &count), 0);
        assert_int_equal(count, sizes[i]);
        for (size_t k = 0; k < count; k++)
            assert_int_equal(data[k], k % 127);
        assert_int_equal(data[count], 0);
        free(data);
        if (!sizes[i]) continue;
        assert_int_equal(read_pipe(sizes[i], sizes[i] - 1, &data, &count), 1);
        assert_int_equal(count, sizes[i]);
        assert_int_equal(why.status, STATUS_INPUT);
        char wanted[80];
        snprintf(wanted, sizeof wanted, "the pipe: more than %zu bytes", sizes[i] - 1);
        says(wanted);
    }
}

static void test_first_bytes(void **state)
{
    (void)state;
    char head[8] = { 0 };
    scratch_store(scratch_file, (const unsigned char *)"0123456789", 10);
    assert_int_equal(file_read_head(scratch_file, head, sizeof head, &why), 8);
    assert_memory_equal(head, "01234567", 8);
    scratch_store(scratch_file, (const unsigned char *)"ab", 2);
    assert_int_equal(file_read_head(scratch_file, head, sizeof head, &why), 2);
    assert_memory_equal(head, "ab234567", 8);
    assert_int_equal(file_read_head(scratch_directory, head, sizeof head, &why), -1);
}

/* Returns 1 if a file of more bytes than there is memory is refused, and nothing else is lost. */
static int read_more_than_memory(void)
{
    char *data, wanted[300];
    size_t count;
    if (truncate(scratch_file, (off_t)1 << 30) || bounded_more(64 << 20)) return -1;
    if (file_read(scratch_file, SIZE_MAX, &data, &count, &why) != -1 || data) return -2;
    snprintf(wanted, sizeof wanted, "%s: out of memory", scratch_file);
    if (strcmp(why.text, wanted) != 0 || why.status != STATUS_FAILED) return -3;
    if (truncate(scratch_file, 4) || file_read(scratch_file, 4, &data, &count, &why)) return -4;
    return count == 4 && !memcmp(data, "four", 4);
}

static void test_file_and_memory(void **state)
{
    (void)state;
    scratch_store(scratch_file, (const unsigned char *)"four", 4);
    if (bounded_is_measured()) bounded_work(read_more_than_memory, 1, 16 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_file_of_more_than_the_limit),
        cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_first_bytes),
        cmocka_unit_test(test_file_and_memory),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
