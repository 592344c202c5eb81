#include "lib/tensorfile/pickle.h"

#include "lib/common/buffer.h"
#include "lib/tensorfile/pickle_opcodes.h"

enum kind { NONE, TRUTH, INTEGER, TEXT, NAME, TUPLE, DICT, STORAGE, TENSOR };

/* What a global name in the pickle stands for. */
enum meaning { MAKES_DICT, MAKES_TENSOR, MAKES_PARAMETER, IS_STORAGE };

static const struct name {
    const char *module, *name;
    enum meaning meaning;
    enum dtype dtype; /* the element type of a storage */
} names[] = {
    { "collections", "OrderedDict", MAKES_DICT, DTYPE_U8 },
    { "torch._utils", "_rebuild_tensor_v2", MAKES_TENSOR, DTYPE_U8 },
    { "torch._utils", "_rebuild_parameter", MAKES_PARAMETER, DTYPE_U8 },
    { "torch", "FloatStorage", IS_STORAGE, DTYPE_F32 },
    { "torch", "HalfStorage", IS_STORAGE, DTYPE_F16 },
    { "torch", "BFloat16Storage", IS_STORAGE, DTYPE_BF16 },
    { "torch", "DoubleStorage", IS_STORAGE, DTYPE_F64 },
    { "torch", "LongStorage", IS_STORAGE, DTYPE_I64 },
    { "torch", "IntStorage", IS_STORAGE, DTYPE_I32 },
    { "torch", "ShortStorage", IS_STORAGE, DTYPE_I16 },
    { "torch", "CharStorage", IS_STORAGE, DTYPE_I8 },
    { "torch", "ByteStorage", IS_STORAGE, DTYPE_U8 },
    { "torch", "BoolStorage", IS_STORAGE, DTYPE_BOOL },
};

struct value {
    enum kind kind;
    /* TUPLE, TENSOR: the range of its items; DICT: its first and last pair */
    uint32_t first, count;
    /* INTEGER: the number; NAME: index in names; STORAGE: how many elements; TENSOR: its storage */
    int64_t integer;
    const char *text; /* TEXT: the text; STORAGE: its key; points into the pickle */
    uint32_t bytes;
    uint32_t name; /* STORAGE: index in names; TEXT: 1 once the text has named a tensor */
};
_Static_assert(PICKLE_VALUES_MAX == 4194304, "as a message says");

/* A dict's pairs form a linked list; next is 0 at its end. */
struct pair {
    uint32_t key, value, next;
};

/* An array that grows. Its elements are referred to by index, because they move when it grows. */
struct pickle_array {
    void *at;
    uint32_t count;
};

/* `items`, `stack` and `memo` hold indices of values, `marks` heights of the stack. */
struct machine {
    const unsigned char *bytes;
    size_t size, at;
    struct pickle_array values, items, pairs, stack, marks, memo;
    struct fail *why;
};

static struct value *value_at(const struct machine *m, uint32_t index)
{
    return (struct value *)m->values.at + index;
}
static struct pair *pair_at(const struct machine *m, uint32_t index)
{
    return (struct pair *)m->pairs.at + index;
}
static uint32_t number_at(const struct pickle_array *h, uint32_t index)
{
    return ((const uint32_t *)h->at)[index];
}

static int refuse(struct machine *m, const char *what)
{
    return fail_input(m->why, "byte %zu: %s", m->at, what);
}

/* Appends a zeroed element. */
static int extend(struct machine *m, struct pickle_array *h, size_t each)
{
    if (h->count == PICKLE_VALUES_MAX) return refuse(m, "more than 4194304 values");
    if (buffer_extend_sized(&h->at, h->count, each, m->why)) return -1;
    memset((char *)h->at + h->count++ * each, 0, each);
    return 0;
}

static int append(struct machine *m, struct pickle_array *h, uint32_t number)
{
    if (extend(m, h, sizeof number)) return -1;
    ((uint32_t *)h->at)[h->count - 1] = number;
    return 0;
}

static int push(struct machine *m, struct value v)
{
    if (extend(m, &m->values, sizeof v)) return -1;
    *value_at(m, m->values.count - 1) = v;
    return append(m, &m->stack, m->values.count - 1);
}

