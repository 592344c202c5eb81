#include "tools/needle/heat.h"

#include "lib/common/buffer.h"
#include "lib/common/output.h"
#include "tools/needle/text.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Sizes in pixels: a cell, and the space around the cells of a panel. */
enum { CELL_WIDTH = 68, CELL_HEIGHT = 34, LEFT = 84, RIGHT = 24, ABOVE = 40, BELOW = 52 };
enum { TITLE = 44, WIDTH_MIN = 420 };

static int add(struct text *t, struct fail *why, const char *format, ...) PRINTF_LIKE(3, 4);
static int add(struct text *t, struct fail *why, const char *format, ...)
{
    char line[512];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    must(length >= 0 && length < (int)sizeof line);
    return text_add(t, line, (size_t)length, why);
}

/* Returns a colour between vermilion (0), pale grey (50) and blue (100). Colour-blind people can
 * distinguish these too. The cell also shows the score as a number. */
static unsigned colour_of(double score)
{
    static const int at[3][3] = { { 213, 94, 0 }, { 240, 240, 236 }, { 0, 114, 178 } };
    int half = score >= 50;
    double part = (score - 50 * half) / 50;
    unsigned colour = 0;
    for (int i = 0; i < 3; i++)
        colour =
            colour << 8 | (unsigned)(at[half][i] + (at[half + 1][i] - at[half][i]) * part + 0.5);
    return colour;
}

struct panel {
    size_t task, first, columns; /* the columns are rows first … first+columns-1 of the scores */
    int lines;                   /* how many depths; 1 for a task without depths */
    bool has_depths;
};

static struct panel panel_of(const struct scores *s, size_t task)
{
    struct panel p = { .task = task, .lines = 1 };
    while (s->rows[p.first].task != task)
        p.first++;
    while (p.first + p.columns < s->row_count && s->rows[p.first + p.columns].task == task)
        p.columns++;
    for (size_t i = 0; i < s->cell_count; i++)
        if (s->cells[i].task == task && s->cells[i].depth != NO_DEPTH) p.has_depths = true;
    if (p.has_depths) p.lines = s->depth_count;
    return p;
}

static int height_of(const struct panel *p) { return ABOVE + p->lines * CELL_HEIGHT + BELOW; }

static int add_cell(struct text *t, const struct cell *c, size_t x, int y, struct fail *why)
{
    double score = cell_mean(c);
    bool is_dark = score < 25 || score > 75;
    return add(t, why,
               "set object rectangle from %.1f,%.1f to %.1f,%.1f fc rgb '#%06x' fs solid "
               "border lc rgb '#ffffff'\n"
               "set label '%.0f' at %zu,%d center front tc rgb '%s'\n",
               (double)x - 0.5, y - 0.5, (double)x + 0.5, y + 0.5, colour_of(score), score, x, y,
               is_dark ? "#ffffff" : "#222222");
}

static int add_tics(struct text *t, const struct scores *s, const struct panel *p, struct fail *why)
{
    if (add(t, why, "set xtics (")) return -1;
    for (size_t x = 0; x < p->columns; x++)
        if (add(t, why, "%s'%lld' %zu", x ? ", " : "", (long long)s->rows[p->first + x].tokens, x))
            return -1;
    if (add(t, why, ")\nset ytics (")) return -1;
    for (int y = 0; y < p->lines; y++) {
        char depth[16] = "all";
        if (p->has_depths) snprintf(depth, sizeof depth, "%d %%%%", s->depths[y]);
        if (add(t, why, "%s'%s' %d", y ? ", " : "", depth, y)) return -1;
    }
    return add(t, why, ")\n");
}

/* A task's name may come from another program. gnuplot executes nothing in single quotes. */
static int add_name(struct text *t, const char *name, struct fail *why)
{
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;
        if (text_add(t, c < ' ' || c == 0x7f ? " " : name, 1, why)) return -1;
        if (c == '\'' && text_add(t, "'", 1, why)) return -1;
    }
    return 0;
}

static int add_panel(struct text *t, const struct scores *s, const struct panel *p, int top,
                     int width, int height, struct fail *why)
{
    double left = LEFT, right = LEFT + (double)p->columns * CELL_WIDTH;
    double above = top + ABOVE, below = above + p->lines * CELL_HEIGHT;
    if (add(t, why,
            "set lmargin at screen %.5f\nset rmargin at screen %.5f\n"
            "set tmargin at screen %.5f\nset bmargin at screen %.5f\n"
            "set xrange [-0.5:%.1f]\nset yrange [%.1f:-0.5]\n",
            left / width, right / width, 1 - above / height, 1 - below / height,
            (double)p->columns - 0.5, p->lines - 0.5) ||
        add_tics(t, s, p, why) || add(t, why, "set label '") ||
        add_name(t, s->tasks[p->task], why) || add(t, why, "' at graph 0,1 left offset 0,0.8\n"))
        return -1;
    for (size_t x = 0; x < p->columns; x++)
        for (int y = 0; y < p->lines; y++) {
            const struct cell *row = &s->rows[p->first + x];
            const struct cell *c = p->has_depths ? scores_at(s, row, s->depths[y]) : row;
            if (c && add_cell(t, c, x, y, why)) return -1;
        }
    return add(t, why,
               "set xlabel 'tokens of the prompt'\nset ylabel '%s'\n"
               "plot NaN notitle\nunset object\nunset label\n",
               p->has_depths ? "depth of the needle" : "");
}

