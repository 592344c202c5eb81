/* Numbers, threads and the process: bf16 and f16, Philox, permutations, the pool, signals, mapped
 * files, messages, the limits of control groups, JSON. */
#include "lib/common/bf16.h"
#include "lib/common/free_memory.h"
#include "lib/common/json.h"
#include "lib/common/mapped.h"
#include "lib/common/message.h"
#include "lib/common/output.h"
#include "lib/common/philox.h"
#include "lib/common/pool.h"
#include "lib/common/rng.h"
#include "lib/common/signals.h"
#include "lib/common/size.h"
#include "lib/common/usable_cpus.h"
#include "lib/common/utf8.h"
#include "lib/common/vocabulary.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fail why;

/* Every 16-bit value is the same after a conversion to f32 and back; a NaN may become another
 * NaN. */
static void test_half_precision_round_trip(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        float b = bf16_to_float((bf16)i), h = f16_to_float((uint16_t)i);
        if (!isnan(b))
            assert_int_equal(bf16_from_float(b), i);
        else
            assert_true(isnan(bf16_to_float(bf16_from_float(b))));
        if (!isnan(h))
            assert_int_equal(f16_from_float(h), i);
        else
            assert_true(isnan(f16_to_float(f16_from_float(h))));
    }
}

/* Rounding is to nearest even: no neighbour is nearer, and ties are even. */
static void test_half_precision_rounding(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        float x = ldexpf((float)check_random(), (int)check_below(40) - 26);
        uint16_t h = f16_from_float(x);
        double error = fabs((double)f16_to_float(h) - (double)x);
        if ((h & 0x7fff) < 0x7bff)
            assert_true(error <= fabs((double)f16_to_float((uint16_t)(h + 1)) - (double)x));
        if (h & 0x7fff)
            assert_true(error <= fabs((double)f16_to_float((uint16_t)(h - 1)) - (double)x));
    }
    assert_int_equal(f16_from_float(2049.0f), f16_from_float(2048.0f));
    assert_int_equal(f16_from_float(2051.0f), f16_from_float(2052.0f));
    assert_int_equal(f16_from_float(65520.0f), 0x7c00);
    assert_int_equal(f16_from_float(65519.0f), 0x7bff);
    assert_int_equal(bf16_from_float(bits_float(0x3f808000)), 0x3f80);
    assert_int_equal(bf16_from_float(bits_float(0x3f818000)), 0x3f82);
}

/* The known answers of Random123's test vectors (philox4x32_10). */
static void test_philox_known_answers(void **state)
{
    (void)state;
    struct philox zero = philox(0, 0, 0), ones = philox(~0ull, ~0ull, ~0ull);
    static const uint32_t expected_zero[4] = { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 };
    static const uint32_t expected_ones[4] = { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd };
    assert_memory_equal(zero.word, expected_zero, sizeof expected_zero);
    assert_memory_equal(ones.word, expected_ones, sizeof expected_ones);
}

static void test_draws(void **state)
{
    (void)state;
    double sum = 0, squares = 0, mean = 0;
    enum { N = 20000 };
    for (int i = 0; i < N; i++) {
        double u = (double)rng_uniform(1, 2, (uint64_t)i),
               z = (double)rng_normal(1, 3, (uint64_t)i);
        assert_true(u >= 0 && u < 1);
        mean += u / N;
        sum += z / N;
        squares += z * z / N;
    }
    assert_true(fabs(mean - 0.5) < 0.01 && fabs(sum) < 0.03 && fabs(squares - 1) < 0.04);
    assert_true(rng_key(1, "a") != rng_key(1, "b") && rng_key(1, "a") != rng_key(2, "a"));
    uint64_t order[1000], again[1000];
    bool seen[1000] = { false };
    assert_int_equal(rng_permutation(7, order, 1000), 0);
    assert_int_equal(rng_permutation(7, again, 1000), 0);
    assert_memory_equal(order, again, sizeof order);
    for (int i = 0; i < 1000; i++) {
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
    }
}

static atomic_int runs[1000];
static void count_task(void *arg, int64_t task, int worker)
{
    assert_true(worker >= 0 && worker < *(int *)arg);
    atomic_fetch_add(&runs[task], 1);
}