/* The height of the stack at the last mark. Values below it belong to enclosing objects. */
static uint32_t stack_bottom(const struct machine *m)
{
    return m->marks.count ? number_at(&m->marks, m->marks.count - 1) : 0;
}

static int pop(struct machine *m, uint32_t *index)
{
    if (m->stack.count <= stack_bottom(m)) return refuse(m, "the stack is empty");
    *index = number_at(&m->stack, --m->stack.count);
    return 0;
}

/* Sets *index to the last value of the stack, without removing it. It must be of that kind. */
static int top(struct machine *m, enum kind kind, uint32_t *index)
{
    if (m->stack.count <= stack_bottom(m)) return refuse(m, "the stack is empty");
    *index = number_at(&m->stack, m->stack.count - 1);
    if (value_at(m, *index)->kind != kind) return refuse(m, "a value of another kind is needed");
    return 0;
}

/* Removes the last mark. *first and *count become the range of values above it. */
static int pop_mark(struct machine *m, uint32_t *first, uint32_t *count)
{
    if (!m->marks.count) return refuse(m, "there is no mark");
    *first = number_at(&m->marks, --m->marks.count);
    *count = m->stack.count - *first;
    m->stack.count = *first;
    return 0;
}

static int make_tuple(struct machine *m, uint32_t first, uint32_t count)
{
    struct value v = { .kind = TUPLE, .first = m->items.count, .count = count };
    for (uint32_t i = 0; i < count; i++)
        if (append(m, &m->items, number_at(&m->stack, first + i))) return -1;
    m->stack.count = first;
    return push(m, v);
}

static int make_short_tuple(struct machine *m, uint32_t count)
{
    if (m->stack.count - stack_bottom(m) < count) return refuse(m, "the stack is empty");
    return make_tuple(m, m->stack.count - count, count);
}

/* Returns item i of a tuple if it is of that kind, and NULL otherwise. */
static struct value *item(const struct machine *m, const struct value *tuple, uint32_t i,
                          enum kind kind)
{
    if (tuple->kind != TUPLE || i >= tuple->count) return NULL;
    struct value *v = value_at(m, number_at(&m->items, tuple->first + i));
    return v->kind == kind ? v : NULL;
}

static int add_pair(struct machine *m, uint32_t owner, uint32_t key, uint32_t value)
{
    if (!m->pairs.count && extend(m, &m->pairs, sizeof(struct pair))) return -1;
    if (extend(m, &m->pairs, sizeof(struct pair))) return -1;
    uint32_t new = m->pairs.count - 1;
    *pair_at(m, new) = (struct pair){ key, value, 0 };
    struct value *v = value_at(m, owner);
    if (v->first)
        pair_at(m, v->count)->next = new;
    else
        v->first = new;
    v->count = new;
    return 0;
}

/* Adds to the dict on the stack the keys and values above it, from index `first` of the stack. */
static int set_items(struct machine *m, uint32_t first, uint32_t count)
{
    uint32_t owner;
    if (count % 2) return refuse(m, "a key has no value");
    if (top(m, DICT, &owner)) return -1;
    for (uint32_t i = first; i < first + count; i += 2)
        if (add_pair(m, owner, number_at(&m->stack, i), number_at(&m->stack, i + 1))) return -1;
    return 0;
}

static int set_item(struct machine *m)
{
    if (m->stack.count - stack_bottom(m) < 3) return refuse(m, "the stack is empty");
    m->stack.count -= 2;
    return set_items(m, m->stack.count, 2);
}

static int push_name(struct machine *m, const char *module, size_t module_bytes, const char *name,
                     size_t name_bytes)
{
    for (uint32_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].module) == module_bytes && strlen(names[i].name) == name_bytes &&
            !memcmp(names[i].module, module, module_bytes) &&
            !memcmp(names[i].name, name, name_bytes))
            return push(m, (struct value){ .kind = NAME, .integer = i });
    return fail_input(m->why, "byte %zu: it names %.*s.%.*s, which no tensor needs: refused", m->at,
                      module_bytes < 80 ? (int)module_bytes : 80, module,
                      name_bytes < 80 ? (int)name_bytes : 80, name);
}