static int add_commands(struct text *t, const struct scores *s, bool is_png, struct fail *why)
{
    int width = WIDTH_MIN, height = TITLE, top = TITLE;
    for (size_t i = 0; i < s->task_count; i++) {
        struct panel p = panel_of(s, i);
        int own = LEFT + (int)p.columns * CELL_WIDTH + RIGHT;
        if (own > width) width = own;
        height += height_of(&p);
    }
    /* Letters have the same size in PNG, in points, and in SVG, in pixels. */
    if (add(t, why,
            "set encoding utf8\nset terminal %s size %d,%d noenhanced font 'sans-serif,%d' "
            "background '#ffffff'\nset multiplot\nset border lc rgb '#444444'\n"
            "set tics nomirror scale 0\n"
            "set label 'Found, per cent of what was asked for' at screen 0.5,%.5f center "
            "font ',15'\n",
            is_png ? "pngcairo" : "svg dynamic", width, height, is_png ? 11 : 13,
            1 - TITLE / 2.0 / height))
        return -1;
    for (size_t i = 0; i < s->task_count; i++) {
        struct panel p = panel_of(s, i);
        if (add_panel(t, s, &p, top, width, height, why)) return -1;
        top += height_of(&p);
    }
    return add(t, why, "unset multiplot\n");
}

/* ---- running gnuplot ---- */

/* Starts gnuplot, which reads its commands from a file and writes the figure to a pipe. */
static int start(const struct text *commands, pid_t *child, int *from, struct fail *why)
{
    char name[] = "gnuplot", standard_input[] = "-", *argv[] = { name, standard_input, NULL };
    int pipes[2];
    FILE *file = tmpfile();
    if (!file || fwrite(commands->at, 1, commands->bytes, file) != commands->bytes ||
        fflush(file) || fseek(file, 0, SEEK_SET)) {
        if (file) (void)fclose(file);
        return fail(why, "cannot create a temporary file: %m");
    }
    if (pipe2(pipes, O_CLOEXEC)) {
        (void)fclose(file);
        return fail(why, "cannot create a pipe: %m");
    }
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (!error) error = posix_spawn_file_actions_adddup2(&actions, fileno(file), STDIN_FILENO);
    if (!error) error = posix_spawn_file_actions_adddup2(&actions, pipes[1], STDOUT_FILENO);
    if (!error) error = posix_spawnp(child, argv[0], &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)fclose(file);
    (void)close(pipes[1]);
    *from = pipes[0];
    if (!error) return 0;
    (void)close(pipes[0]);
    return fail(why, "cannot start gnuplot, which draws the figure: %s: install gnuplot-nox",
                strerror(error));
}

/* Reads the figure until gnuplot ends. */
static int finish(pid_t child, int from, struct text *figure, struct fail *why)
{
    char piece[1 << 14];
    int code = 0, status = 0;
    ssize_t n;
    while (!status && (n = read(from, piece, sizeof piece)) != 0) {
        if (n < 0 && errno == EINTR) continue;
        status = n < 0 ? fail(why, "gnuplot: %m") : text_add(figure, piece, (size_t)n, why);
    }
    (void)close(from);
    while (waitpid(child, &code, 0) < 0 && errno == EINTR)
        ;
    if (!status && (code || !figure->bytes)) return fail(why, "gnuplot failed");
    return status;
}

int heat_draw(const struct scores *s, const char *path, struct fail *why)
{
    struct text commands = { 0 }, figure = { 0 };
    struct output out;
    pid_t child;
    int from;
    size_t length = strlen(path);
    bool is_png = length > 4 && !strcmp(path + length - 4, ".png");
    int status = add_commands(&commands, s, is_png, why);
    if (!status) status = start(&commands, &child, &from, why);
    if (!status) status = finish(child, from, &figure, why);
    if (!status) status = output_open(&out, path, why);
    if (!status && output_write(&out, figure.at, figure.bytes, why)) {
        output_abandon(&out);
        status = -1;
    } else if (!status) {
        status = output_close(&out, why);
    }
    free(commands.at);
    free(figure.at);
    return status < 0 ? fail_in(why, path) : 0;
}