static void test_pool_runs_each_task_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        struct pool *pool;
        assert_int_equal(pool_open(&pool, threads, &why), 0);
        assert_int_equal(pool_threads(pool), threads);
        for (int tasks = 0; tasks < 200; tasks++) {
            memset(runs, 0, sizeof runs);
            pool_run(pool, tasks, count_task, &threads);
            for (int i = 0; i < 1000; i++)
                assert_int_equal(atomic_load(&runs[i]), i < tasks);
        }
        pool_close(pool);
    }
    pool_close(NULL);
}

static volatile sig_atomic_t was_on_its_stack;
static void look_at_stack(int number)
{
    stack_t now;
    was_on_its_stack = number == SIGHUP && !sigaltstack(NULL, &now) && now.ss_flags & SS_ONSTACK;
}

static atomic_int blocked[2], seen_by[2];
static void look_at_mask(void *arg, int64_t task, int worker)
{
    sigset_t set;
    (void)arg, (void)task;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    atomic_store(&blocked[worker], sigismember(&set, SIGTERM));
    atomic_fetch_add(&seen_by[worker], 1);
    for (int i = 0; i < 10000 && !atomic_load(&seen_by[!worker]); i++)
        usleep(100); /* until the other thread has taken a task */
}

/* oneDNN's sgemm uses the stack pointer as a general register. So a signal that interrupts a matrix
 * product must run on a stack of its own. */
static void test_signals_run_on_the_main_thread_with_their_own_stack(void **state)
{
    (void)state;
    struct pool *pool;
    signal_handle(SIGHUP, look_at_stack, true);
    raise(SIGHUP);
    assert_true(was_on_its_stack);
    signal(SIGHUP, SIG_DFL);
    assert_int_equal(pool_open(&pool, 2, &why), 0);
    pool_run(pool, 2, look_at_mask, NULL);
    assert_true(atomic_load(&seen_by[0]) && atomic_load(&seen_by[1]));
    assert_int_equal(atomic_load(&blocked[0]), 0);
    assert_int_equal(atomic_load(&blocked[1]), 1);
    pool_close(pool);
}

/* Tasks of very unequal length run on more threads than there are CPUs. The caller sleeps until the
 * last task is done. */
static void dawdle(void *arg, int64_t task, int worker)
{
    (void)worker;
    if (task % 16 == 15) usleep(500);
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void test_pool_of_more_threads_than_cpus_ends_each_job(void **state)
{
    (void)state;
    struct pool *pool;
    atomic_int count = 0;
    assert_int_equal(pool_open(&pool, 32, &why), 0);
    for (int job = 0; job < 200; job++)
        pool_run(pool, 64, dawdle, &count);
    assert_int_equal(count, 200 * 64);
    pool_close(pool);
    assert_int_equal(pool_open(&pool, POOL_THREADS_MAX + 1, &why), -1);
    assert_int_equal(why.status, STATUS_USAGE);
}

static void test_an_ignored_signal_stays_ignored(void **state)
{
    (void)state;
    signal(SIGUSR1, SIG_IGN);
    was_on_its_stack = 0;
    assert_false(signal_handle(SIGUSR1, look_at_stack, true));
    signals_handle_ends(look_at_stack, true);
    raise(SIGUSR1);
    assert_true(signal(SIGUSR1, SIG_DFL) == SIG_IGN);
    assert_true(signal(SIGUSR2, SIG_DFL) == look_at_stack);
    assert_true(signal(SIGXCPU, SIG_DFL) == look_at_stack);
    assert_true(signal(SIGHUP, SIG_DFL) == look_at_stack);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGQUIT, SIG_DFL);
}

enum { MAPPED_BYTES = 1 << 20 };
static const void *mapped;

static void tell_mapped(const void *address)
{
    const char *name = mapped_name(address);
    _exit(name && !strcmp(name, scratch_file) ? 42 : 43);
}

static void read_mapped(void *arg, int64_t task, int worker)
{
    (void)arg;
    if (worker == 1) mapped_fault_in(mapped, MAPPED_BYTES);
    while (worker == 0 && task == 0)
        pause(); /* until the other thread's fault ends the program */
}

