/* proof.h - writes proof.jsonl into every checkpoint and result (docs/formats/proof.md): what the
 * run was made from, and the SHA-256 of each file that it wrote. `train --verify` replays it.
 *
 * Only rank 0 writes. A thread hashes the inputs while the first steps are computed.
 */
#ifndef LONGQLORA_TRAIN_PROOF_H
#define LONGQLORA_TRAIN_PROOF_H

#include "kernels/kernels.h"
#include "tools/train/chain.h"

#include <pthread.h>

struct trainer;

struct proof {
    /* The run writes a chain. False if its inputs could not be hashed, and before proof_begin. */
    bool is_on;
    bool is_replay; /* the line of the run is in the chain already */
    /* The lines so far, and the same with the line of a checkpoint that is being written. */
    struct chain chain, next;
    bool lost_best;    /* the best model of the run that is resumed was not there any more */
    int64_t best_step; /* the step of the best model when the process began; 0: none */
    json_t *inputs;    /* the files that the thread hashes; NULL: it has ended */
    json_t *run;       /* the object "run" of this process; NULL until it is known */
    pthread_t thread;
    struct fail failure; /* of the thread, if `failed` */
    bool failed;
};

/* Continues the chain of the checkpoint from which the run resumed, or begins one, and starts the
 * thread. If the checkpoint's chain is damaged, `report` gets a message, and a new chain begins. */
void proof_begin(struct trainer *t, void (*report)(const char *text));
/* Writes directory/proof.jsonl, whose last line has the digests of `files` (checkpoint_measure).
 * kind: "checkpoint" or "result". Does nothing if the run writes no chain. */
int proof_write(struct trainer *t, const char *directory, const char *kind, const json_t *files,
                struct fail *why) MUST_USE;
/* Call this when the checkpoint of the last proof_write has got its final name. The chain then goes
 * on from that checkpoint. */
void proof_commit(struct proof *p);
void proof_close(struct proof *p);

/* Returns what decides a run's bits besides recipe and inputs: versions, kernels, device. NULL if
 * memory runs out. The caller calls json_decref. */
json_t *proof_describe_program(const struct kernels *k);

#endif
