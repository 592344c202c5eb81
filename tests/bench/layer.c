/* layer DEVICE [SCALE] - measures the milliseconds of each operation of a layer in training, as
 * JSON lines. Each line also has a rate: the arithmetic operations that the products need, or the
 * bytes that must be read and written once, per second. SCALE 1 (default) is LLaMA-2-7B with
 * adapters of rank 64 and chunks of 4096 rows; 8 is an eighth of each, for a CPU. */
#include "tests/bench/measured.h"

static const struct kernels *k;
static struct device *dev;

static void tell(const char *operation, const char *of, void (*call)(void *), void *arg,
                 double operations, double bytes)
{
    double s = measured_seconds(call, arg, 0.05);
    printf("{\"operation\":\"%s\",\"of\":\"%s\",\"ms\":%.4g,", operation, of, s * 1e3);
    if (operations > 0)
        printf("\"TFLOP_per_second\":%.3g}\n", operations / s / 1e12);
    else
        printf("\"GB_per_second\":%.4g}\n", bytes / s / 1e9);
    fflush(stdout);
}

/* ---- groups of linear layers ---- */

enum { GROUP_MOST = 3 };

struct grouped {
    struct linear linear[GROUP_MOST];
    struct group g;
    struct mat x, y, dx, du, dy[GROUP_MOST];
    struct dropout drop;
    int64_t rows;
};

static void prepare(void *arg) { k->linear_prepare(dev, &((struct grouped *)arg)->g); }
static void inner(void *arg)
{
    const struct grouped *c = arg;
    k->lora_down(dev, c->x, &c->g, c->rows, c->drop);
}
static void forward(void *arg)
{
    const struct grouped *c = arg;
    k->linear_fwd(dev, c->y, c->x, &c->g, (struct mat){ NULL, 0 }, c->rows, c->drop);
}
static void to_input(void *arg)
{
    const struct grouped *c = arg;
    k->linear_bwd_input(dev, c->dx, c->du, c->dy, &c->g, c->rows, c->drop);
}
static void to_weight(void *arg)
{
    const struct grouped *c = arg;
    k->linear_bwd_weight(dev, &c->g, c->dy, c->du, c->x, c->rows, c->drop);
}

static struct grouped group_of(int count, int64_t in, int64_t out, int64_t rank, int64_t rows)
{
    int64_t outs = count * out, ranks = count * rank;
    struct grouped c = { .g = { NULL, count, 0 },
                         .x = measured_mat(rows, in, in + (ranks + 7) / 8 * 8),
                         .y = measured_mat(rows, outs, outs),
                         .dx = measured_mat(rows, in, in),
                         .du = measured_mat(rows, ranks, (ranks + 7) / 8 * 8),
                         .rows = rows };
    for (int i = 0; i < count; i++) {
        struct linear *l = &c.linear[i];
        *l = measured_nf4(in, out);
        l->rank = rank;
        l->scale = 0.25f;
        l->dropout_stream = (uint32_t)i;
        l->a = measured_floats((size_t)(rank * in));
        l->b = measured_floats((size_t)(out * rank));
        l->da_acc = measured_bytes((size_t)(rank * in) * sizeof(float));
        l->db_acc = measured_bytes((size_t)(out * rank) * sizeof(float));
        c.dy[i] = (struct mat){ (struct act *)((char *)c.y.at + i * out * k->act_bytes), outs };
    }
    return c;
}

/* The rates count only what is necessary: the bytes of the wide matrices once, and the operations
 * of the products. */
static void measure_group(const char *name, int count, int64_t in, int64_t out, int64_t rank,
                          int64_t rows)
{
    struct grouped c = group_of(count, in, out, rank, rows);
    double weights = (double)(count * in * out), t = (double)rows;
    double thin = 2 * t * (double)(count * rank) * (double)in;
    double wide = 2 * t * (weights + (double)(count * rank) * (double)(count * out));
    c.g.at = c.linear;
    struct shape shape = small_shape(rows, in);
    shape.ffn = out;
    shape.slot[0] = (struct slot_shape){ count * out, in, count * rank };
    shape.has_compact_weights = shape.has_backward = true;
    shape.dropout = 0.05f;
    measured_reserve(shape);
    tell("linear_prepare", name, prepare, &c, 0,
         weights * (0.5 + 1.0 / 64 + 4.0 / 16384 + (double)k->act_bytes));
    for (int dropped = 0; dropped < 2; dropped++) {
        char of[64];
        c.drop = (struct dropout){ 7, dropped ? 0.05f : 0, 0 };
        snprintf(of, sizeof of, "%s%s", name, dropped ? ", dropout" : "");
        tell("linear_inner", of, inner, &c, 0, t * (double)(in * k->act_bytes));
        tell("linear_fwd", of, forward, &c, wide + thin, 0);
        tell("linear_bwd_input", of, to_input, &c, wide + thin, 0);
        tell("linear_bwd_weight", of, to_weight, &c, 0,
             t * (double)((in + count * out) * k->act_bytes));
    }
}

/* ---- operations on rows ---- */

struct rowed {
    struct mat x, y, z;
    float *gain, *rstd, *cos, *sin;
    int32_t *position;
    int64_t rows, dim, ffn, head_dim;
};