static void read_shrunk(bool by_worker, bool by_kernel)
{
    struct pool *pool;
    int fd = open(scratch_file, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || ftruncate(fd, MAPPED_BYTES)) _exit(1);
    mapped_close(mapped_open(fd, MAPPED_BYTES, "another", &why), MAPPED_BYTES);
    mapped = mapped_open(fd, MAPPED_BYTES, scratch_file, &why);
    if (!mapped || mapped_name(mapped) == NULL || mapped_name(&fd)) _exit(1);
    signals_begin();
    signals_handle_bus(mapped_fill, tell_mapped);
    if (ftruncate(fd, 4096)) _exit(1);
    if (by_kernel) {
        struct output out;
        if (!output_open(&out, "/dev/null", &why) && dup2(fd, out.fd) >= 0 &&
            lseek(out.fd, 0, SEEK_SET) == 0)
            (void)!output_write(&out, mapped, MAPPED_BYTES, &why);
    } else if (by_worker) {
        if (!pool_open(&pool, 2, &why)) pool_run(pool, 2, read_mapped, NULL);
    } else {
        mapped_fault_in(mapped, MAPPED_BYTES);
    }
    _exit(0);
}

/* The shortened file is read by the main thread, by another thread, and by the kernel during a
 * write(). */
static void test_a_mapped_file_that_shrinks_is_named(void **state)
{
    (void)state;
    for (int by = 0; by < 3; by++) {
        int status;
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) read_shrunk(by == 1, by == 2);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 42);
    }
    unlink(scratch_file);
}

static void touch_in_turn(void *arg, int64_t task, int worker)
{
    (void)arg;
    (void)worker;
    mapped_fault_in((const char *)mapped + task * (MAPPED_BYTES / 64), MAPPED_BYTES / 64);
}

/* Returns from the child process with the number of the first check that fails, or 0. */
static int survive_shrinking(void)
{
    struct pool *pool;
    char name[4096] = "", page[4096];
    int fd = open(scratch_file, O_RDWR | O_CREAT | O_TRUNC, 0600);
    memset(page, 1, sizeof page);
    if (fd < 0 || write(fd, page, sizeof page) < 0 || ftruncate(fd, MAPPED_BYTES)) return 1;
    mapped = mapped_open(fd, MAPPED_BYTES, scratch_file, &why);
    if (!mapped || pool_open(&pool, 4, &why)) return 2;
    signals_begin();
    signals_handle_bus(mapped_fill, tell_mapped);
    mapped_survive(true);
    touch_in_turn(NULL, 0, 0);
    if (mapped_find_lost(name, sizeof name) || mapped_check(&why)) return 3;
    if (ftruncate(fd, 4096)) return 4;
    pool_run(pool, 64, touch_in_turn, NULL);
    pool_close(pool);
    for (int64_t i = 0; i < MAPPED_BYTES; i++)
        if (((const char *)mapped)[i]) return 5;
    if (!mapped_find_lost(name, sizeof name) || strcmp(name, scratch_file) != 0) return 6;
    if (!mapped_check(&why)) return 7;
    mapped_close(mapped, MAPPED_BYTES);
    if (mapped_find_lost(name, sizeof name) || mapped_check(&why)) return 8;
    /* A new mapping of the file is not lost, and ends the program as usual. */
    if (ftruncate(fd, MAPPED_BYTES)) return 9;
    mapped = mapped_open(fd, MAPPED_BYTES, scratch_file, &why);
    if (!mapped || mapped_find_lost(name, sizeof name)) return 10;
    mapped_survive(false);
    if (ftruncate(fd, 4096)) return 11;
    mapped_fault_in(mapped, MAPPED_BYTES);
    return 12;
}

static const char *const changing_names[] = { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                              "bbbbbbbbbbbbbbbbbbbb" };

/* Maps a file under changing names, and loses it each time. */
static void *map_and_lose(void *unused)
{
    (void)unused;
    int fd = open(scratch_file, O_RDWR | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0 && !ftruncate(fd, 4096));
    for (int i = 0; i < 20000; i++) {
        struct fail ignored;
        const void *at = mapped_open(fd, 4096, changing_names[i % 2], &ignored);
        must(at && mapped_fill(at));
        mapped_close(at, 4096);
    }
    close(fd);
    return NULL;
}

/* Entries of the list of mappings are reused. The name that is found is never that of a freed one.
 */
static void test_lost_files_are_named_while_others_are_mapped(void **state)
{
    (void)state;
    pthread_t thread;
    char name[256];
    int found = 0;
    mapped_survive(true);
    assert_int_equal(pthread_create(&thread, NULL, map_and_lose, NULL), 0);
    while (pthread_tryjoin_np(thread, NULL)) {
        if (!mapped_find_lost(name, sizeof name)) continue;
        found++;
        if (strcmp(name, changing_names[0]) != 0 && strcmp(name, changing_names[1]) != 0)
            fail_msg("'%s'", name);
    }
    mapped_survive(false);
    assert_true(found > 0);
}

