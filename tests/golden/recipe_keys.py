#!/usr/bin/env python3
"""recipe_keys.py OUT - writes the keys and defaults of Hugging Face's TrainingArguments and PEFT's LoraConfig as recipes.

OUT/training-arguments.yaml and OUT/lora-config.yaml are recipes in which every key has its default.
"""
import dataclasses
import enum
import json
import sys

import peft
import transformers

assert transformers.__version__ == "5.24.0" and peft.__version__ == "0.21.2"


def default_of(field):
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        value = None
    if dataclasses.is_dataclass(value):
        value = dataclasses.asdict(value)
    return value.value if isinstance(value, enum.Enum) else value


def write(path, cls):
    with open(path, "w", encoding="utf-8") as out:
        for field in dataclasses.fields(cls):
            # JSON is valid YAML, except for numbers with an exponent but no point, as Python prints them.
            out.write(f"{field.name}: {json.dumps(default_of(field))}\n")


write(sys.argv[1] + "/training-arguments.yaml", transformers.TrainingArguments)
write(sys.argv[1] + "/lora-config.yaml", peft.LoraConfig)
