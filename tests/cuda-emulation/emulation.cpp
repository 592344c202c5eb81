/* The run time of the emulation: fibers, meeting points, shadow memory. It is compiled without
 * -fsanitize=thread.
 *
 * EMULATION_ORDER=descending|random changes the order in which blocks, and the threads of a block,
 * run; results must not change. EMULATION_PROTECT=1: the host cannot reach the device's memory, as
 * with a real device.
 */
#include "tests/cuda-emulation/emulation.h"

#include "tests/cuda-emulation/nccl.h"

#include <csignal>
#include <dlfcn.h>
#include <map>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>
#include <xmmintrin.h>

#define INLINE static inline __attribute__((always_inline))
/* For calls that are rare. If the compiler put them into the functions that are called at every
 * load and store, these would save six registers each time. */
#define APART static __attribute__((noinline))

enum state { RUNS, AT_BLOCK, AT_WARP, ENDED };
enum operation { NONE, LDMATRIX, LDMATRIX_TRANS, MMA, SHUFFLE, PRODUCTS };
enum { STACK = 64 << 10, MOST_THREADS = 1024, SHARED_MOST = 227 << 10, REPORTS = 8 };
enum { PRODUCT_COLUMNS = 256 }; /* the most columns of one warpgroup product */
/* Freed memory is not used again, so the arena holds all that a test program ever allocates. */
static const size_t arena_bytes = (size_t)1 << 34, gap = 4096;

struct copy {
    void *to;
    const void *from;
    size_t size;
    bool valid;
};

/* One lane's part of a warpgroup's product d[64, n], whose rows belong to four warps. */
struct warpgroup_product {
    float (*d)[4];
    int n;
    uint32_t a[4];
    uint64_t a_at, b_at;
    bool has_a, columns, adds;
};

struct fiber : emulated_thread {
    void *stack_pointer;
    char *stack;
    state s;
    int id, site;
    operation op;
    /* the operand that the lane brings to a meeting point */
    const void *in;
    void *out;
    uint32_t b[2];
    int mask;
    std::vector<copy> open;
    std::vector<std::vector<copy>> groups;
    std::vector<warpgroup_product> products;
    std::vector<std::vector<warpgroup_product>> product_groups;
    bool has_begun;
    int fenced; /* the last write that later warpgroup products may see */
};

emulated_thread *emulated_self;
dim3 emulated_grid, emulated_block;
unsigned char *emulated_shared;

static fiber *fibers;
static int thread_count, order[MOST_THREADS];
static void *main_stack;
static void (*body)(const void *);
static const void *argument;
static const char *kernel;
static size_t shared_bytes;
/* interval: number of barriers of the block so far; launch: number of launches so far */
static uint32_t interval, launch;
static int64_t block_number; /* of the block that runs, from 0 on */
static long reports;
static uint64_t random_state = 88172645463325252u;

/* Continues on the stack `to`. A later switch to *save continues here. The function is inline and
 * jumps, because the CPU predicts a return only where the call was made on the same stack. The code
 * around it may use the 128 bytes below its stack pointer. */
