load helper

# Tests tokenizers and models in the forms in which users have them: padded rows, added tokens, and
# files that decide about BOS.

# Makes a model whose embedding has this many rows, trained for one step on the tokenizer's tokens.
trained() { # DIRECTORY ROWS TOKENIZER
    config rows.json "$2"
    tokenize --quiet -m "$3" docs.jsonl -o rows.tok
    pack --quiet --context 16 --strategy split rows.tok -o rows.smp
    train scratch.yaml from_scratch=true attention=full model_name_or_path=rows.json \
        tokenizer="$3" train_file=rows.smp output_dir="$1" \
        max_steps=1 --quiet
}

grown_tokenizer() { # DIRECTORY: makes a tokenizer like LLaMA's with three more tokens
    mkdir "$1"
    cp tok/tokenizer.model "$1/"
    echo '{"<think>": 400, "</think>": 401, "<|im_end|>": 402}' > "$1/added_tokens.json"
    echo \
        '{"tokenizer_class": "LlamaTokenizer", "add_bos_token": true, "bos_token": "<s>", "eos_token": "<|im_end|>"}' \
        > "$1/tokenizer_config.json"
}

@test "tokenizers: a model with more rows than tokens is trained, measured and generates" {
    make_base
    trained padded 408 tok
    run --separate-stderr -0 ppl -m padded --data rows.tok --context 16 --to json
    [[ "$output" == *'"bits_per_byte"'* ]]
    run --separate-stderr -0 generate -m padded -p 'a' -n 3
    [[ "$stderr" == *"the tokenizer has 400 tokens, but padded has 408 rows: tokens of the other rows are never generated"* ]]
    quantize --quiet padded -o padded.nf4
    echo 'method: lora' > lora.yaml
    train lora.yaml model_name_or_path=padded.nf4 train_file=rows.smp output_dir=on-padded \
        max_steps=1 --quiet
}

