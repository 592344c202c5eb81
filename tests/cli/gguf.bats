# GGUF files as models and as tokenizers.

load helper

says() { # STATUS TEXT COMMAND...: fails with that status and one line that has the text
    local status=$1 text=$2
    shift 2
    run -"$status" --separate-stderr "$@"
    [[ "$stderr" == *"$text"* ]] || { echo "$stderr lacks $text"; return 1; }
    [ "${#stderr_lines[@]}" = 1 ]
}

# base.gguf has the weights and the tokenizer of base/, and what the words say otherwise.
to_gguf() { # OUT CHANGE...
    "$root/tests/lib/to_gguf.pl" base tok/tokenizer.model "$@"
}
make_gguf() {
    make_base
    once base.gguf train_gguf
    ln -sf "$made/base.gguf" .
}
train_gguf() {
    (cd "$made" && to_gguf base.gguf.new && mv base.gguf.new base.gguf)
}

@test "a GGUF gives the tokens, losses and texts that its directory gives" {
    make_gguf
    local of
    for of in base.gguf tok/tokenizer.model; do
        tokenize --quiet -m $of docs.jsonl --to jsonl | grep '"id"' > "${of##*/}.ids"
    done
    [ "$(wc -l < base.gguf.ids)" = 10 ]
    cmp base.gguf.ids tokenizer.model.ids
    for of in base base.gguf; do
        tokenize --quiet -m $of docs.jsonl -o own.tok
        ppl --quiet -m $of -d own.tok -c 16 --device cpu > $of.losses
        generate --quiet -m $of -p "a b" --temperature 0 --max-new-tokens 12 --device cpu > $of.txt
    done
    [ -s base.losses ]
    cmp base.losses base.gguf.losses
    cmp base.txt base.gguf.txt
}