INLINE void switch_stack(void **save, void *to)
{
    asm volatile("lea -128(%%rsp), %%rsp\n\t"
                 "push %%rbp\n\t"
                 "push %%rbx\n\t"
                 "lea 1f(%%rip), %%rax\n\t"
                 "push %%rax\n\t"
                 "mov %%rsp, (%%rdi)\n\t"
                 "mov %%rsi, %%rsp\n\t"
                 "pop %%rax\n\t"
                 "jmp *%%rax\n"
                 "1:\n\t"
                 "pop %%rbx\n\t"
                 "pop %%rbp\n\t"
                 "lea 128(%%rsp), %%rsp"
                 : "+D"(save), "+S"(to)
                 :
                 : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc",
                   "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                   "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static fiber *self() { return static_cast<fiber *>(emulated_self); }

/* The order of a warp's lanes in one step: the i-th is lane (first + i · stride) mod lanes. Any odd
 * stride gives a permutation of 32 lanes. */
struct lane_order {
    int first, stride;
};
/* The warp whose lanes run one after the other, and how many of them have had their turn. */
static struct {
    fiber *warp;
    lane_order order;
    int lanes, turns, ended;
} step;

/* Returns the next lane that can run in this step, or NULL. */
INLINE fiber *next_lane()
{
    while (step.turns < step.lanes) {
        int at = step.order.first + step.turns++ * step.order.stride;
        fiber *f = step.warp + (step.lanes == 32 ? at & 31 : at % step.lanes);
        if (f->s == RUNS) return f;
    }
    return NULL;
}

/* Continues with the next lane, and after the last one with run_warp. A switch from lane to lane
 * costs less than two that go through run_warp: the CPU predicts its jump, because lanes stop at
 * the same place of the code. */
INLINE void pause_self()
{
    fiber *me = self(), *next = next_lane();
    emulated_self = next;
    switch_stack(&me->stack_pointer, next ? next->stack_pointer : main_stack);
}

static void fiber_main()
{
    body(argument);
    self()->s = ENDED;
    step.ended++;
    pause_self();
    abort();
}

APART void report(const char *what, const void *at, int size)
{
    if (reports++ < REPORTS)
        fprintf(stderr, "emulation: %s: block %u,%u thread %d: %s (%d bytes at %p)\n", kernel,
                self()->block_at.x, self()->block_at.y, self()->id, what, size, at);
}

static void write_digest();

/* Makes the test program fail at its end if anything was reported. */
static struct at_exit {
    ~at_exit()
    {
        write_digest();
        if (!reports) return;
        fprintf(stderr, "emulation: %ld reports\n", reports);
        _Exit(3);
    }
} closing;

emulated_balance::~emulated_balance()
{
    if (!open) return;
    fprintf(stderr, "emulation: %ld %s are left\n", open, what);
    _Exit(3);
}

/* ---- shadow memory ---- */

/* For each byte of shared memory: the stamp of its last write, the stamp of its last read, and the
 * number of its last write in this block. A stamp is interval · 2048 + thread. So each stamp of
 * this interval is at least the stamp of its thread 0. Each stamp of an earlier block is less than
 * any stamp of this block. Stamps are signed, because SSE2 only compares signed numbers. */
enum { STAMP_BITS = 11, SEVERAL = 2047, INTERVALS_MOST = 1 << 19 };
static int *shared_written, *shared_read;
static int *shared_number, shared_writes;
static int shared_first; /* the first stamp of this block */
static int stamp(int thread) { return (int)(interval << STAMP_BITS) + thread; }

/* A byte's allocation is looked up only if the byte is not written yet. */
enum byte_state : uint8_t { UNWRITTEN, WRITTEN };
/* size of each allocation, by its first address */
static std::map<unsigned char *, size_t> allocations;
enum { PAGE = 4096 };
/* The last write and the last read of each word of global memory, as launch · 2^32 + block. A word
 * is as large as an elem, because blocks may write neighbouring elements. */
#ifdef ELEM_F32
enum { WORD = 4 };
#else
enum { WORD = 2 };
#endif
struct word_cell {
    int64_t write, read;
};
/* The device's memory grows from the start of the arena. The host's pinned memory grows from its
 * middle. A block's shared memory comes after its end, so that one comparison shows that an address
 * is in none of them. */
static unsigned char *arena, *arena_end, *host_arena_end;
static byte_state *bytes_shadow;
static word_cell *words_shadow;
static bool *page_is_written;

static void *reserve(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) abort();
    return at;
}

/* ---- memory that the host may reach ---- */

static void protect(int access)
{
    static const bool is_asked = getenv("EMULATION_PROTECT") != NULL;
    size_t bytes = (size_t)(arena_end - arena + 4095) / 4096 * 4096;
    if (is_asked && bytes && mprotect(arena, bytes, access)) abort();
}

static int accesses;
emulated_access::emulated_access()
{
    if (!accesses++) protect(PROT_READ | PROT_WRITE);
}
emulated_access::~emulated_access()
{
    if (!--accesses) protect(PROT_NONE);
}

static void on_fault(int, siginfo_t *info, void *)
{
    unsigned char *at = (unsigned char *)info->si_addr;
    static const char text[] = "emulation: the host touches memory of the device\n";
    if (at >= arena && at < arena_end && write(2, text, sizeof text - 1) > 0) _exit(3);
    signal(SIGSEGV, SIG_DFL);
}

static void make_arena()
{
    if (arena) return;
    arena = arena_end = (unsigned char *)reserve(arena_bytes + SHARED_MOST + gap);
    emulated_shared = arena + arena_bytes;
    host_arena_end = arena + arena_bytes / 2;
    bytes_shadow = (byte_state *)reserve(arena_bytes);
    words_shadow = (word_cell *)reserve(arena_bytes / WORD * sizeof *words_shadow);
    page_is_written = (bool *)reserve(arena_bytes / PAGE);
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    if (getenv("EMULATION_PROTECT")) sigaction(SIGSEGV, &action, NULL);
}

static bool is_in_arena(const void *mem)
{
    return (const unsigned char *)mem >= arena && (const unsigned char *)mem < arena + arena_bytes;
}

static void mark(void *mem, size_t bytes, byte_state state)
{
    if (!is_in_arena(mem) || !bytes) return;
    size_t first = (size_t)((unsigned char *)mem - arena);
    memset((void *)(bytes_shadow + first), state, bytes);
    if (state == WRITTEN)
        memset(page_is_written + first / PAGE, true, (first + bytes - 1) / PAGE - first / PAGE + 1);
}

static bool is_allocated(const unsigned char *p)
{
    auto next = allocations.upper_bound((unsigned char *)p);
    if (next == allocations.begin()) return false;
    --next;
    return p < next->first + next->second;
}

/* A gap separates allocations, so that they never share a page. Large allocations are not filled,
 * because pages that nobody touches then cost nothing; the shadow still reports reads of unwritten
 * bytes. */
static cudaError_t take(unsigned char **end, unsigned char *most, void **mem, size_t bytes)
{
    enum { FILLED_MOST = 1 << 20 };
    if (bytes + gap > (size_t)(most - *end)) return cudaErrorMemoryAllocation;
    *mem = *end;
    *end += (bytes + gap + 255) / 256 * 256;
    emulated_access whole;
    if (bytes <= FILLED_MOST) memset(*mem, 0xff, bytes); /* NaN */
    allocations[(unsigned char *)*mem] = bytes;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **mem, size_t bytes)
{
    make_arena();
    return take(&arena_end, arena + arena_bytes / 2, mem, bytes);
}

cudaError_t cudaHostAlloc(void **mem, size_t bytes, unsigned)
{
    make_arena();
    cudaError_t error = take(&host_arena_end, arena + arena_bytes, mem, bytes);
    if (error == cudaSuccess) mark(*mem, bytes, WRITTEN); /* the writer is unknown */
    return error;
}

/* ---- digest of all written memory ---- */

/* EMULATION_DIGESTS names a file. One line with a digest (FNV-1a, by words) is added to it. The
 * digest covers the content of every allocation on the device when it is freed, or at the end. */
static uint64_t digest = 0xcbf29ce484222325u;

static void add_to_digest(unsigned char *mem, size_t bytes)
{
    static const bool is_asked = getenv("EMULATION_DIGESTS") != NULL;
    if (!is_asked) return;
    size_t first = (size_t)(mem - arena), end = (first + bytes) / 8 * 8;
    for (size_t at = first; at < end;) {
        size_t stop = min((at / PAGE + 1) * PAGE, end);
        for (; page_is_written[at / PAGE] && at < stop; at += 8)
            digest = (digest ^ *(const uint64_t *)(arena + at)) * 0x100000001b3u;
        at = stop;
    }
}

static void write_digest()
{
    const char *path = getenv("EMULATION_DIGESTS");
    FILE *out = path ? fopen(path, "a") : NULL;
    if (!out) return;
    emulated_access access;
    for (auto &a : allocations)
        if (a.first < arena_end) add_to_digest(a.first, a.second);
    fprintf(out, "%016llx\n", (unsigned long long)digest);
    fclose(out);
}

/* Gives the shadow's pages back to the system. Any later access to the memory is reported. */
static void forget(void *shadow, size_t first, size_t bytes)
{
    size_t from = first / PAGE * PAGE;
    madvise((char *)shadow + from, (first + bytes + PAGE - 1) / PAGE * PAGE - from, MADV_DONTNEED);
}

cudaError_t cudaFree(void *mem)
{
    auto a = allocations.find((unsigned char *)mem);
    if (!mem || a == allocations.end()) return cudaSuccess;
    emulated_access access;
    size_t first = (size_t)(a->first - arena), bytes = a->second;
    add_to_digest(a->first, bytes);
    forget(arena, first, bytes);
    forget(bytes_shadow, first, bytes);
    memset(page_is_written + first / PAGE, false, (first + bytes) / PAGE - first / PAGE + 1);
    allocations.erase(a);
    return cudaSuccess;
}

static void host_wrote(void *mem, size_t bytes) { mark(mem, bytes, WRITTEN); }

/* ---- the GPUs ---- */

static int current; /* the number of the GPU in use */

static int gpus()
{
    const char *asked = getenv("EMULATION_GPUS");
    return asked ? (int)strtol(asked, NULL, 10) : 1;
}

cudaError_t cudaGetDeviceCount(int *n) { return (*n = gpus()) ? cudaSuccess : cudaErrorNoDevice; }

cudaError_t cudaSetDevice(int device)
{
    if (device < 0 || device >= gpus()) return cudaErrorInvalidDevice;
    current = device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    if (device < 0 || device >= gpus()) return cudaErrorInvalidDevice;
    *p = {};
    const char *name = getenv("EMULATION_NAME");
    snprintf(p->name, sizeof p->name, "%s", name ? name : "emulated GPU");
    p->uuid.bytes[0] = (char)(device + 1);
    return cudaSuccess;
}

static void note_use()
{
    const char *path = getenv("EMULATION_USED");
    FILE *to = path ? fopen(path, "a") : NULL;
    if (!to) return;
    fprintf(to, "%d\n", current);
    fclose(to);
}

/* ---- streams: operations run at once, copies as late as possible ---- */

struct late_copy {
    void *to;
    const void *from;
    size_t bytes;
};
static std::vector<late_copy> late; /* all copies so far */
static size_t late_done;            /* how many of them have been done */
/* operations queued, and how many of them the copy stream waits for */
static uint64_t operations, operations_seen;
struct event {
    size_t copies;
    uint64_t operations, messages;
};
static std::vector<event> events;
static int streams; /* a device creates the stream of operations first, then the stream of copies */
static const cudaStream_t messages_stream = 1 << 20;
static bool is_of_copies(cudaStream_t stream) { return stream % 2; }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, int)
{
    if (!streams) note_use();
    *stream = streams++;
    return cudaSuccess;
}

