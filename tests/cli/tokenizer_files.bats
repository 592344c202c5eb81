load helper

# Tests tokenizers whose files contradict each other. The ids are those of transformers 5.

ids_of() { # FILE OPTIONS...: prints the ids that tokenize gives for a text
    local file=$1
    shift
    tokenize --quiet --format text --to jsonl "$@" "$file" | \
        sed -n 's/.*"tokens":\[\([0-9,]*\)\].*/\1/p'
}

# Makes a folder with a byte-level tokenizer.json of 420 pieces, whose only added token has the id
# 420, this text and these flags (JSON).
with_token() { # DIRECTORY TEXT FLAGS
    local token='{"id": 420, "content": "'$2'", "single_word": false, "lstrip": false, '$3'}'
    mkdir "$1"
    TOKEN=$token perl -pe 's/"added_tokens": \[\]/"added_tokens": [$ENV{TOKEN}]/' \
        "$golden/tokenizer/bytes.json" > "$1/tokenizer.json"
    grep -q '"id": 420' "$1/tokenizer.json"
}

@test "tokenizer files: added_tokens.json leaves a token the flags that tokenizer.json gives it" {
    printf 'x <|im_end|> y' > text
    with_token t '<|im_end|>' '"rstrip": false, "normalized": false, "special": true'
    echo '{"<|im_end|>": 420}' > t/added_tokens.json
    [ "$(ids_of text -m t)" = 87,322,91,313,62,339,67,91,29,297 ]
    [ "$(ids_of text -m t --parse-special)" = 87,220,420,297 ]
    printf 'x<|end|> y' > text
    with_token r '<|end|>' '"rstrip": true, "normalized": false, "special": true'
    echo '{"<|end|>": 420}' > r/added_tokens.json
    [ "$(ids_of text -m r)" = 87,27,91,339,67,91,29,297 ]
    [ "$(ids_of text -m r --parse-special)" = 87,420,88 ]
    # A token that only added_tokens.json has is found in any text.
    echo '{"<|end|>": 420, "=>": 421}' > r/added_tokens.json
    printf 'x=>y' > text
    [[ ",$(ids_of text -m r)," == *,421,* ]]
}

@test "tokenizer files: a token that is special in tokenizer.json stays special in added_tokens_decoder" {
    printf 'x </s> y' > text
    with_token t '</s>' '"rstrip": false, "normalized": false, "special": true'
    echo '{"added_tokens_decoder": {"420": {"content": "</s>", "lstrip": false, "rstrip": false, "normalized": false, "single_word": false, "special": false}}}' \
        > t/tokenizer_config.json
    [ "$(ids_of text -m t)" = 87,322,14,82,29,297 ]
    [ "$(ids_of text -m t --parse-special)" = 87,220,420,297 ]
}

@test "tokenizer files: split_special_tokens in tokenizer_config.json is refused unless it is false" {
    printf 'the' > text
    with_token t '</s>' '"rstrip": false, "normalized": false, "special": true'
    echo '{"split_special_tokens": false}' > t/tokenizer_config.json
    [ -n "$(ids_of text -m t)" ]
    for value in true null 1; do
        echo "{\"split_special_tokens\": $value}" > t/tokenizer_config.json
        run --separate-stderr -3 tokenize --format text -m t text
        [[ "$stderr" == \
            "tokenize: t/tokenizer.json: tokenizer_config.json: 'split_special_tokens': only false is supported, "*": remove the key ("* ]]
    done
}
