# The miniature with a fiftieth of its steps, to test whether all rules work. Its numbers have no
# meaning.
include recipes/miniature.mk
SCRATCH_STEPS := 16
# The first step of a warm-up has rate 0, so a single step would change nothing.
EXTEND_STEPS := 3
EVAL_TOKENS := 3000
SAVE_STEPS := 5
