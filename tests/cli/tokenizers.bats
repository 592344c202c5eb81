load helper

# Tokenizers and models as people have them: padded rows, tokens that were added, BOS by what files do.

ids_of() { # FILE OPTIONS...: the ids of a text by tokenize
    local file=$1
    shift
    tokenize --quiet --format text --to jsonl "$@" "$file" | sed -n 's/.*"tokens":\[\([0-9,]*\)\].*/\1/p'
}

trained() { # DIRECTORY ROWS TOKENIZER: a model of so many rows, trained for a step with that tokenizer
    config rows.json "$2"
    tokenize --quiet -m "$3" docs.jsonl -o rows.tok
    pack --quiet --context 16 --strategy split rows.tok -o rows.smp
    train scratch.yaml from_scratch=true attention=full model_name_or_path=rows.json tokenizer="$3" train_file=rows.smp output_dir="$1" \
        max_steps=1 --quiet
}

grown_tokenizer() { # DIRECTORY: LLaMA's kind with three tokens more
    mkdir "$1"
    cp tok/tokenizer.model "$1/"
    echo '{"<think>": 400, "</think>": 401, "<|im_end|>": 402}' > "$1/added_tokens.json"
    echo '{"tokenizer_class": "LlamaTokenizer", "add_bos_token": true, "bos_token": "<s>", "eos_token": "<|im_end|>"}' > "$1/tokenizer_config.json"
}

@test "tokenizers: a model with more rows than tokens is trained, measured and written with" {
    make_base
    trained padded 408 tok
    run --separate-stderr -0 ppl -m padded --data rows.tok --context 16 --to json
    [[ "$output" == *'"bits_per_byte"'* ]]
    run --separate-stderr -0 generate -m padded -p 'a' -n 3
    [[ "$stderr" == *"vocabulary 400, the model has 408: the rest is never taken"* ]]
    quantize --quiet padded -o padded.nf4
    echo 'method: lora' > lora.yaml
    train lora.yaml model_name_or_path=padded.nf4 train_file=rows.smp output_dir=on-padded max_steps=1 --quiet
}

@test "tokenizers: tokens of added_tokens.json are found in text, trained and decoded" {
    make_base
    grown_tokenizer grown
    printf 'ab<think>cd</think>' > text
    [ "$(ids_of text -m tok --no-bos)" != "$(ids_of text -m grown --no-bos)" ]
    [[ ",$(ids_of text -m grown)," == ",1,"*",400,"*",401," ]]
    tokenize --quiet --format text -m grown text -o t.tok
    [ "$(tokenize --decode --format text -m grown t.tok)" = 'ab<think>cd</think>' ]
    trained more 403 grown
    cmp more/added_tokens.json grown/added_tokens.json
    run --separate-stderr -0 generate -m more -p '<think>' -n 2 --verbose
    [[ "$stderr" == *"ids: 1 400"* ]]
}

@test "tokenizers: a token beyond the model's rows is refused by name, and only that" {
    make_base
    grown_tokenizer grown
    trained few 400 grown
    ppl -m few --data rows.tok --context 16 --quiet > /dev/null
    run --separate-stderr -0 generate -m few -p 'a' -n 2
    [[ "$stderr" == *"added tokens from 400 on are beyond the model's rows"* ]]
    run --separate-stderr -3 generate -m few -p 'a<think>' -n 2
    [[ "$stderr" == *"token 400 of the prompt is beyond the model's 400 rows"* ]]
    sed 's/"text":"/&<think>/' docs.jsonl > with.jsonl
    tokenize --quiet -m grown with.jsonl -o with.tok
    run --separate-stderr -3 ppl -m few --data with.tok --context 16
    [[ "$stderr" == *"made with a vocabulary of 403, the model has 400, and token "*" is 400"* ]]
    pack --quiet --context 16 --strategy split with.tok -o with.smp
    run --separate-stderr -3 train scratch.yaml model_name_or_path=few attention=full train_file=with.smp output_dir=x max_steps=1
    [[ "$stderr" == *"vocabulary 403, the model has 400, and sample "*" has token 400"* ]]
    [ ! -e x ]
}