static void make_copies(size_t count)
{
    emulated_access access;
    for (; late_done < count; late_done++) {
        const late_copy &c = late[late_done];
        emulated_write(c.to, c.from, c.bytes);
    }
}

static bool reads_pageable()
{
    const char *asked = getenv("EMULATION_PAGEABLE");
    return asked && *asked == '1';
}

static late_copy waiting; /* the last copy on the stream of operations; all earlier ones are done */

static void finish_waiting()
{
    if (!waiting.bytes) return;
    emulated_access access;
    emulated_write(waiting.to, waiting.from, waiting.bytes);
    waiting = {};
}

void emulated_queue()
{
    finish_waiting();
    operations++;
}

/* Products must read written bytes, too. */
void emulated_read(const void *from, size_t bytes)
{
    const unsigned char *p = (const unsigned char *)from;
    for (size_t i = 0; is_in_arena(p) && i < bytes; i++)
        if (bytes_shadow[p - arena + (long)i] != WRITTEN) {
            if (reports++ < REPORTS)
                fprintf(stderr,
                        "emulation: a product or a message reads what nobody wrote, at %p\n",
                        (const void *)(p + i));
            return;
        }
}

void emulated_write(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
    host_wrote(to, bytes);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (is_of_copies(stream))
        make_copies(late.size());
    else
        finish_waiting();
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = (int)events.size() + 1;
    events.push_back({ 0, 0, 0 });
    return cudaSuccess;
}

/* ---- messages: nccl.c moves them, and reaches the device's memory through these functions ---- */

static struct emulated_nccl *nccl;      /* NULL: no such library is open */
static uint64_t operations_of_messages; /* operations that the stream of messages waits for */

static void load_message(void *to, const void *from, size_t bytes)
{
    emulated_access access;
    emulated_read(from, bytes);
    memcpy(to, from, bytes);
}