static int push_stack_name(struct machine *m)
{
    uint32_t name, module;
    if (pop(m, &name) || pop(m, &module)) return -1;
    const struct value *n = value_at(m, name), *from = value_at(m, module);
    if (n->kind != TEXT || from->kind != TEXT) return refuse(m, "a name is not text");
    return push_name(m, from->text, from->bytes, n->text, n->bytes);
}

/* Makes a storage of the tuple ('storage', class, key, location, elements). */
static int push_storage(struct machine *m)
{
    uint32_t index;
    if (pop(m, &index)) return -1;
    const struct value *id = value_at(m, index), *word = item(m, id, 0, TEXT);
    const struct value *named = item(m, id, 1, NAME), *key = item(m, id, 2, TEXT);
    const struct value *count = item(m, id, 4, INTEGER);
    if (!word || word->bytes != 7 || memcmp(word->text, "storage", 7) != 0 || !named || !key ||
        !count || count->integer < 0 || names[named->integer].meaning != IS_STORAGE)
        return refuse(m, "a persistent value is no storage");
    return push(m, (struct value){ .kind = STORAGE,
                                   .integer = count->integer,
                                   .text = key->text,
                                   .bytes = key->bytes,
                                   .name = (uint32_t)named->integer });
}

/* Replaces a known call by the value that the call would return. Nothing is called. */
static int reduce(struct machine *m)
{
    uint32_t args_index, name_index;
    if (pop(m, &args_index) || pop(m, &name_index)) return -1;
    const struct value *args = value_at(m, args_index), *name = value_at(m, name_index);
    if (name->kind != NAME || args->kind != TUPLE) return refuse(m, "it calls an unknown function");
    switch (names[name->integer].meaning) {
    case MAKES_DICT:
        if (args->count) return refuse(m, "an OrderedDict has arguments");
        return push(m, (struct value){ .kind = DICT });
    case MAKES_TENSOR:
        if (!item(m, args, 0, STORAGE) || !item(m, args, 1, INTEGER) || !item(m, args, 2, TUPLE) ||
            !item(m, args, 3, TUPLE))
            return refuse(m, "a tensor lacks storage, offset, shape or strides");
        if (item(m, args, 6, DICT) && item(m, args, 6, DICT)->first) /* neg, conj */
            return refuse(m, "a view that torch negates or conjugates: store it resolved");
        return push(m, (struct value){ .kind = TENSOR, .first = args->first, .count = 4 });
    case MAKES_PARAMETER:
        if (!item(m, args, 0, TENSOR)) return refuse(m, "a parameter is no tensor");
        return push(m, *item(m, args, 0, TENSOR));
    default:
        return refuse(m, "it calls a storage, which is no function");
    }
}

static int need(struct machine *m, size_t bytes)
{
    return m->size - m->at < bytes ? refuse(m, "it ends inside a value (truncated?)") : 0;
}

static int read_number(struct machine *m, int bytes, uint64_t *number)
{
    if (need(m, (size_t)bytes)) return -1;
    *number = 0;
    for (int i = bytes; i-- > 0;)
        *number = *number << 8 | m->bytes[m->at + (size_t)i];
    m->at += (size_t)bytes;
    return 0;
}

static int push_integer(struct machine *m, int bytes, bool is_signed)
{
    uint64_t n;
    if (bytes > 8) return refuse(m, "an integer has more than 64 bits");
    if (read_number(m, bytes, &n)) return -1;
    if (is_signed && bytes && bytes < 8 && n >> (8 * bytes - 1)) n |= UINT64_MAX << (8 * bytes);
    return push(m, (struct value){ .kind = INTEGER, .integer = (int64_t)n });
}

static int push_long(struct machine *m)
{
    uint64_t bytes;
    if (read_number(m, 1, &bytes)) return -1;
    return push_integer(m, (int)bytes, true);
}

static int push_text(struct machine *m, int length_bytes)
{
    uint64_t bytes;
    if (read_number(m, length_bytes, &bytes) || need(m, bytes)) return -1;
    struct value v = { .kind = TEXT,
                       .text = (const char *)m->bytes + m->at,
                       .bytes = (uint32_t)bytes };
    m->at += bytes;
    return push(m, v);
}

static int read_line(struct machine *m, const char **text, size_t *bytes)
{
    const unsigned char *at = m->bytes + m->at, *end = memchr(at, '\n', m->size - m->at);
    if (!end) return refuse(m, "it ends inside a name (truncated?)");
    *text = (const char *)at;
    *bytes = (size_t)(end - at);
    m->at += *bytes + 1;
    return 0;
}