@test "tokenizers: BOS and EOS stand where the tokenizer's files put them" {
    printf 'the world' > text
    bos=700 eos=701
    mkdir t
    cp "$golden/bpe/llama3/tokenizer.json" t/
    [[ "$(ids_of text -m "$golden/bpe/llama3")" == "$bos,"* ]]
    [[ "$(ids_of text -m "$golden/bpe/gpt2")" != "$bos,"* ]]
    [[ "$(ids_of text -m "$golden/bpe/gpt2" --bos)" == "$bos,"* ]]
    plain=$(ids_of text -m "$golden/bpe/llama3" --no-bos)
    [ "$(ids_of text -m t)" = "$bos,$plain" ]
    # Of a tokenizer.json the post_processor alone decides, as in transformers 5.
    echo '{"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "add_bos_token": false}' > t/tokenizer_config.json
    [ "$(ids_of text -m t)" = "$bos,$plain" ]
    perl -pi -e 's/\{"Sequence": \{"id": "A", "type_id": 0\}\}\], "pair"/{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|end_of_text|>", "type_id": 0}}], "pair"/;
        s/"special_tokens": \{/"special_tokens": {"<|end_of_text|>": {"id": "<|end_of_text|>", "ids": [701], "tokens": ["<|end_of_text|>"]}, /' t/tokenizer.json
    [ "$(ids_of text -m t)" = "$bos,$plain,$eos" ]
    [ "$(ids_of text -m t --no-eos)" = "$bos,$plain" ]
    [ "$(ids_of text -m "$golden/bpe/gpt2" --bos --eos)" = "$bos,$(ids_of text -m "$golden/bpe/gpt2"),$eos" ]
    run --separate-stderr -2 tokenize --bos --no-bos -m t text
    [[ "$stderr" == "tokenize: --bos and --no-bos exclude each other"* ]]
    make_tokenizer
    [[ "$(ids_of text -m "$made/tok")" == "1,"* ]]
    cp "$made/tok/tokenizer.model" t/tokenizer.model
    rm t/tokenizer.json
    echo '{"add_bos_token": false}' > t/tokenizer_config.json
    [[ "$(ids_of text -m t)" != "1,"* ]]
    echo '{"add_bos_token": true, "add_eos_token": true}' > t/tokenizer_config.json
    [[ "$(ids_of text -m t)" == "1,"*",2" ]]
    sed 's/"eos_token"/"no_token"/' "$golden/bpe/gpt2/tokenizer_config.json" > t/tokenizer_config.json
    cp "$golden/bpe/gpt2/tokenizer.json" t/
    rm t/tokenizer.model
    sed -i 's/end_of_text/the_end/' t/tokenizer.json
    run --separate-stderr -3 tokenize --eos -m t text --format text
    [[ "$stderr" == "tokenize: t: the tokenizer has no EOS piece: leave --eos out" ]]
}

@test "tokenizers: special tokens in a text are text, unless --parse-special is given" {
    make_base
    printf 'a<|end_of_text|>' > text
    [[ "$(ids_of text -m "$golden/bpe/llama3")" != *",701" ]]
    [[ "$(ids_of text -m "$golden/bpe/llama3" --parse-special)" == *",701" ]]
    printf 'a</s>' > text
    [[ "$(ids_of text -m tok)" != *",2" ]]
    [[ "$(ids_of text -m tok --parse-special)" == *",2" ]]
    run --separate-stderr -0 generate -m base -p 'a</s>' -n 1 --verbose
    [[ "${stderr%%$'\n'*}" != *" 2" ]]
    run --separate-stderr -0 generate -m base -p 'a</s>' -n 1 --verbose --parse-special
    [[ "$stderr" == *"ids: 1 "*" 2"$'\n'* ]]
    echo '{"prompt": "a</s>"}' > lines
    run --separate-stderr -0 generate -m base --format jsonl -f lines -n 1 --parse-special
    [[ "$output" == *'"completion"'* ]]
}

@test "tokenizers: what has no piece gives no token, and is counted" {
    mkdir t
    perl -MJSON::PP -e 'local $/; my $j = decode_json(<STDIN>); my $v = $j->{model}{vocab}; $v->{"\x{2603}"} = delete $v->{"Z"}; binmode STDOUT, ":utf8";
        $j->{model}{merges} = [ grep { $_ !~ /Z/ } @{$j->{model}{merges}} ]; print JSON::PP->new->canonical->encode($j); ' \
        < "$golden/bpe/gpt2/tokenizer.json" > t/tokenizer.json
    printf 'aZa' > text
    run --separate-stderr -0 tokenize --format text --to jsonl -m t text
    [[ "$stderr" == *"1 characters or bytes have no piece in this vocabulary and gave no token"* ]]
    printf 'aa' > other
    [ "$(ids_of text -m t)" = "$(ids_of other -m t)" ]
}

@test "tokenizers: an adapter's own tokenizer goes with it" {
    make_base
    grown_tokenizer grown
    lora run --quiet
    cp grown/* run/
    run --separate-stderr -0 generate -m base -a run -p 'a' -n 2
    [[ "$stderr" == *"tokenizer: the adapter's own, run/tokenizer.model"* ]]
    # The same pieces in another file: a field that means nothing.
    mkdir own && cp -r run/adapter* run/longqlora.json own/
    { cat tok/tokenizer.model; printf '\240\006\001'; } > own/tokenizer.model
    tokenize --quiet -m own docs.jsonl -o own.tok
    run --separate-stderr -3 ppl -m base --data own.tok --context 16
    [[ "$stderr" == *"own.tok: made with "*"tokenizer"* ]]
    ppl --quiet -m base -a own --data own.tok --context 16 --to json | grep -q bits_per_byte
    ppl --quiet -m base -a own --data docs.tok --context 16 --to json | grep -q bits_per_byte
    pack --quiet --context 32 --strategy split own.tok -o own.smp
    run --separate-stderr -3 lora x --quiet train_file=own.smp
    [[ "$stderr" == *"own.smp: tokenizer "*", the model has "* ]]
    lora on --quiet adapter_name_or_path=own train_file=own.smp
    run --separate-stderr -3 generate -m base -a run -p 'a<think>' -n 2
    [[ "$stderr" == *"token 400 of the prompt is beyond the model's 400 rows"* ]]
    lora run-base --quiet model_name_or_path=base quantization=none
    cp grown/* run-base/
    echo licence > LICENSE
    cp -rL base with-licence
    cp LICENSE with-licence/
    run --separate-stderr -0 merge -b with-licence -a run-base -o merged
    [[ "$stderr" == *"tokenizer: the adapter's own, run-base"* ]]
    cmp merged/added_tokens.json grown/added_tokens.json
    cmp merged/LICENSE LICENSE
    merge --quiet -b with-licence -a run-base --tokenizer with-licence -o plain
    [ ! -e plain/added_tokens.json ]
}

@test "tokenizers: ppl on tokens needs no tokenizer that it understands" {
    make_base
    cp -rL base odd
    rm odd/tokenizer.model
    echo '{"version": "1.0", "model": {"type": "Unigram", "vocab": []}}' > odd/tokenizer.json
    perl -e 'print pack "S*", map { 3 + $_ % 300 } 1..200' > text.u16
    run --separate-stderr -0 ppl -m odd --data text.u16 --from u16 --context 16 --to json
    [[ "$stderr" == *"no bits per byte (--bytes, or --tokenizer): odd/tokenizer.json: model Unigram is not done here"* ]]
    [[ "$output" != *'"bits_per_byte"'* ]]
    run --separate-stderr -3 ppl -m odd --tokenizer odd --data text.u16 --from u16 --context 16
    [[ "$stderr" == *"model Unigram is not done here"* ]]
    run --separate-stderr -3 generate -m odd -p a -n 1
    [[ "$stderr" == *"model Unigram is not done here"* ]]
}

@test "tokenizers: LLaMA-2's kind of tokenizer.json stands alone" {
    printf ' Ärger  <s>\nthe 世界' > text
    mkdir t
    cp "$golden/tokenizer/chars.json" t/tokenizer.json
    tokenize --quiet --format text -m t text -o t.tok
    [ "$(tokenize --decode --format text -m t t.tok; echo .)" = "$(cat text; echo .)" ]
}

@test "tokenizers: beside a tokenizer.model of another kind tokenizer.json is taken" {
    make_tokenizer
    mkdir t
    spm_train --input="$made/text" --model_prefix=t/tokenizer --model_type=bpe --vocab_size=300 --user_defined_symbols='[X]' \
        --hard_vocab_limit=false --normalization_rule_name=identity --remove_extra_whitespaces=false --minloglevel=2 > /dev/null 2>&1
    rm t/tokenizer.vocab
    printf 'the world' > text
    run --separate-stderr -3 tokenize --format text -m t text
    [[ "$stderr" == "tokenize: t/tokenizer.model: piece "*" '[X]' is user-defined: such models are not encoded here" ]]
    cp "$golden/bpe/gpt2/tokenizer.json" t/
    [ "$(ids_of text -m t)" = "$(ids_of text -m "$golden/bpe/gpt2")" ]
    # One that is understood is taken; two files of different models are told apart.
    cp "$made/tok/tokenizer.model" t/
    run --separate-stderr -3 tokenize --format text -m t text
    [[ "$stderr" == "tokenize: t/tokenizer.model: tokenizer.json: added token '<|begin_of_text|>' says id 700, but tokenizers gives it 400"* ]]
}

@test "tokenizers: a space before the text that tokenizer_config.json takes away from SentencePiece's file is refused" {
    make_base
    cp -rL tok mine
    echo '{"add_prefix_space": true}' > mine/tokenizer_config.json
    tokenize --quiet -m mine docs.jsonl -o a.tok
    echo '{"add_prefix_space": false}' > mine/tokenizer_config.json
    run --separate-stderr -3 tokenize -m mine docs.jsonl -o b.tok
    [[ "$stderr" == *"tokenizer_config.json: 'add_prefix_space': false is not understood beside a tokenizer.model"* ]]
    [ ! -e b.tok ]
}
