# The miniature with a fiftieth of its steps: does the graph work? Its numbers mean nothing.
include recipes/miniature.mk
SCRATCH_STEPS := 16
EXTEND_STEPS := 1
EVAL_TOKENS := 3000
SAVE_STEPS := 5