static void store_message(void *to, const void *from, size_t bytes)
{
    emulated_access access;
    emulated_write(to, from, bytes);
}

/* Until it has come, what a message brings must not be read. */
static void begin_message(void *to, size_t bytes)
{
    emulated_access access;
    if (operations_of_messages < operations && reports++ < REPORTS)
        fprintf(stderr, "emulation: a message does not wait for the operations before it\n");
    if (!to) return;
    memset(to, 0xff, bytes);
    mark(to, bytes, UNWRITTEN);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, int, int)
{
    static const struct emulated_memory memory = { load_message, store_message, begin_message };
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_NOLOAD);
    void *found = library ? dlsym(library, "emulated_nccl_use") : NULL;
    if (found) nccl = ((emulated_nccl_function *)found)(&memory);
    *stream = messages_stream;
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    uint64_t wanted = events[(size_t)e - 1].messages;
    if (!nccl || !wanted) return cudaSuccess;
    nccl->move();
    return nccl->groups_moved >= wanted ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t stream)
{
    event *at = &events[(size_t)e - 1];
    *at = {};
    if (stream == messages_stream)
        at->messages = nccl ? nccl->groups_begun : 0;
    else if (is_of_copies(stream))
        at->copies = late.size();
    else
        at->operations = operations;
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t e, unsigned)
{
    if (stream == messages_stream)
        operations_of_messages = events[(size_t)e - 1].operations;
    else if (is_of_copies(stream))
        operations_seen = max(operations_seen, events[(size_t)e - 1].operations);
    else
        make_copies(events[(size_t)e - 1].copies);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream)
{
    emulated_access access;
    if (stream == messages_stream) {
        operations_of_messages = operations; /* the probe, before any device is open */
        emulated_write(to, from, bytes);
        return cudaSuccess;
    }
    if (is_of_copies(stream)) {
        if (operations_seen < operations && reports++ < REPORTS)
            fprintf(stderr, "emulation: a copy does not wait for the operations before it\n");
        memset(to, 0xff, bytes);
        mark(to, bytes, UNWRITTEN); /* reading before waiting for the copy is reported */
        late.push_back({ to, from, bytes });
        return cudaSuccess;
    }
    emulated_queue();
    if (reads_pageable())
        waiting = { to, from, bytes };
    else
        emulated_write(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *mem, int value, size_t bytes, cudaStream_t)
{
    emulated_access access;
    emulated_queue();
    memset(mem, value, bytes);
    host_wrote(mem, bytes);
    return cudaSuccess;
}

/* Says what is wrong with an access of shared memory. */
APART void report_shared(unsigned char *p, int size, bool writes)
{
    size_t at = (size_t)(p - emulated_shared);
    int first = stamp(0), mine = stamp(self()->id);
    for (size_t i = at; i < at + (size_t)size; i++) {
        if (!writes && shared_written[i] < shared_first) {
            report("shared memory that nobody wrote is read", p, size);
            shared_written[i] = shared_first;
        }
        if (shared_written[i] >= first && shared_written[i] != mine) {
            report("race: another thread wrote this since the last barrier", p, size);
            return;
        }
        if (writes && shared_read[i] >= first && shared_read[i] != mine) {
            report("race: another thread read this since the last barrier", p, size);
            return;
        }
    }
}

/* Four stamps or numbers that are compared and set at once. */
typedef int four __attribute__((vector_size(16), aligned(4), may_alias));

static inline bool is_any(int x) { return x != 0; }
/* Each element is 0 or −1. */
static inline bool is_any(four x) { return _mm_movemask_ps((__m128)x) != 0; }

/* Returns true if an access of the bytes from `at` on is a fault. T is int for one byte, and `four`
 * for four bytes. */
template <class T> INLINE bool is_fault(size_t at, int first, int mine, bool writes)
{
    T written = *(const T *)(shared_written + at), read = *(const T *)(shared_read + at);
    T wrong = (written >= first) & (written != mine);
    wrong |= writes ? (read >= first) & (read != mine) : written < shared_first;
    return is_any(wrong);
}

template <class T> INLINE void set_stamps(size_t at, int first, int mine, bool writes)
{
    T &written = *(T *)(shared_written + at), &read = *(T *)(shared_read + at);
    if (writes) {
        written = T{} + mine;
        *(T *)(shared_number + at) = T{} + shared_writes;
    } else {
        read = (read >= first) & (read != mine) ? T{} + (first + (int)SEVERAL) : T{} + mine;
    }
}

INLINE void touch_shared(unsigned char *p, int size, bool writes)
{
    size_t at = (size_t)(p - emulated_shared), end = at + (size_t)size;
    if (end > shared_bytes) {
        report("shared memory past its end", p, size);
        return;
    }
    int first = stamp(0), mine = first + self()->id;
    size_t fours = at + (size_t)size / 4 * 4;
    bool is_bad = false;
    for (size_t i = at; i < fours; i += 4)
        is_bad |= is_fault<four>(i, first, mine, writes);
    for (size_t i = fours; i < end; i++)
        is_bad |= is_fault<int>(i, first, mine, writes);
    shared_writes += writes;
    if (is_bad) {
        report_shared(p, size, writes);
        return;
    }
    for (size_t i = at; i < fours; i += 4)
        set_stamps<four>(i, first, mine, writes);
    for (size_t i = fours; i < end; i++)
        set_stamps<int>(i, first, mine, writes);
}

/* Accesses bytes that are unwritten or outside all allocations. Returns false if the access was
 * reported. */
static bool touch_unwritten(unsigned char *p, int size, bool writes)
{
    byte_state *b = bytes_shadow + (p - arena);
    for (int i = 0; i < size; i++) {
        if (b[i] == WRITTEN) continue;
        if (!is_allocated(p + i)) {
            report(writes ? "write outside of every allocation"
                          : "read outside of every allocation",
                   p, size);
            return false;
        }
        if (!writes) report("global memory that nobody wrote is read", p, size);
        b[i] = WRITTEN;
        page_is_written[(p + i - arena) / PAGE] = true;
    }
    return true;
}

INLINE bool all_written(const byte_state *b, int size)
{
    static const byte_state all[16] = { WRITTEN, WRITTEN, WRITTEN, WRITTEN, WRITTEN, WRITTEN,
                                        WRITTEN, WRITTEN, WRITTEN, WRITTEN, WRITTEN, WRITTEN,
                                        WRITTEN, WRITTEN, WRITTEN, WRITTEN };
    switch (size) {
    case 1:
        return *b == WRITTEN;
    case 2:
        return !memcmp(b, all, 2);
    case 4:
        return !memcmp(b, all, 4);
    case 8:
        return !memcmp(b, all, 8);
    case 16:
        return !memcmp(b, all, 16);
    default:
        return false;
    }
}

INLINE void touch_words(unsigned char *p, int size, bool writes)
{
    int64_t first = (int64_t)launch << 32, mine = first + block_number;
    word_cell *w = words_shadow + (p - arena) / WORD, *end = w + (size + WORD - 1) / WORD;
    for (; w < end; w++) {
        if (w->write >= first && w->write != mine) {
            report("race: another block of this launch wrote this word", p, size);
            return;
        }
        if (writes && w->read >= first && w->read != mine) {
            report("race: another block of this launch read this word", p, size);
            return;
        }
        (writes ? w->write : w->read) = mine;
    }
}

APART void touch_first(unsigned char *p, int size, bool writes)
{
    if (touch_unwritten(p, size, writes)) touch_words(p, size, writes);
}

INLINE void touch_global(unsigned char *p, int size, bool writes)
{
    if (all_written(bytes_shadow + (p - arena), size))
        touch_words(p, size, writes);
    else
        touch_first(p, size, writes);
}

INLINE void touch_inline(const void *mem, int size, bool writes)
{
    unsigned char *p = (unsigned char *)mem;
    size_t at = (size_t)(p - arena);
    if (at >= arena_bytes + SHARED_MOST + gap || !emulated_self) return;
    if (at >= arena_bytes)
        touch_shared(p, size, writes);
    else
        touch_global(p, size, writes);
}
static void touch(const void *at, int size, bool writes)
{
    if (size == 16)
        touch_inline(at, 16, writes);
    else
        touch_inline(at, size, writes);
}

void atomic_min(unsigned long long *at, unsigned long long value)
{
    *at = value < *at ? value : *at;
}

void atomic_max(uint32_t *at, uint32_t value) { *at = value > *at ? value : *at; }

static int shared_limit()
{
    const char *kib = getenv("EMULATION_SHARED");
    return kib ? (int)strtol(kib, NULL, 10) << 10 : SHARED_MOST;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr which, int device)
{
    if (device < 0 || device >= gpus()) return cudaErrorInvalidDevice;
    const char *capability = getenv("EMULATION_CAPABILITY");
    int tenfold = capability ? (int)strtol(capability, NULL, 10) : 90;
    *value = which == cudaDevAttrComputeCapabilityMajor   ? tenfold / 10
             : which == cudaDevAttrComputeCapabilityMinor ? tenfold % 10
             : which == cudaDevAttrPageableMemoryAccess   ? reads_pageable()
                                                          : shared_limit();
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *room, size_t *total)
{
    const char *bytes = getenv("EMULATION_MEMORY");
    for (int i = 0; bytes && i < current && strchr(bytes, ','); i++)
        bytes = strchr(bytes, ',') + 1;
    *room = *total = bytes ? strtoull(bytes, NULL, 10) : (size_t)1 << 32;
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int value)
{
    return value <= shared_limit() ? cudaSuccess : cudaErrorMemoryAllocation;
}

/* ---- meeting points ---- */

INLINE void meet(operation op, int site)
{
    self()->op = op;
    self()->site = site;
    self()->s = AT_WARP;
    pause_self();
}

void emulated_block_sync(int site)
{
    self()->site = site;
    self()->s = AT_BLOCK;
    pause_self();
}

double emulated_shuffle(double x, int mask, int site)
{
    double y;
    self()->in = &x;
    self()->out = &y;
    self()->mask = mask;
    meet(SHUFFLE, site);
    return y;
}

void emulated_ldmatrix(uint32_t *r, const void *row, bool transposed, int site)
{
    if ((uintptr_t)row % 16) report("a row of ldmatrix is not on 16 bytes", row, 16);
    touch_inline(row, 16, false);
    self()->in = row;
    self()->out = r;
    meet(transposed ? LDMATRIX_TRANS : LDMATRIX, site);
}

void emulated_mma(float *c, const uint32_t *a, uint32_t b0, uint32_t b1, int site)
{
    self()->in = a;
    self()->b[0] = b0;
    self()->b[1] = b1;
    self()->out = c;
    meet(MMA, site);
}

/* The destination is NaN until the wait that covers the copy. */
void emulated_copy(void *to, const void *from, size_t size, bool valid)
{
    if (((uintptr_t)to | (uintptr_t)from) % size)
        report("a copy is not on a multiple of its size", to, (int)size);
    if (valid) touch(from, (int)size, false);
    touch(to, (int)size, true);
    memset(to, 0xff, size);
    self()->open.push_back({ to, from, size, valid });
}

void emulated_commit()
{
    self()->groups.push_back(std::move(self()->open));
    self()->open.clear();
}

void emulated_wait(int pending)
{
    auto &groups = self()->groups;
    while ((int)groups.size() > pending) {
        for (const copy &c : groups.front()) {
            touch(c.to, (int)c.size, true);
            if (c.valid)
                memcpy(c.to, c.from, c.size);
            else
                memset(c.to, 0, c.size);
        }
        groups.erase(groups.begin());
    }
}

/* ---- warpgroup products ---- */

/* Returns the address of the element at row (or column of B) mn and step k of an operand that a
 * descriptor describes. */
static unsigned char *operand_at(uint64_t descriptor, bool columns, int mn, int k)
{
    uint32_t at = (uint32_t)(descriptor & 0x3fff) << 4;
    uint32_t leading = (uint32_t)(descriptor >> 16 & 0x3fff) << 4;
    uint32_t stride = (uint32_t)(descriptor >> 32 & 0x3fff) << 4;
    if (columns)
        at += (uint32_t)(mn / 64) * leading + (uint32_t)(mn % 64) * 2 + (uint32_t)(k / 8) * stride +
              (uint32_t)(k % 8) * 128;
    else
        at += (uint32_t)(mn / 8) * stride + (uint32_t)(mn % 8) * 128 + (uint32_t)k * 2;
    return emulated_shared + (at ^ (at >> 7 & 7) << 4);
}

/* Reports operand bytes that were written without a fence afterwards, which a product need not
 * see. */
static void touch_operand(uint64_t descriptor, bool columns, int first, int count)
{
    int wide = columns ? 16 : count, deep = columns ? count : 16;
    if (descriptor >> 62 != 1) report("an operand without the 128-byte swizzle", NULL, 0);
    for (int i = 0; i < wide; i++)
        for (int j = 0; j < deep; j += 8) {
            unsigned char *at = columns ? operand_at(descriptor, true, first + j, i)
                                        : operand_at(descriptor, false, first + i, j);
            touch_inline(at, 16, false);
            size_t i = (size_t)(at - emulated_shared);
            if (i + 16 <= shared_bytes &&
                shared_number[i] > fibers[shared_written[i] & (MOST_THREADS - 1)].fenced)
                report("a product reads what no fence showed to it", at, 16);
        }
}

static void touch_operands(const warpgroup_product &p)
{
    if (!p.has_a) touch_operand(p.a_at, false, self()->id / 32 % 4 * 16, 16);
    touch_operand(p.b_at, p.columns, 0, p.n);
}

void emulated_wgmma(float (*d)[4], int n, const uint32_t *a, uint64_t a_at, uint64_t b_at,
                    bool columns, bool adds)
{
    warpgroup_product p = { d, n, {}, a_at, b_at, a != NULL, columns, adds };
    if (a) memcpy(p.a, a, sizeof p.a);
    if (!self()->has_begun) report("a product before products_begin", NULL, 0);
    if (self()->id % 32 == 0) touch_operands(p);
    self()->products.push_back(p);
}

void emulated_products_begin() { self()->has_begun = true; }

void emulated_products_commit()
{
    self()->product_groups.push_back(std::move(self()->products));
    self()->products.clear();
}

void emulated_shared_to_products() { self()->fenced = shared_writes; }

void emulated_products_wait(int pending, int site)
{
    self()->mask = pending;
    /* the sums may be read now, and products_begin must come before the next product */
    self()->has_begun = false;
    meet(PRODUCTS, site);
}

static float half(uint32_t word, int which)
{
#ifdef ELEM_F16
    return half_as_float((uint16_t)(which ? word >> 16 : word));
#else
    return bits_as_float(which ? word & 0xffff0000 : word << 16);
#endif
}

/* sum += a · b, of `columns` columns. This loop takes much of the tests' time, so it is compiled
 * for several instruction sets. Products of two 16-bit numbers are exact in double, so the sums
 * have the same bits with and without fused multiply-add. */
template <int COLUMNS>
INLINE void add_product(double (*sum)[COLUMNS], const double (*a)[16], const double (*b)[COLUMNS],
                        int columns)
{
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < 16; k++)
            for (int n = 0; n < columns; n++)
                sum[row][n] += a[row][k] * b[k][n];
}
#define FOR_SEVERAL_CPUS __attribute__((target_clones("avx512f", "avx2", "default")))
FOR_SEVERAL_CPUS static void add_mma(double (*sum)[8], const double (*a)[16], const double (*b)[8])
{
    add_product<8>(sum, a, b, 8);
}
FOR_SEVERAL_CPUS static void add_wgmma(double (*sum)[PRODUCT_COLUMNS], const double (*a)[16],
                                       const double (*b)[PRODUCT_COLUMNS], int columns)
{
    add_product<PRODUCT_COLUMNS>(sum, a, b, columns);
}

