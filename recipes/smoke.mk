# The miniature with very few steps, to test whether all rules work. The numbers in its tables have
# no meaning.
include recipes/miniature.mk
SCRATCH_STEPS := 16
# The first step of a warm-up has rate 0, so a single step would change nothing.
EXTEND_STEPS := 3
EVAL_TOKENS := 3000
SAVE_STEPS := 5