static int push_global(struct machine *m)
{
    const char *module = NULL, *name = NULL;
    size_t module_bytes = 0, name_bytes = 0;
    if (read_line(m, &module, &module_bytes) || read_line(m, &name, &name_bytes)) return -1;
    return push_name(m, module, module_bytes, name, name_bytes);
}

/* Stores the last value in the memo under a number. The memo holds index + 1; 0 means none. */
static int memo_put(struct machine *m, uint64_t number)
{
    if (m->stack.count <= stack_bottom(m)) return refuse(m, "the stack is empty");
    if (number > m->size) return refuse(m, "the number of a memo is too large");
    while (m->memo.count <= number)
        if (append(m, &m->memo, 0)) return -1;
    ((uint32_t *)m->memo.at)[number] = number_at(&m->stack, m->stack.count - 1) + 1;
    return 0;
}

static int memo_get(struct machine *m, uint64_t number)
{
    uint32_t index = number < m->memo.count ? number_at(&m->memo, (uint32_t)number) : 0;
    if (!index) return refuse(m, "a memo is empty");
    return append(m, &m->stack, index - 1);
}

static int use_memo(struct machine *m, int bytes, int (*act)(struct machine *, uint64_t))
{
    uint64_t number;
    return read_number(m, bytes, &number) || act(m, number) ? -1 : 0;
}

static int pop_marked(struct machine *m, enum kind kind)
{
    uint32_t first = 0, count = 0;
    if (pop_mark(m, &first, &count)) return -1;
    return kind == TUPLE ? make_tuple(m, first, count) : set_items(m, first, count);
}

/* Skips the state of an OrderedDict, which holds version numbers of modules. */
static int build(struct machine *m)
{
    uint32_t state, owner;
    return pop(m, &state) || top(m, DICT, &owner) ? -1 : 0;
}

static int execute(struct machine *m, unsigned char op)
{
    uint64_t unused;
    switch (op) {
    case OP_PROTO:
        return read_number(m, 1, &unused);
    case OP_FRAME:
        return read_number(m, 8, &unused);
    case OP_MARK:
        return append(m, &m->marks, m->stack.count);
    case OP_NONE:
        return push(m, (struct value){ .kind = NONE });
    case OP_NEWTRUE:
    case OP_NEWFALSE:
        return push(m, (struct value){ .kind = TRUTH, .integer = op == OP_NEWTRUE });
    case OP_BININT1:
        return push_integer(m, 1, false);
    case OP_BININT2:
        return push_integer(m, 2, false);
    case OP_BININT:
        return push_integer(m, 4, true);
    case OP_LONG1:
        return push_long(m);
    case OP_BINUNICODE:
        return push_text(m, 4);
    case OP_SHORT_BINUNICODE:
        return push_text(m, 1);
    case OP_EMPTY_TUPLE:
        return make_short_tuple(m, 0);
    case OP_TUPLE1:
    case OP_TUPLE2:
    case OP_TUPLE3:
        return make_short_tuple(m, op - OP_TUPLE1 + 1u);
    case OP_TUPLE:
        return pop_marked(m, TUPLE);
    case OP_EMPTY_DICT:
        return push(m, (struct value){ .kind = DICT });
    case OP_SETITEM:
        return set_item(m);
    case OP_SETITEMS:
        return pop_marked(m, DICT);
    case OP_GLOBAL:
        return push_global(m);
    case OP_STACK_GLOBAL:
        return push_stack_name(m);
    case OP_BINPUT:
        return use_memo(m, 1, memo_put);
    case OP_LONG_BINPUT:
        return use_memo(m, 4, memo_put);
    case OP_MEMOIZE:
        return memo_put(m, m->memo.count);
    case OP_BINGET:
        return use_memo(m, 1, memo_get);
    case OP_LONG_BINGET:
        return use_memo(m, 4, memo_get);
    case OP_BINPERSID:
        return push_storage(m);
    case OP_REDUCE:
        return reduce(m);
    case OP_BUILD:
        return build(m);
    default:
        return fail_input(m->why, "byte %zu: opcode 0x%02x is not one that tensors need: refused",
                          m->at - 1, op);
    }
}