static void do_mma(fiber *warp)
{
    double a[16][16], b[16][8], sum[16][8] = {};
    for (int lane = 0; lane < 32; lane++) {
        int g = lane / 4, t = lane % 4;
        const uint32_t *from = (const uint32_t *)warp[lane].in;
        for (int i = 0; i < 4; i++)
            for (int h = 0; h < 2; h++)
                a[g + i % 2 * 8][2 * t + h + i / 2 * 8] = (double)half(from[i], h);
        for (int i = 0; i < 2; i++)
            for (int h = 0; h < 2; h++)
                b[2 * t + h + i * 8][g] = (double)half(warp[lane].b[i], h);
    }
    add_mma(sum, a, b);
    for (int lane = 0; lane < 32; lane++)
        for (int e = 0; e < 4; e++) {
            float *c = (float *)warp[lane].out + e;
            *c = (float)(sum[lane / 4 + e / 2 * 8][lane % 4 * 2 + e % 2] + (double)*c);
        }
}

static void do_ldmatrix(fiber *warp, bool transposed)
{
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            uint32_t word = 0;
            for (int h = 0; h < 2; h++) {
                int row = transposed ? lane % 4 * 2 + h : lane / 4;
                int column = transposed ? lane / 4 : lane % 4 * 2 + h;
                word |= (uint32_t)((const uint16_t *)warp[8 * i + row].in)[column] << 16 * h;
            }
            ((uint32_t *)warp[lane].out)[i] = word;
        }
}