static void norm(void *arg)
{
    const struct rowed *c = arg;
    k->rmsnorm_fwd(dev, c->y, c->rstd, c->x, c->gain, c->rows, c->dim, 1e-5f);
}
static void norm_back(void *arg)
{
    const struct rowed *c = arg;
    k->rmsnorm_bwd(dev, c->z, NULL, c->y, c->x, c->rstd, c->gain, c->rows, c->dim);
}
static void rope(void *arg)
{
    const struct rowed *c = arg;
    k->rope_apply(dev, c->x, c->x, c->cos, c->sin, c->position, c->rows, c->dim / c->head_dim,
                  c->head_dim, c->head_dim, 1);
}
static void swiglu(void *arg)
{
    const struct rowed *c = arg;
    k->swiglu_fwd(dev, c->z, c->x, c->y, c->rows, c->ffn);
}
static void swiglu_back(void *arg)
{
    const struct rowed *c = arg;
    k->swiglu_bwd(dev, c->z, c->x, c->y, c->rows, c->ffn);
}

static void measure_rows(int64_t rows, int64_t dim, int64_t ffn)
{
    int64_t head_dim = dim >= 128 ? 128 : dim;
    struct rowed c = { measured_mat(rows, ffn, ffn), measured_mat(rows, ffn, ffn),
                       measured_mat(rows, ffn, ffn), measured_floats((size_t)dim),
                       measured_floats((size_t)rows),
                       /* cosine and sine of one rotation: repeated rotations do not change the
                        * length of a vector */
                       measured_constants((size_t)(rows * head_dim / 2), 0.6f),
                       measured_constants((size_t)(rows * head_dim / 2), 0.8f),
                       measured_bytes((size_t)rows * sizeof(int32_t)), rows, dim, ffn, head_dim };
    double narrow = (double)(rows * dim * k->act_bytes), wide = (double)(rows * ffn * k->act_bytes);
    struct shape shape = small_shape(rows, dim);
    shape.ffn = ffn;
    shape.heads = shape.kv_heads = dim / head_dim;
    shape.head_dim = head_dim;
    shape.has_backward = true;
    measured_reserve(shape);
    tell("rmsnorm_fwd", "a chunk", norm, &c, 0, 2 * narrow);
    tell("rmsnorm_bwd", "a chunk", norm_back, &c, 0, 4 * narrow);
    tell("rope_apply", "q", rope, &c, 0, 2 * narrow);
    tell("swiglu_fwd", "a chunk", swiglu, &c, 0, 3 * wide);
    /* The operation works in place. The data are zeros, because other values would become smaller
     * in each call. */
    c.x.at = c.y.at = c.z.at = measured_bytes((size_t)wide);
    tell("swiglu_bwd", "a chunk of zeros", swiglu_back, &c, 0, 6 * wide);
}

/* ---- the head, and the optimiser ---- */

struct headed {
    struct mat x, dx;
    struct linear head;
    float *nll;
    int32_t *target;
    int64_t rows;
};

static void loss(void *arg)
{
    const struct headed *c = arg;
    k->head_loss(dev, c->nll, c->dx, (struct mat){ NULL, 0 }, NULL, c->x, &c->head, 1, c->target,
                 c->rows, 1e-4f);
}

static void measure_head(int64_t rows, int64_t dim, int64_t vocab)
{
    struct headed c = { measured_mat(rows, dim, dim),
                        measured_mat(rows, dim, dim),
                        { .type = k->act_type, .out = vocab, .in = dim },
                        measured_bytes((size_t)rows * sizeof(float)),
                        measured_bytes((size_t)rows * sizeof(int32_t)),
                        rows };
    c.head.weight = measured_mat(vocab, dim, dim).at;
    struct shape shape = small_shape(rows, dim);
    shape.vocab = vocab;
    shape.head_type = k->act_type;
    shape.has_compact_weights = shape.has_backward = true;
    measured_reserve(shape);
    tell("head_loss", "a chunk, with its gradient", loss, &c,
         4 * (double)rows * (double)dim * (double)vocab, 0);
}

struct optimised {
    float *p, *m, *v, *g;
    double *squares;
    int64_t count, layer; /* values of all layers, and of one */
};

static void step(void *arg)
{
    const struct optimised *c = arg;
    k->adamw(dev, c->p, c->m, c->v, c->g, c->count, 1e-4f, 0.9f, 0.999f, 1e-8f, 0, 1, 1);
}
static void norm_of_all(void *arg)
{
    const struct optimised *c = arg;
    k->square_pieces(dev, c->squares, c->g, c->count);
}
static void fold(void *arg)
{
    const struct optimised *c = arg;
    k->zero(dev, c->m, (size_t)c->layer * sizeof *c->m);
    k->fold(dev, c->g, c->m, c->layer);
}

static void measure_optimiser(int64_t count, int64_t layers)
{
    size_t n = (size_t)count, pieces = n / SQUARES_PIECE + 1;
    struct optimised c = { measured_floats(n),
                           measured_floats(n),
                           measured_floats(n),
                           measured_floats(n),
                           measured_bytes(pieces * sizeof(double)),
                           count,
                           count / layers };
    tell("square_pieces", "all gradients", norm_of_all, &c, 0, 4 * (double)count);
    tell("zero, fold", "a layer's adapters", fold, &c, 0, 16 * (double)c.layer);
    tell("adamw", "all adapters", step, &c, 0, 32 * (double)count);
}

int main(int argc, char **argv)
{
    int64_t scale = measured_open("layer", argc, argv), rows = 4096 / scale;
    int64_t dim = 4096 / scale, ffn = 11008 / scale / 8 * 8, rank = 64 / scale;
    k = measured, dev = measured_device;
    measure_group("q k v", 3, dim, dim, rank, rows);
    measure_group("o", 1, dim, dim, rank, rows);
    measure_group("up gate", 2, dim, ffn, rank, rows);
    measure_group("down", 1, ffn, dim, rank, rows);
    measure_rows(rows, dim, ffn);
    measure_head(rows, dim, 32000 / scale);
    measure_optimiser(159907840 / scale / scale, 32);
    k->close(dev);
    return 0;
}