/* ---- the result: a dict of tensors ---- */

static int read_sizes(struct machine *m, const struct value *tuple, int64_t *to, int dims)
{
    for (int i = 0; i < dims; i++) {
        const struct value *n = item(m, tuple, (uint32_t)i, INTEGER);
        if (!n || n->integer < 0) return fail_input(m->why, "a size or stride is not a count");
        to[i] = n->integer;
    }
    return 0;
}

static int read_tensor(struct machine *m, const struct value *v, struct pickled_tensor *t)
{
    struct value args = { .kind = TUPLE, .first = v->first, .count = v->count };
    const struct value *storage = item(m, &args, 0, STORAGE), *shape = item(m, &args, 2, TUPLE);
    const struct value *stride = item(m, &args, 3, TUPLE);
    must(storage && shape && stride);
    if (shape->count > TENSOR_DIMS_MAX || stride->count != shape->count)
        return fail_input(m->why, "a shape has %u dimensions, or another number of strides",
                          shape->count);
    t->dtype = names[storage->name].dtype;
    t->storage_count = storage->integer;
    t->offset = item(m, &args, 1, INTEGER)->integer;
    t->dims = (int)shape->count;
    t->storage = storage->text;
    t->storage_bytes = storage->bytes;
    return read_sizes(m, shape, t->shape, t->dims) || read_sizes(m, stride, t->stride, t->dims) ? -1
                                                                                                : 0;
}

static int read_entry(struct machine *m, const struct pair *p, struct pickled_tensor *t)
{
    struct value *key = value_at(m, p->key);
    const struct value *v = value_at(m, p->value);
    if (key->kind != TEXT || key->bytes > TENSOR_NAME_MAX || memchr(key->text, 0, key->bytes))
        return fail_input(m->why, "a key is no tensor's name");
    /* A memoised text could name any number of tensors, each of which takes a few bytes. So a
     * second use is refused. */
    if (key->name++) return fail_input(m->why, "%.*s occurs twice", (int)key->bytes, key->text);
    t->name = strndup(key->text, key->bytes);
    if (!t->name) return fail(m->why, "out of memory");
    if (v->kind != TENSOR) return fail_input(m->why, "%s is no tensor", t->name);
    return read_tensor(m, v, t) ? fail_in(m->why, t->name) : 0;
}

static int read_all(struct machine *m, struct pickled_tensor **list, size_t *count)
{
    uint32_t index;
    if (top(m, DICT, &index)) return -1;
    uint32_t first = value_at(m, index)->first, entries = 0;
    for (uint32_t p = first; p; p = pair_at(m, p)->next)
        entries++;
    if (entries > TENSOR_COUNT_MAX)
        return fail_input(m->why, "it has %u tensors, but at most %d are possible", entries,
                          TENSOR_COUNT_MAX);
    *list = calloc((size_t)entries + 1, sizeof **list);
    if (!*list) return fail(m->why, "out of memory");
    for (uint32_t p = first; p; p = pair_at(m, p)->next)
        if (read_entry(m, pair_at(m, p), &(*list)[(*count)++])) return -1;
    return 0;
}

int pickle_tensors(const void *bytes, size_t size, struct pickled_tensor **list, size_t *count,
                   struct fail *why)
{
    struct machine m = { .bytes = bytes, .size = size, .why = why };
    *list = NULL;
    *count = 0;
    int status = size > PICKLE_BYTES_MAX
                     ? fail_input(why, "it has %zu bytes, but at most %d are possible", size,
                                  PICKLE_BYTES_MAX)
                     : 0;
    for (bool ended = false; !status && !ended;) {
        status = need(&m, 1);
        if (status) break;
        unsigned char op = m.bytes[m.at++];
        ended = op == OP_STOP;
        status = ended ? read_all(&m, list, count) : execute(&m, op);
    }
    struct pickle_array *const arrays[] = { &m.values, &m.items, &m.pairs,
                                            &m.stack,  &m.marks, &m.memo };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]->at);
    if (status) {
        pickle_release(*list, *count);
        *list = NULL;
        *count = 0;
    }
    return status;
}

void pickle_release(struct pickled_tensor *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(list[i].name);
    free(list);
}