@test "tokenizers: tokens of added_tokens.json are found in text, trained on and decoded" {
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

@test "tokenizers: a token beyond the model's rows is refused by name, but only if a text contains it" {
    make_base
    grown_tokenizer grown
    trained few 400 grown
    ppl -m few --data rows.tok --context 16 --quiet > /dev/null
    run --separate-stderr -0 generate -m few -p 'a' -n 2
    [[ "$stderr" == *"added tokens from 400 on are beyond the model's rows"* ]]
    run --separate-stderr -3 generate -m few -p 'a<think>' -n 2
    [[ "$stderr" == *"the prompt: token "*" is 400, but the vocabulary of the model has only 400 tokens: "* ]]
    sed 's/"text":"/&<think>/' docs.jsonl > with.jsonl
    tokenize --quiet -m grown with.jsonl -o with.tok
    run --separate-stderr -3 ppl -m few --data with.tok --context 16
    [[ "$stderr" == *"with.tok: token "*" is 400, but the vocabulary of the model has only 400 tokens: tokenize the text "* ]]
    pack --quiet --context 16 --strategy split with.tok -o with.smp
    run --separate-stderr -3 train scratch.yaml model_name_or_path=few attention=full \
        train_file=with.smp output_dir=x max_steps=1
    [[ "$stderr" == *"with.smp: sample "*": token "*" is 400, but the vocabulary of the model has only 400 tokens: "* ]]
    [ ! -e x ]
}

@test "tokenizers: BOS and EOS are placed as the tokenizer's files say" {
    printf 'the world' > text
    bos=700 eos=701
    mkdir t
    cp "$golden/bpe/llama3/tokenizer.json" t/
    [[ "$(ids_of text -m "$golden/bpe/llama3")" == "$bos,"* ]]
    [[ "$(ids_of text -m "$golden/bpe/gpt2")" != "$bos,"* ]]
    [[ "$(ids_of text -m "$golden/bpe/gpt2" --bos)" == "$bos,"* ]]
    plain=$(ids_of text -m "$golden/bpe/llama3" --no-bos)
    [ "$(ids_of text -m t)" = "$bos,$plain" ]
    # For a tokenizer.json only the post_processor decides, as in transformers 5.
    echo \
        '{"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "add_bos_token": false}' \
        > t/tokenizer_config.json
    [ "$(ids_of text -m t)" = "$bos,$plain" ]
    perl -pi \
        -e 's/\{"Sequence": \{"id": "A", "type_id": 0\}\}\], "pair"/{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|end_of_text|>", "type_id": 0}}], "pair"/;
        s/"special_tokens": \{/"special_tokens": {"<|end_of_text|>": {"id": "<|end_of_text|>", "ids": [701], "tokens": ["<|end_of_text|>"]}, /' \
            t/tokenizer.json
    [ "$(ids_of text -m t)" = "$bos,$plain,$eos" ]
    [ "$(ids_of text -m t --no-eos)" = "$bos,$plain" ]
    [ "$(ids_of text -m "$golden/bpe/gpt2" --bos --eos)" = \
        "$bos,$(ids_of text -m "$golden/bpe/gpt2"),$eos" ]
    run --separate-stderr -2 tokenize --bos --no-bos -m t text
    [[ "$stderr" == "tokenize: --bos and --no-bos exclude each other"* ]]
    make_tokenizer
    [[ "$(ids_of text -m "$made/tok")" == "1,"* ]]
    cp "$made/tok/tokenizer.model" t/tokenizer.model
    rm t/tokenizer.json
    # If no file decides, BOS is added. transformers 5 adds none then, and a message says so unless
    # --bos or --no-bos is given.
    echo '{"bos_token": "<s>"}' > t/tokenizer_config.json
    run --separate-stderr -0 tokenize --format text --to jsonl -m t text
    [[ "$output" == *'"tokens":[1,'* &&
        "$stderr" == \
        *"t/tokenizer.model: each text begins with BOS, "*"transformers 5 adds none"* ]]
    run --separate-stderr -0 tokenize --format text --to jsonl -m t text --bos
    [[ "$stderr" != *"begins with BOS"* ]]
    echo '{"add_bos_token": false}' > t/tokenizer_config.json
    [[ "$(ids_of text -m t)" != "1,"* ]]
    echo '{"add_bos_token": true, "add_eos_token": true}' > t/tokenizer_config.json
    [[ "$(ids_of text -m t)" == "1,"*",2" ]]
    sed 's/"eos_token"/"no_token"/' "$golden/bpe/gpt2/tokenizer_config.json" > \
        t/tokenizer_config.json
    cp "$golden/bpe/gpt2/tokenizer.json" t/
    rm t/tokenizer.model
    sed -i 's/end_of_text/the_end/' t/tokenizer.json
    run --separate-stderr -3 tokenize --eos -m t text --format text
    [[ "$stderr" == "tokenize: t: the tokenizer has no EOS piece: leave --eos out" ]]
}

@test "tokenizers: special tokens in a text are plain text, unless --parse-special is given" {
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

@test "tokenizers: a character that the vocabulary lacks gives no token, and is counted" {
    mkdir t
    perl -MJSON::PP \
        -e 'local $/; my $j = decode_json(<STDIN>); my $v = $j->{model}{vocab}; $v->{"\x{2603}"} = delete $v->{"Z"}; binmode STDOUT, ":utf8";
        $j->{model}{merges} = [ grep { $_ !~ /Z/ } @{$j->{model}{merges}} ]; print JSON::PP->new->canonical->encode($j); ' \
        < "$golden/bpe/gpt2/tokenizer.json" > t/tokenizer.json
    printf 'aZa' > text
    run --separate-stderr -0 tokenize --format text --to jsonl -m t text
    [[ "$stderr" == *"1 characters or bytes have no piece in this vocabulary and gave no token"* ]]
    printf 'aa' > other
    [ "$(ids_of text -m t)" = "$(ids_of other -m t)" ]
}

@test "tokenizers: an adapter's own tokenizer is used with it, and is copied into the merged model" {
    make_base
    grown_tokenizer grown
    lora run --quiet
    cp grown/* run/
    run --separate-stderr -0 generate -m base -a run -p 'a' -n 2
    [[ "$stderr" == *"tokenizer: the adapter's own, run/tokenizer.model"* ]]
    # own/ has the same tokenizer with an unknown field at the end: the same ids, another digest.
    mkdir own && cp -r run/adapter* run/longqlora.json own/
    { cat tok/tokenizer.model; printf '\240\006\001'; } > own/tokenizer.model
    tokenize --quiet -m own docs.jsonl -o own.tok
    run --separate-stderr -3 ppl -m base --data own.tok --context 16
    [[ "$stderr" == *"own.tok: its tokenizer is "*", but that of the model is "* ]]
    ppl --quiet -m base -a own --data own.tok --context 16 --to json | grep -q bits_per_byte
    ppl --quiet -m base -a own --data docs.tok --context 16 --to json | grep -q bits_per_byte
    pack --quiet --context 32 --strategy split own.tok -o own.smp
    run --separate-stderr -3 lora x --quiet train_file=own.smp
    [[ "$stderr" == *"own.smp: its tokenizer is "*", but that of the model is "* ]]
    run --separate-stderr -3 lora x --quiet eval_file=own.smp
    [[ "$stderr" == *"own.smp: its tokenizer is "*", but that of the training samples is "*": both are "* ]]
    run --separate-stderr -3 tokenize -m tok --decode own.tok
    [[ "$stderr" == *"own.tok: its tokenizer is "*", but that of --model is "*": name the tokenizer "* ]]
    mkdir other && cp own/tokenizer.model other/
    run --separate-stderr -3 generate -m base.nf4 --tokenizer other -p a -n 1
    [[ "$stderr" == *": its tokenizer is "*", but that of base.nf4 is "*": --tokenizer names the directory "* ]]
    lora on --quiet adapter_name_or_path=own train_file=own.smp
    run --separate-stderr -3 generate -m base -a run -p 'a<think>' -n 2
    [[ "$stderr" == *"the prompt: token "*" is 400, but the vocabulary of the model has only 400 tokens: "* ]]
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

@test "tokenizers: ppl on tokens works with a model whose tokenizer is not understood" {
    make_base
    cp -rL base odd
    rm odd/tokenizer.model
    echo '{"version": "1.0", "model": {"type": "Unigram", "vocab": []}}' > odd/tokenizer.json
    perl -e 'print pack "S*", map { 3 + $_ % 300 } 1..200' > text.u16
    run --separate-stderr -0 ppl -m odd --data text.u16 --from u16 --context 16 --to json
    [[ "$stderr" == \
        *"bits per byte are not computed (they need --bytes or --tokenizer): odd/tokenizer.json: model Unigram is not supported"* ]]
    [[ "$output" != *'"bits_per_byte"'* ]]
    run --separate-stderr -3 ppl -m odd --tokenizer odd --data text.u16 --from u16 --context 16
    [[ "$stderr" == *"model Unigram is not supported"* ]]
    run --separate-stderr -3 generate -m odd -p a -n 1
    [[ "$stderr" == *"model Unigram is not supported"* ]]
}

@test "tokenizers: a tokenizer.json of LLaMA-2's kind works without tokenizer.model" {
    printf ' Ärger  <s>\nthe 世界' > text
    mkdir t
    cp "$golden/tokenizer/chars.json" t/tokenizer.json
    tokenize --quiet --format text -m t text -o t.tok
    [ "$(tokenize --decode --format text -m t t.tok; echo .)" = "$(cat text; echo .)" ]
}

@test "tokenizers: if tokenizer.model is not understood, the tokenizer.json beside it is used" {
    make_tokenizer
    mkdir t
    spm_train --input="$made/text" --model_prefix=t/tokenizer --model_type=bpe --vocab_size=300 \
        --user_defined_symbols='[X]' \
        --hard_vocab_limit=false --normalization_rule_name=identity \
        --remove_extra_whitespaces=false --minloglevel=2 > /dev/null 2>&1
    rm t/tokenizer.vocab
    printf 'the world' > text
    run --separate-stderr -3 tokenize --format text -m t text
    [[ "$stderr" == \
        "tokenize: t/tokenizer.model: piece "*" '[X]' is user-defined: such models are not supported; use the model's tokenizer.json" ]]
    cp "$golden/bpe/gpt2/tokenizer.json" t/
    [ "$(ids_of text -m t)" = "$(ids_of text -m "$golden/bpe/gpt2")" ]
}

@test "tokenizers: add_prefix_space false beside SentencePiece's file is refused" {
    make_base
    cp -rL tok mine
    echo '{"add_prefix_space": true}' > mine/tokenizer_config.json
    tokenize --quiet -m mine docs.jsonl -o a.tok
    echo '{"add_prefix_space": false}' > mine/tokenizer_config.json
    run --separate-stderr -3 tokenize -m mine docs.jsonl -o b.tok
    [[ "$stderr" == \
        *"tokenizer_config.json: 'add_prefix_space': false is not supported beside a tokenizer.model"* ]]
    [ ! -e b.tok ]
}

small_tokenizer() { # DIRECTORY KIND: makes one of the two small tokenizers, bytes or chars
    mkdir "$1"
    cp "$golden/tokenizer/$2.json" "$1/tokenizer.json"
}

refuses() { # STATUS TEXT COMMAND...: must print one line that has the text, and make no output
    run --separate-stderr "-$1" "${@:3}"
    [[ "$stderr" == *"$2"* ]] || { echo "$stderr lacks $2"; return 1; }
    [ "${#stderr_lines[@]}" = 1 ]
    [ -z "$output" ]
}

@test "tokenizers: a tokenizer_class that would change tokenizer.json is reported; contradicting keys are refused" {
    printf 'the  12 words' > text
    small_tokenizer t bytes
    names='"bos_token": null, "eos_token": null, "unk_token": null'
    plain=$(ids_of text -m t)
    echo "{\"tokenizer_class\": \"GPT2Tokenizer\", $names}" > t/tokenizer_config.json
    run --separate-stderr -0 tokenize --format text --to jsonl -m t text
    [[ "$stderr" != *GPT2Tokenizer* ]]
    perl -pi \
        -e 's/"pre_tokenizer": (\{[^}]*\})/"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, $1]}/' \
        t/tokenizer.json
    run --separate-stderr -0 tokenize --format text --to jsonl -m t text
    [[ "$stderr" == \
        *"t/tokenizer.json: the file is used unchanged, "*"turns it into a GPT2Tokenizer (tokenizer_class), which has another pre_tokenizer: "* ]]
    digits=$(ids_of text -m t)
    [ "$digits" != "$plain" ]
    echo '{"tokenizer_class": "PreTrainedTokenizerFast"}' > t/tokenizer_config.json
    run --separate-stderr -0 tokenize --format text --to jsonl -m t text
    [[ "$stderr" != *"used unchanged"* ]]
    [ "$(ids_of text -m t)" = "$digits" ]
    echo "{\"tokenizer_class\": \"GPT2TokenizerFast\", $names, \"add_prefix_space\": true}" > \
        t/tokenizer_config.json
    refuses 3 \
        "t/tokenizer.json: tokenizer_config.json says 'add_prefix_space': true, so transformers' GPT2Tokenizer puts a space before a text, but tokenizer.json puts none: remove the key if the file is right" \
        tokenize --format text -m t text
    # transformers reads a byte-level file unchanged if the class is LlamaTokenizer, and a mistral
    # model's file whatever the class. So there is nothing to report, and no key is refused.
    echo "{\"tokenizer_class\": \"LlamaTokenizer\", $names, \"add_prefix_space\": true}" > \
        t/tokenizer_config.json
    [ "$(ids_of text -m t)" = "$digits" ]
    small_tokenizer c chars
    echo '{"tokenizer_class": "LlamaTokenizer", "add_prefix_space": false}' > \
        c/tokenizer_config.json
    refuses 3 "puts no space before a text, but tokenizer.json puts one" tokenize --format text \
        -m c text
    echo '{"model_type": "mistral"}' > c/config.json
    run --separate-stderr -0 tokenize --format text --to jsonl -m c text
    [[ "$stderr" != *"used unchanged"* ]]
    echo '{"fix_mistral_regex": true}' > c/tokenizer_config.json
    refuses 3 "'fix_mistral_regex': true, so transformers replaces the pattern" tokenize \
        --format text -m c text
}

@test "tokenizers: a file that is not a tokenizer is named, with what to do" {
    printf 'the words' > text
    refuses 1 \
        "org/name: No such file or directory; if that is a name of the hub, fetch it first (hf download org/name --local-dir DIR) and name DIR" \
        tokenize --format text -m org/name text
    mkdir slow
    cp "$golden/tokenizer/bytes.json" slow/all.json
    perl -MJSON::PP -e 'local $/; print encode_json(decode_json(<STDIN>)->{model}{vocab})' < \
        slow/all.json > slow/vocab.json
    refuses 3 \
        "slow/vocab.json: this is a vocabulary without merges (vocab.json), but tokenizer.model or tokenizer.json is needed: name the folder" \
        tokenize --format text -m slow/vocab.json text
    refuses 1 \
        "slow: neither tokenizer.model nor tokenizer.json in it, but vocab.json, of which transformers makes a tokenizer.json: AutoTokenizer" \
        tokenize --format text -m slow text
    echo '{"tokenizer_class": "LlamaTokenizer"}' > slow/tokenizer_config.json
    refuses 3 "this is a tokenizer_config.json, but tokenizer.model or tokenizer.json is needed" \
        tokenize --format text -m slow/tokenizer_config.json text
    echo '{"model_type": "llama"}' > slow/config.json
    refuses 3 "this is a model's config.json, but tokenizer.model or tokenizer.json is needed" tokenize \
        --format text -m slow/config.json text
}

@test "tokenizers: vocabularies of tiktoken and tekken are named, with what to do" {
    way="use the model's tokenizer.json; if there is none, transformers makes it: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
    printf 'IQ== 0\nIg== 1\n' > tokenizer.model
    run --separate-stderr -3 tokenize -m tokenizer.model - < /dev/null
    [ "$stderr" = "tokenize: tokenizer.model: this is a vocabulary of tiktoken: $way" ]
    printf \
        '{"config": {"pattern": "x"}, "vocab": [{"rank": 0, "token_bytes": "AA==", "token_str": "\\u0000"}]}' \
        > tekken.json
    run --separate-stderr -3 tokenize -m tekken.json - < /dev/null
    [ "$stderr" = "tokenize: tekken.json: this is a vocabulary of Mistral's tekken: $way" ]
}

@test "tokenizers: a byte order mark, a broken link, a circle of links and a file without permission are refused by name" {
    printf 'the words' > text
    mark=$'\xef\xbb\xbf'
    as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --bounding-set -dac_override,-dac_read_search)
    small_tokenizer t bytes
    for name in tokenizer_config.json special_tokens_map.json added_tokens.json; do
        printf '%s{}' "$mark" > "t/$name"
        refuses 3 "t/$name: begins with a byte order mark, which JSON does not allow" tokenize --format \
            text -m t text
        ln -sf gone "t/$name"
        refuses 1 \
            "t/$name: a link to a file that is not there: fetch the file again, or remove the link" \
            tokenize --format text -m t text
        ln -sf "$name" "t/$name"
        refuses 1 \
            "t/$name: cannot be read: Too many levels of symbolic links: make it readable, or remove it" \
            tokenize --format text -m t text
        mkdir -p shut && echo '{}' > shut/file && ln -sf ../shut/file "t/$name" && chmod 600 shut
        refuses 1 "t/$name: cannot be read: Permission denied: make it readable, or remove it" \
            "${as[@]}" tokenize --format text -m t text
        chmod 700 shut
        rm "t/$name"
    done
    tokenize --quiet --format text -m t text > /dev/null
    { printf %s "$mark"; cat "$golden/tokenizer/bytes.json"; } > t/tokenizer.json
    refuses 3 "t/tokenizer.json: JSON: begins with a byte order mark" tokenize --format text \
        -m t text
    ln -sf gone t/tokenizer.json
    refuses 1 "t/tokenizer.json: a link to a file that is not there" tokenize --format text -m t text
}

@test "tokenizers: an empty or missing chat_template.jinja and a template with unknown braces are refused" {
    make_base
    cp -rL tok t
    echo '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}' \
        > chat
    echo '{"chat_template": "x"}' > t/tokenizer_config.json
    printf ' \n' > t/chat_template.jinja
    refuses 3 \
        "t/chat_template.jinja: an empty chat_template turns every conversation into nothing: fetch the file again" \
        tokenize --format chat --template auto -m t chat
    ln -sf gone t/chat_template.jinja
    refuses 1 "t/chat_template.jinja: a link to a file that is not there" tokenize --format chat \
        --template auto -m t chat
    rm t/chat_template.jinja
    echo '{"chat_template": ""}' > t/tokenizer_config.json
    refuses 3 "t/tokenizer_config.json: an empty chat_template turns every conversation" tokenize \
        --format chat --template auto -m t chat
    template() { echo "{\"turn\": \"$1\", \"end\": \"</s>\", \"special\": [\"</s>\"]}" > w.json; }
    template '{bos}Q: {} A: '
    tokenize --quiet --format chat --template w.json -m tok chat -o a.tok
    template 'Q: {{}} {\"a\": {}} A: '
    refuses 3 "'turn' needs one {}" tokenize --format chat --template w.json -m tok chat
    for word in '{foo}' '{input}' '{{ messages }}'; do
        template "Q: {} $word A: "
        refuses 3 "w.json: 'turn': the placeholder {" tokenize --format chat --template w.json -m tok chat
    done
    [[ "$stderr" == \
        *"'turn': the placeholder { messages } is not possible there; possible are {} {system} {bos} {eos}"* ]]
}

@test "tokenizers: NFC composes characters, and leaves composed ones unchanged" {
    small_tokenizer t bytes
    perl -pi -e 's/"normalizer": null/"normalizer": {"type": "NFC"}/' t/tokenizer.json
    printf 'caf\xc3\xa9 \xea\xb0\x81' > composed
    printf 'cafe\xcc\x81 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8' > apart
    [ "$(ids_of apart -m t)" = "$(ids_of composed -m t)" ]
    [ "$(ids_of composed -m t)" = "$(ids_of composed -m "$golden/tokenizer/bytes.json")" ]
    [ "$(ids_of apart -m t)" != "$(ids_of apart -m "$golden/tokenizer/bytes.json")" ]
}