/* Adds a byte to a file. Its time of modification becomes a later one. */
static void add_byte(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND);
    struct timespec later[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = INT32_MAX } };
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(futimens(fd, later), 0);
    close(fd);
}

/* A mapped file is watched under whatever name it has, and another file with its name is not. */
static void test_a_mapped_file_is_watched_wherever_it_is_moved(void **state)
{
    (void)state;
    char moved[256], name[256];
    snprintf(moved, sizeof moved, "%s.moved", scratch_file);
    for (int is_removed = 0; is_removed < 2; is_removed++) {
        scratch_store(scratch_file, (const unsigned char *)"abc", 3);
        int fd = open(scratch_file, O_RDONLY);
        const void *at = mapped_open(fd, 3, scratch_file, &why);
        assert_non_null(at);
        close(fd);
        assert_int_equal(rename(scratch_file, moved), 0);
        scratch_store(scratch_file, (const unsigned char *)"other", 5);
        add_byte(scratch_file);
        assert_int_equal(mapped_check(&why), 0);
        if (is_removed)
            unlink(moved);
        else
            add_byte(moved);
        assert_int_equal(mapped_check(&why), is_removed ? 0 : -1);
        if (!is_removed) assert_true(mapped_find_touched(name, sizeof name));
        mapped_close(at, 3);
        assert_int_equal(mapped_check(&why), 0);
        assert_false(mapped_find_touched(name, sizeof name));
    }
    unlink(moved);
    unlink(scratch_file);
}

/* With mapped_survive, threads that read a shortened file read zeros, and the file is named. */
static void test_a_mapped_file_that_shrinks_becomes_zeros(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) _exit(survive_shrinking());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    unlink(scratch_file);
}

