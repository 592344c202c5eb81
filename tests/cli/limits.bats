load helper

# Tests the programs' messages about small inputs that would take much memory or time without limits
# (see tests/unit/test_limits.c).

@test "limits: train plans the largest model that a config can describe" {
    cat > big.json <<'E'
{"model_type": "llama", "vocab_size": 16777216, "hidden_size": 1048576, "intermediate_size": 1048576, "num_hidden_layers": 4096,
 "num_attention_heads": 8192, "max_position_embeddings": 268435456}
E
    printf 'model_name_or_path: big.json\nmax_seq_length: 268435456\nmax_steps: 5\n' > big.yaml
    # Sanitizers reserve more addresses than any limit allows.
    ([ "${FLAVOUR:-release}" != release ] || ulimit -v 4000000; train big.yaml --dry-run > plan)
    grep -q '^longest that fits  *0 tokens' plan
    run ! grep -q -- '-[0-9]' plan
}

@test "limits: a pattern that runs too long is reported with its tokenizer and the place in the text" {
    sed 's/(?i:/(\\\\w+\\\\w+)+\\\\d|&/' "$golden/bpe/llama3/tokenizer.json" > tokenizer.json
    printf '{"text": "good"}\n{"text": "%s"}\n' "$(printf 'a%.0s' {1..1000})" > docs.jsonl
    run --separate-stderr tokenize -m tokenizer.json docs.jsonl -o docs.tok
    [ "$status" = 3 ]
    [[ "$stderr" == \
        "tokenize: docs.jsonl:2: byte 1: tokenizer.json: pattern (\w+\w+)+\d|(?i:"*" takes too long on a text of 1000 bytes, at byte 0" ]]
    [ ! -e docs.tok ]
}

@test "limits: a recipe of many nested brackets is refused" {
    printf '[%.0s' {1..60000} > deep.yaml
    run --separate-stderr train deep.yaml --dry-run
    [ "$status" = 2 ]
    [[ "$stderr" == *"train: deep.yaml:1:9: nested deeper than 8"* ]]
}

@test "limits: a conversation of a million messages and a zstd frame with a huge window are refused" {
    make_base
    { printf '{"messages": ['; yes '{},' | head -n 1000000 | tr -d '\n'; printf '{}]}\n'; \
        } > chat.jsonl
    run --separate-stderr tokenize --format chat -m tok chat.jsonl -o a.tok
    [ "$status" = 3 ]
    [[ "$stderr" == \
        *"chat.jsonl:1:"*"its values take more than "*" bytes, which is 32 times its length"* ]]
    # A zstd frame that declares a window of 2 GiB.
    printf '\x28\xb5\x2f\xfd\x04\xa8\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00' > \
        window
    run --separate-stderr pack -c 8 window -o out.smp
    [ "$status" = 3 ]
    [[ "$stderr" == *"window: byte 0: the zstd window is larger than 256 MiB"* ]]
}