static float operand(uint64_t descriptor, bool columns, int mn, int k)
{
    uint16_t bits;
    memcpy(&bits, operand_at(descriptor, columns, mn, k), sizeof bits);
    return half(bits, 0);
}

/* Computes a warp's 16 rows of a product once all lanes have brought their parts. */
static void do_product(fiber *warp)
{
    const warpgroup_product &p = warp->product_groups.front().front();
    int first = warp->id / 32 % 4 * 16;
    double a[16][16], b[16][PRODUCT_COLUMNS], sum[16][PRODUCT_COLUMNS];
    touch_operands(p);
    for (int row = 0; row < 16 && !p.has_a; row++)
        for (int k = 0; k < 16; k++)
            a[row][k] = (double)operand(p.a_at, false, first + row, k);
    for (int lane = 0; lane < 32 && p.has_a; lane++)
        for (int i = 0; i < 4; i++)
            for (int h = 0; h < 2; h++)
                a[lane / 4 + i % 2 * 8][lane % 4 * 2 + h + i / 2 * 8] =
                    (double)half(warp[lane].product_groups.front().front().a[i], h);
    for (int n = 0; n < p.n; n++)
        for (int k = 0; k < 16; k++)
            b[k][n] = (double)operand(p.b_at, p.columns, n, k);
    for (int lane = 0; lane < 32; lane++) {
        const warpgroup_product &mine = warp[lane].product_groups.front().front();
        if (mine.a_at != p.a_at || mine.b_at != p.b_at || mine.n != p.n)
            report("lanes of a warp ask for different products", NULL, 0);
        for (int i = 0; i < p.n / 8; i++)
            for (int e = 0; e < 4; e++)
                sum[lane / 4 + e / 2 * 8][i * 8 + lane % 4 * 2 + e % 2] =
                    mine.adds ? (double)mine.d[i][e] : 0;
    }
    add_wgmma(sum, a, b, p.n);
    for (int lane = 0; lane < 32; lane++) {
        const warpgroup_product &mine = warp[lane].product_groups.front().front();
        for (int i = 0; i < p.n / 8; i++)
            for (int e = 0; e < 4; e++)
                mine.d[i][e] = (float)sum[lane / 4 + e / 2 * 8][i * 8 + lane % 4 * 2 + e % 2];
        auto &group = warp[lane].product_groups.front();
        group.erase(group.begin());
    }
}