static void test_control_characters_are_masked_in_messages(void **state)
{
    (void)state;
    static const struct {
        const char *text, *masked;
    } cases[] = {
        { "plain \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
          "plain \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
        { "a\tb\r\x1b[31mc\x7f", "a?b??[31mc?" },
        { "\xc2\x80\xc2\x9b\x33\x31m\xc2\x9f\xc2\xa0", "??31m?\xc2\xa0" },
        { "\xe2\x80\x8b\xe2\x80\x8e\xe2\x80\x8f\xe2\x80\x90", "???\xe2\x80\x90" },
        { "\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa\xe2\x80\xae\xe2\x80\xaf", "????\xe2\x80\xaf" },
        { "\xe2\x81\xa6\xe2\x81\xa9\xd8\x9c\xef\xbb\xbf\xc2\xad", "?????" },
        { "\xf3\xa0\x81\x81", "?" }, /* a tag character */
        { "\xff\xc3(\xe2\x82|\xc0\x80|\xed\xa0\x80", "?"
                                                     "?(?"
                                                     "?|?"
                                                     "?|?"
                                                     "?"
                                                     "?" }, /* not valid UTF-8 */
        { "cut \xe2\x82", "cut ??" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        size_t length = strlen(cases[i].text);
        memcpy(text, cases[i].text, length + 1);
        length = message_mask(text, length);
        assert_int_equal(length, strlen(cases[i].masked));
        assert_memory_equal(text, cases[i].masked, length);
    }
    assert_int_equal(message_fit("abc", 3, 2), 2);
    assert_int_equal(message_fit("a\xc3\xa4\xc3\xa4", 5, 2), 3);
    assert_int_equal(message_fit("a\xe4\xb8\xad\xe4\xb8\xad", 7, 4), 4); /* wide characters */
    assert_int_equal(message_fit("abc", 3, 0), 0);
}

/* Characters that a terminal would obey are written as JSON escapes, and bytes that are not UTF-8
 * as U+FFFD. Everything else stays unchanged: tabs, newlines, joiners and every script. A text that
 * is written in pieces gives the same result. */
static void test_control_characters_are_escaped_for_a_terminal(void **state)
{
    (void)state;
    static const char from[] =
        "a\t\n\r\x1b[31m\x7f\xc2\x9b\xe2\x80\xae\xe2\x81\xa6\xd8\x9c\xe2\x80\x8d"
        "\xd7\x90\xe4\xb8\xad\xf0\x9f\x98\x80\xff\xe2\x82";
    static const char shown[] =
        "a\t\n\\u000d\\u001b[31m\\u007f\\u009b\\u202e\\u2066\\u061c\xe2\x80\x8d"
        "\xd7\x90\xe4\xb8\xad\xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd";
    for (size_t capacity = 16; capacity < 256; capacity++) {
        char all[256], piece[256];
        size_t used = 0;
        for (size_t at = 0, taken; at < sizeof from - 1; at += taken) {
            size_t length =
                message_escape(from + at, sizeof from - 1 - at, &taken, piece, capacity);
            assert_true(taken && length <= capacity);
            memcpy(all + used, piece, length);
            used += length;
        }
        assert_int_equal(used, sizeof shown - 1);
        assert_memory_equal(all, shown, used);
    }
}

static void test_sizes_are_never_shown_as_zero(void **state)
{
    (void)state;
    assert_string_equal(size_binary(0).at, "0 bytes");
    assert_string_equal(size_binary(1).at, "1 byte");
    assert_string_equal(size_binary(1023).at, "1023 bytes");
    assert_string_equal(size_binary(1024).at, "1.00 KiB");
    assert_string_equal(size_binary(1024 * 1024 - 1).at, "1.00 MiB");
    assert_string_equal(size_binary(3.6 * (1 << 30)).at, "3.60 GiB");
    assert_string_equal(size_text(1e9 - 1).at, "1.00 GB");
}

static void test_messages_have_final_names_for_temporary_ones(void **state)
{
    (void)state;
    fail_with(&why, STATUS_FAILED, "%s: cannot write", "out/.longqlora-1.2/a");
    fail_rename(&why, "out/.longqlora-1.2", "out");
    assert_string_equal(why.text, "out/a: cannot write");
    fail_rename(&why, "elsewhere", "x");
    assert_string_equal(why.text, "out/a: cannot write");
    char name[] = "a\xff\xc3\xa4\xc3";
    utf8_mend(name);
    assert_string_equal(name, "a?\xc3\xa4?");
}

/* The paths have up to 9000 bytes and consist of two-byte characters. The message must contain the
 * reason, and no half of a character. */
static void test_a_long_path_keeps_the_reason(void **state)
{
    (void)state;
    for (size_t length = 0; length<9000; length += length> 200 && length < 4000 ? 97 : 1) {
        char path[9001];
        for (size_t i = 0; i < length; i++)
            path[i] = i % 2 ? '\xa4' : '\xc3';
        path[length / 2 * 2] = 0;
        fail_with(&why, STATUS_FAILED, "%s: %s", path, "No such file or directory");
        size_t n = strlen(why.text);
        assert_true(n < sizeof why.text && n + 4 > (length < 440 ? length : 440));
        assert_string_equal(why.text + n - 27, ": No such file or directory");
        assert_int_equal(message_mask(why.text, n), n);
        assert_null(strchr(why.text, '?'));
        assert_true(length < 2 || !memcmp(why.text, "\xc3\xa4", 2));
        fail_prefix(&why, path);
        n = strlen(why.text);
        assert_true(n < sizeof why.text);
        assert_string_equal(why.text + n - 25, "No such file or directory");
        assert_int_equal(message_mask(why.text, n), n);
    }
}

static void test_json_is_strict(void **state)
{
    (void)state;
    static const char *const bad[] = { "{\"a\":1,\"a\":2}", "{\"a\":}", "[1,2", "",
                                       "{\"a\":\"\xff\"}" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(json_read_text(bad[i], strlen(bad[i]), "x.json", &why));
        assert_int_equal(why.status, STATUS_INPUT);
        assert_memory_equal(why.text, "x.json: line ", 13);
    }
    json_t *j = json_read_text("{\"n\":3,\"r\":0.5,\"f\":true,\"z\":null}", 33, "x", &why);
    int64_t n = 9;
    double r = 9;
    bool f = false;
    assert_int_equal(json_get_count(j, "n", 3, &n, &why), 0);
    assert_int_equal(json_get_count(j, "n", 2, &n, &why), -1);
    assert_int_equal(json_get_count(j, "r", 2, &n, &why), -1);
    assert_int_equal(json_get_real(j, "r", &r, &why) | json_get_real(j, "z", &r, &why), 0);
    assert_int_equal(json_get_real(j, "f", &r, &why), -1);
    assert_int_equal(json_get_flag(j, "f", &f, &why) | json_get_flag(j, "absent", &f, &why), 0);
    assert_int_equal(json_get_flag(j, "n", &f, &why), -1);
    assert_true(n == 3 && r == 0.5 && f);
    json_decref(j);
    assert_null(json_read_file("/nonexistent/x.json", &why));
}

static void test_utf8(void **state)
{
    (void)state;
    char text[4];
    for (uint32_t c = 1; c < 0x110000; c += 1 + c / 50) {
        size_t n = utf8_encode(c, text);
        bool is_surrogate = c >= 0xd800 && c < 0xe000;
        assert_int_equal(utf8_valid((unsigned char *)text, n), is_surrogate ? 0 : n);
        assert_int_equal(utf8_valid((unsigned char *)text, n - 1), 0);
    }
    static const char *const bad[] = { "\xc0\x80", "\xe0\x80\x80", "\xf8\x88\x80\x80", "\x80",
                                       "\xf4\x90\x80\x80" };
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(utf8_valid((const unsigned char *)bad[i], strlen(bad[i])), 0);
}

/* Makes a file of /proc or /sys under the scratch directory. */
static void make_system_file(const char *directory, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s%s", scratch_directory, directory);
    assert_int_equal(output_directory(path, &why), 0);
    snprintf(path, sizeof path, "%s%s/%s", scratch_directory, directory, name);
    assert_int_equal(output_text(path, text, &why), 0);
}

static void remove_system_files(void)
{
    char command[160];
    snprintf(command, sizeof command, "rm -r %s/proc %s/sys", scratch_directory, scratch_directory);
    assert_int_equal(system(command), 0);
}

/* The files are made one after the other. After each of them, the free memory must be `left`. */
static void test_free_memory_obeys_control_groups(void **state)
{
    (void)state;
    static const struct {
        const char *directory, *name, *text;
        uint64_t left;
    } steps[] = {
        { "/proc", "meminfo", "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n", 8192000 },
        /* Version 2: the job has no limit. Its parent group has 3 MB free and 1 MB of caches. */
        { "/proc/self", "cgroup", "5:cpu:/x\n0::/user/job\n", 8192000 },
        { "/sys/fs/cgroup/user/job", "memory.max", "max\n", 8192000 },
        { "/sys/fs/cgroup/user/job", "memory.current", "10\n", 8192000 },
        { "/sys/fs/cgroup/user", "memory.max", "5000000\n", 8192000 },
        { "/sys/fs/cgroup/user", "memory.current", "2000000\n", 3000000 },
        { "/sys/fs/cgroup/user", "memory.stat",
          "anon 5\ninactive_file 400000\nactive_file 600000\n", 4000000 },
        { "/sys/fs/cgroup/user/job", "memory.max", "7\n", 1 },
        /* Version 1, as a container sees it: the container's own group is mounted as the root. */
        { "/proc/self", "cgroup", "4:memory:/docker/0123\n0::/\n", 8192000 },
        { "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "6000000\n", 8192000 },
        { "/sys/fs/cgroup/memory", "memory.usage_in_bytes", "5500000\n", 500000 },
        { "/sys/fs/cgroup/memory", "memory.stat",
          "inactive_file 1\ntotal_inactive_file 2000000\ntotal_active_file 500000\n", 3000000 },
        { "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "9223372036854771712\n", 8192000 },
    };
    assert_int_equal(free_memory(scratch_directory), 0);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        make_system_file(steps[i].directory, steps[i].name, steps[i].text);
        assert_int_equal(free_memory(scratch_directory), steps[i].left);
    }
    remove_system_files();
}

/* The files are made one after the other. After each of them, the process may use `cpus` CPUs. */
static void test_usable_cpus_obey_control_groups(void **state)
{
    (void)state;
    static const struct {
        const char *directory, *name, *text;
        int cpus; /* 0: all CPUs */
    } steps[] = {
        { "/proc/self", "cgroup", "5:memory:/x\n0::/user/job\n", 0 },
        { "/sys/fs/cgroup/user/job", "cpu.max", "max 100000\n", 0 },
        { "/sys/fs/cgroup/user/job", "cpu.max", "900000000 100000\n", 0 },
        { "/sys/fs/cgroup/user", "cpu.max", "50000 100000\n", 1 },
        { "/sys/fs/cgroup/user", "cpu.max", "garbage\n", 0 },
        { "/sys/fs/cgroup/user", "cpu.max", "0 0\n", 0 },
        { "/sys/fs/cgroup", "cpu.max", "100000 100000\n", 1 },
        /* Version 1: the directory's name lists the controllers, or each controller has its own
         * link. */
        { "/proc/self", "cgroup", "4:cpuset:/\n3:cpu,cpuacct:/docker/0123\n0::/\n", 1 },
        { "/sys/fs/cgroup", "cpu.max", "max 100000\n", 0 },
        { "/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_quota_us", "-1\n", 0 },
        { "/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_period_us", "100000\n", 0 },
        { "/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_quota_us", "100000\n", 1 },
        { "/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_quota_us", "-1\n", 0 },
        { "/sys/fs/cgroup/cpu", "cpu.cfs_period_us", "100000\n", 0 },
        { "/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "1000\n", 1 },
        { "/sys/fs/cgroup/cpuset", "cpu.cfs_quota_us", "1000\n", 1 },
        { "/proc/self", "cgroup", "4:cpuset:/\n", 0 },
    };
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    int all = CPU_COUNT(&set);
    assert_int_equal(usable_cpus(scratch_directory), all);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        make_system_file(steps[i].directory, steps[i].name, steps[i].text);
        assert_int_equal(usable_cpus(scratch_directory), steps[i].cpus ? steps[i].cpus : all);
    }
    remove_system_files();
}

static void test_vocabularies(void **state)
{
    (void)state;
    const uint32_t ids[] = { 3, 9, 10, 11 };
    static const struct vocabulary model = { "the model", "ab", 10, NULL, 0 };
    static const struct vocabulary unknown = { "the model", "", 0, NULL, 0 };
    const struct {
        struct vocabulary tokens;
        const char *text;
    } rows[] = {
        { { NULL, "ab", 10, NULL, 0 }, NULL },
        { { NULL, "", 10, NULL, 0 }, NULL },
        { { NULL, NULL, 0, ids, 2 }, NULL },
        /* a larger vocabulary does not matter if no token is outside the model's vocabulary */
        { { NULL, "ab", 12, ids, 2 }, NULL },
        { { NULL, "ab", 12, NULL, 0 },
          "its vocabulary has 12 tokens, but that of the model has 10: go" },
        { { NULL, "ab", 12, ids, 4 },
          "token 2 is 10, but the vocabulary of the model has only 10 tokens: go" },
        { { NULL, "cd", 12, ids, 4 }, "its tokenizer is cd, but that of the model is ab: go" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        why.text[0] = 0;
        assert_int_equal(vocabulary_check(&rows[i].tokens, &model, "go", &why),
                         rows[i].text ? -1 : 0);
        assert_string_equal(why.text, rows[i].text ? rows[i].text : "");
        assert_int_equal(vocabulary_check(&rows[i].tokens, &unknown, "go", &why), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_precision_round_trip),
        cmocka_unit_test(test_half_precision_rounding),
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_pool_runs_each_task_once),
        cmocka_unit_test(test_signals_run_on_the_main_thread_with_their_own_stack),
        cmocka_unit_test(test_pool_of_more_threads_than_cpus_ends_each_job),
        cmocka_unit_test(test_an_ignored_signal_stays_ignored),
        cmocka_unit_test(test_a_mapped_file_that_shrinks_is_named),
        cmocka_unit_test(test_a_mapped_file_that_shrinks_becomes_zeros),
        cmocka_unit_test(test_lost_files_are_named_while_others_are_mapped),
        cmocka_unit_test(test_a_mapped_file_is_watched_wherever_it_is_moved),
        cmocka_unit_test(test_control_characters_are_masked_in_messages),
        cmocka_unit_test(test_a_long_path_keeps_the_reason),
        cmocka_unit_test(test_control_characters_are_escaped_for_a_terminal),
        cmocka_unit_test(test_sizes_are_never_shown_as_zero),
        cmocka_unit_test(test_messages_have_final_names_for_temporary_ones),
        cmocka_unit_test(test_usable_cpus_obey_control_groups),
        cmocka_unit_test(test_free_memory_obeys_control_groups),
        cmocka_unit_test(test_json_is_strict),
        cmocka_unit_test(test_vocabularies),
        cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
