"""Prints how fast other tokenizers encode the documents of a file of JSON lines, each once, in MB a second of CPU time on one thread.

    python peer_tokenizers.py MODEL FILE      (gigatoken 0.10, tokenizers 0.23.3: those of them that are installed)
"""
import importlib.metadata
import json
import os
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
MODEL, FILE = sys.argv[1:3]
with open(FILE, encoding="utf-8") as f:
    TEXTS = [json.loads(line)["text"] for line in f]


def gigatoken():
    from gigatoken import Tokenizer
    t = Tokenizer(MODEL) if MODEL.endswith(".json") else Tokenizer.from_sentencepiece(MODEL)
    return lambda texts: t.encode_batch(texts, parallel=False)


def tokenizers():
    from tokenizers import Tokenizer
    t = Tokenizer.from_file(MODEL)

    def run(texts):
        for x in texts:
            t.encode(x, add_special_tokens=False)
    return run


for make, texts in (gigatoken, TEXTS), (tokenizers, TEXTS[:1000]):
    try:
        run = make()
    except Exception as why:  # not installed, or it does not read this model
        print(f"{make.__name__}: not measured: {str(why)[:80]}")
        continue
    start = time.process_time()
    run(texts)
    taken = time.process_time() - start
    print(f"{make.__name__} {importlib.metadata.version(make.__name__)}: {sum(len(x.encode()) for x in texts) / taken / 1e6:.1f} MB/s")