static void do_products(fiber *warp)
{
    emulated_self = warp;
    while ((int)warp->product_groups.size() > warp->mask) {
        while (!warp->product_groups.front().empty())
            do_product(warp);
        for (int lane = 0; lane < 32; lane++)
            warp[lane].product_groups.erase(warp[lane].product_groups.begin());
    }
    emulated_self = NULL;
}

static void do_shuffle(fiber *warp, int lanes)
{
    double x[32];
    for (int lane = 0; lane < lanes; lane++)
        x[lane] = *(const double *)warp[lane].in;
    for (int lane = 0; lane < lanes; lane++)
        *(double *)warp[lane].out = x[lane ^ warp[lane].mask];
}

static void do_together(fiber *warp, int lanes)
{
    switch (warp->op) {
    case MMA:
        do_mma(warp);
        break;
    case SHUFFLE:
        do_shuffle(warp, lanes);
        break;
    case PRODUCTS:
        do_products(warp);
        break;
    default:
        do_ldmatrix(warp, warp->op == LDMATRIX_TRANS);
        break;
    }
}

/* ---- launches ---- */

static uint64_t next_random()
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

static char order_asked() /* returns the first letter of EMULATION_ORDER: 'a', 'd' or 'r' */
{
    static const char *how = getenv("EMULATION_ORDER");
    return how ? *how : 'a';
}

/* Fills `to` with a permutation of 0 … n−1 as EMULATION_ORDER asks. */
static void put_in_order(int *to, int n)
{
    bool descends = order_asked() == 'd';
    for (int i = 0; i < n; i++)
        to[i] = descends ? n - 1 - i : i;
    if (order_asked() != 'r') return;
    for (int i = n - 1; i > 0; i--)
        std::swap(to[i], to[next_random() % (uint64_t)(i + 1)]);
}

static lane_order order_lanes(int lanes)
{
    if (order_asked() == 'd') return { lanes - 1, lanes - 1 };
    if (order_asked() != 'r' || lanes != 32) return { 0, 1 };
    uint64_t r = next_random();
    return { (int)(r >> 8 & 31), (int)(r >> 16 & 31) | 1 };
}

