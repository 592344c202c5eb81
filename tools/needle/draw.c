#include "tools/needle/draw.h"

#include "lib/common/fail.h"
#include "lib/common/rng.h"

#include <stdio.h>

struct draw draw_begin(uint64_t seed, const char *purpose, uint64_t prompt)
{
    return (struct draw){ .key = rng_key(seed, purpose), .prompt = prompt };
}

uint64_t draw_below(struct draw *d, uint64_t n)
{
    uint64_t bits = rng_bits(d->key, d->prompt, d->count++);
    return (uint64_t)(((unsigned __int128)bits * n) >> 64);
}

/* A name is a first part followed by a second part. No two pairs give the same name. */
static const char *const first_parts[64] = {
    "amber",   "autumn",  "barley", "birch",   "blossom", "bramble", "breeze",  "brook",
    "canyon",  "cedar",   "cherry", "cinder",  "clover",  "cobalt",  "copper",  "coral",
    "cotton",  "crystal", "dawn",   "desert",  "ember",   "fern",    "flint",   "forest",
    "frost",   "garden",  "ginger", "granite", "harbor",  "hazel",   "heather", "honey",
    "indigo",  "island",  "ivory",  "jasper",  "juniper", "lantern", "lemon",   "linen",
    "maple",   "marble",  "meadow", "mint",    "moon",    "moss",    "oak",     "ocean",
    "olive",   "opal",    "pebble", "pepper",  "pine",    "quartz",  "raven",   "river",
    "saffron", "silver",  "summer", "thistle", "timber",  "velvet",  "walnut",  "winter",
};
static const char *const second_parts[64] = {
    "anchor",  "arrow",  "basket", "beacon", "bell",   "bird",   "boat",   "bottle",
    "bridge",  "button", "cabin",  "candle", "castle", "chair",  "circle", "clock",
    "cloud",   "coat",   "corner", "cradle", "cup",    "door",   "drum",   "engine",
    "feather", "field",  "flute",  "gate",   "glove",  "hammer", "hat",    "hill",
    "house",   "kettle", "key",    "ladder", "lake",   "lamp",   "leaf",   "letter",
    "mirror",  "needle", "oven",   "paper",  "pencil", "piano",  "pillow", "pocket",
    "road",    "rope",   "sail",   "shelf",  "ship",   "spoon",  "stair",  "stone",
    "table",   "tower",  "trail",  "wagon",  "wall",   "wheel",  "window", "yarn",
};

void draw_name(uint64_t n, char text[DRAW_TEXT])
{
    must(n < DRAW_NAMES);
    snprintf(text, DRAW_TEXT, "%s%s", first_parts[n / 64], second_parts[n % 64]);
}

void draw_number(struct draw *d, char text[DRAW_TEXT])
{
    snprintf(text, DRAW_TEXT, "%d", 1000000 + (int)draw_below(d, 9000000));
}

void draw_letters(struct draw *d, char first, size_t length, char text[DRAW_TEXT])
{
    must(length < DRAW_TEXT);
    for (size_t i = 0; i < length; i++)
        text[i] = (char)(first + (char)draw_below(d, 26));
    text[length] = 0;
}
