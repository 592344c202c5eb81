#!/usr/bin/env python3
"""trainer_flow.py OUT - lists after which updates Hugging Face's Trainer logs, evaluates and saves.

It calls the Trainer's DefaultFlowCallback for runs in which four updates are one pass over the samples. Each line has the
settings as KEY=VALUE, then the updates of logs, evaluations and checkpoints.
"""
import math
import sys

import transformers
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import DefaultFlowCallback

assert transformers.__version__ == "5.24.0"
PASS = 4
CASES = ["num_train_epochs=2 save_strategy=epoch eval_strategy=epoch logging_steps=3",
         "num_train_epochs=2 save_strategy=steps save_steps=3 eval_strategy=steps eval_steps=0.3 logging_steps=5",
         "num_train_epochs=2 save_steps=0.2 eval_strategy=no logging_steps=0.25",
         "num_train_epochs=2 save_strategy=no eval_strategy=steps logging_steps=3",
         "num_train_epochs=2.5 save_strategy=epoch eval_strategy=epoch eval_delay=2 logging_strategy=epoch",
         "max_steps=7 save_steps=4 eval_strategy=steps eval_steps=2 eval_delay=5 logging_steps=4 logging_first_step=true",
         "max_steps=6 save_strategy=epoch eval_strategy=no logging_strategy=no",
         "max_steps=6 save_strategy=epoch eval_strategy=epoch logging_strategy=no logging_first_step=true"]


def value_of(text):
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return text


def main(out):
    with open(out, "w", encoding="utf-8") as f:
        for case in CASES:
            settings = {k: value_of(v) for k, v in (s.split("=") for s in case.split())}
            args = TrainingArguments(output_dir="x", report_to="none", use_cpu=True, **settings)
            steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * PASS)
            state = TrainerState(max_steps=steps)
            state.compute_steps(args, steps)
            callback, found = DefaultFlowCallback(), {"log": [], "evaluate": [], "save": []}
            for step in range(1, steps + 1):
                state.global_step, state.epoch = step, step / PASS
                control = callback.on_step_end(args, state, TrainerControl())
                if step % PASS == 0 or step == steps:
                    control = callback.on_epoch_end(args, state, control)
                for name, steps_of in found.items():
                    if getattr(control, "should_" + name):
                        steps_of.append(step)
            f.write("\t".join([case] + [" ".join(map(str, s)) for s in found.values()]) + "\n")


main(sys.argv[1])