static void start_fiber(fiber *f, int id, dim3 block_at)
{
    f->id = id;
    f->s = RUNS;
    f->block_at = block_at;
    f->at = dim3((unsigned)id % emulated_block.x, (unsigned)id / emulated_block.x);
    f->open.clear();
    f->groups.clear();
    f->products.clear();
    f->product_groups.clear();
    f->has_begun = false;
    f->fenced = 0;
    /* Stacks begin at different cache lines, because equal offsets would all use the same few sets
     * of the cache. */
    void **top = (void **)(f->stack + STACK - 64 - id % 128 * 192);
    *--top = NULL;
    *--top = (void *)fiber_main;
    f->stack_pointer = top;
}

static bool run_warp(int first, int *left)
{
    int lanes = min(32, thread_count - first), waiting = 0;
    fiber *warp = fibers + first;
    step = { warp, order_lanes(lanes), lanes, 0, 0 };
    fiber *begin = next_lane();
    bool moved = begin != NULL;
    if (begin) {
        emulated_self = begin;
        switch_stack(&main_stack, begin->stack_pointer);
        *left -= step.ended;
    }
    for (int i = 0; i < lanes; i++)
        waiting += warp[i].s == AT_WARP;
    if (!waiting) return moved;
    bool agree = waiting == lanes;
    for (int i = 1; i < lanes && agree; i++)
        agree = warp[i].op == warp->op && warp[i].site == warp->site;
    if (!agree) {
        emulated_self = warp;
        report("the lanes of a warp do not meet at one operation", NULL, warp->site);
        _Exit(3);
    }
    do_together(warp, lanes);
    for (int i = 0; i < lanes; i++)
        warp[i].s = RUNS;
    return true;
}

static void pass_barrier(int left)
{
    int site = -1;
    if (left < thread_count) {
        emulated_self = fibers;
        report("a barrier that some threads have ended before", NULL, fibers->site);
    }
    for (int i = 0; i < thread_count; i++) {
        if (fibers[i].s != AT_BLOCK) continue;
        if (site >= 0 && fibers[i].site != site) {
            emulated_self = fibers + i;
            report("threads meet at different barriers", NULL, fibers[i].site);
        }
        site = fibers[i].site;
        fibers[i].s = RUNS;
    }
    emulated_self = NULL;
    interval++;
}

static void run_block(dim3 at)
{
    memset(emulated_shared, 0xff, shared_bytes);
    if (++interval > INTERVALS_MOST) {
        memset(shared_written, 0, SHARED_MOST * sizeof *shared_written);
        memset(shared_read, 0, SHARED_MOST * sizeof *shared_read);
        interval = 1;
    }
    shared_first = stamp(0);
    shared_writes = 0;
    block_number = at.x + (int64_t)emulated_grid.x * (at.y + (int64_t)emulated_grid.y * at.z);
    for (int i = 0; i < thread_count; i++)
        start_fiber(fibers + i, i, at);
    int warps = (thread_count + 31) / 32;
    put_in_order(order, warps);
    for (int left = thread_count; left;) {
        bool moved = false;
        int at_barrier = 0;
        for (int w = 0; w < warps; w++)
            while (run_warp(order[w] * 32, &left))
                moved = true;
        for (int i = 0; i < thread_count; i++)
            at_barrier += fibers[i].s == AT_BLOCK;
        if (left && at_barrier == left) {
            pass_barrier(left);
            moved = true;
        }
        if (moved) continue;
        fprintf(stderr, "emulation: %s: deadlock\n", kernel);
        _Exit(3);
    }
}

void emulated_run(const char *name, dim3 grid, dim3 block, size_t shared, void (*f)(const void *),
                  const void *of)
{
    emulated_access access;
    emulated_queue();
    static int have;
    kernel = name;
    emulated_grid = grid;
    emulated_block = block;
    body = f;
    argument = of;
    thread_count = (int)(block.x * block.y * block.z);
    shared_bytes = shared;
    launch++;
    if (!fibers) {
        fibers = new fiber[MOST_THREADS];
        make_arena();
        shared_written = (int *)calloc(SHARED_MOST, sizeof *shared_written);
        shared_read = (int *)calloc(SHARED_MOST, sizeof *shared_read);
        shared_number = (int *)calloc(SHARED_MOST, sizeof *shared_number);
    }
    if (thread_count > MOST_THREADS || shared > (size_t)shared_limit() || !grid.x ||
        grid.y > 65535 || grid.z > 65535) {
        fprintf(stderr,
                "emulation: %s: no device launches %u,%u,%u blocks of %d threads, %zu bytes\n",
                kernel, grid.x, grid.y, grid.z, thread_count, shared);
        _Exit(3);
    }
    for (; have < thread_count; have++)
        fibers[have].stack = (char *)reserve(STACK);
    std::vector<int> blocks((size_t)grid.x * grid.y * grid.z);
    put_in_order(blocks.data(), (int)blocks.size());
    for (int b : blocks)
        run_block(dim3((unsigned)b % grid.x, (unsigned)b / grid.x % grid.y,
                       (unsigned)b / grid.x / grid.y));
}

/* ---- functions that the compiler calls at every load and store ---- */

#define ACCESS(n)                                                                                  \
    extern "C" void __tsan_read##n(void *p) { touch_inline(p, n, false); }                         \
    extern "C" void __tsan_write##n(void *p) { touch_inline(p, n, true); }                         \
    extern "C" void __tsan_unaligned_read##n(void *p) { touch_inline(p, n, false); }               \
    extern "C" void __tsan_unaligned_write##n(void *p) { touch_inline(p, n, true); }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
extern "C" void __tsan_read_range(void *p, long n) { touch(p, (int)n, false); }
extern "C" void __tsan_write_range(void *p, long n) { touch(p, (int)n, true); }
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void *) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_vptr_update(void **, void *) {}
extern "C" void __tsan_vptr_read(void **) {}
