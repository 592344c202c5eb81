# The miniature with a fiftieth of its steps: does the graph work? Its numbers mean nothing.
include recipes/miniature.mk
SCRATCH_STEPS := 24
EXTEND_STEPS := 2
EVAL_TOKENS := 3000
SAVE_STEPS := 8
