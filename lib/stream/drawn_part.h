/* drawn_part.h - checks that the parts of a draw are read in order, each once.
 *
 * If documents are drawn from many shards, `tokenize --lines` makes a stream of tokens for each
 * shard. The options of its header have a map "drawn", which says to which draw and which shard the
 * stream belongs (docs/formats/lines.md). pack reads these streams one after the other. Another
 * order, a missing shard or a repeated one would give other samples, and is refused.
 */
#ifndef LONGQLORA_STREAM_DRAWN_PART_H
#define LONGQLORA_STREAM_DRAWN_PART_H

#include "lib/common/digest.h"
#include "lib/stream/msgpack_map.h"

struct drawn_part {
    uint64_t streams;             /* headers that were read */
    bool is_drawn;                /* the first stream is a part of a draw */
    char draw[DIGEST_TEXT];       /* digest of the draw */
    char whole[DIGEST_TEXT];      /* digest of the streams of all documents of the shards so far */
    uint64_t shard, shards, seed; /* the last shard, from 1, and how many there are */
    char fault[200];              /* the first thing that is wrong; "" if nothing is */
};

/* Adds the header of the next stream. What is wrong with it goes to p->fault. */
void drawn_part_add_header(struct drawn_part *p, const msgpack_object *header);
/* Fails if something is wrong with the parts so far. If at_end, fails also if a shard is missing
 * after the last one. The message does not name the stream. */
int drawn_part_check(const struct drawn_part *p, bool at_end, struct fail *why) MUST_USE;

#endif
