load helper

# Makes the tiny base with its vocabulary. Its context is 16 tokens.
setup() {
    cd "$BATS_TEST_TMPDIR"
    make_base
}

@test "generate: a prompt from an option, a file or standard input gets the same answer with any threads" {
    run --separate-stderr -0 generate -m base -p 'abc' -n 8
    first=$output
    [ -n "$first" ]
    [[ "$stderr" == *"rope: none (16), theta 500; context: "*"; base: unquantized"* ]]
    [[ "$stderr" == *" 8 tokens in "*" tokens/s, ended by length"* ]]
    echo abc > prompt
    [ "$(generate --quiet -m base -f prompt -n 8 --threads 1)" = "$first" ]
    [ "$(generate --quiet -m base -n 8 < prompt)" = "$first" ]
    zstd -q prompt
    [ "$(generate --quiet -m base -f prompt.zst -n 8)" = "$first" ]
    run --separate-stderr -0 generate --quiet -m base -p abc -n 8
    [ -z "$stderr" ]
}

@test "generate: a stream and an adapter give the text that the merged model gives" {
    generate --quiet --tokenizer tok/tokenizer.model -m base.nf4 -p abc -n 6 > nf4
    generate --quiet --tokenizer tok -m - -p abc -n 6 < base.nf4 | cmp - nf4
    printf 'method: lora\n' > lora.yaml
    train --quiet lora.yaml model_name_or_path=base train_file="$made/32.smp" output_dir=ad \
        max_steps=30 learning_rate=0.02 per_device_train_batch_size=4 lora_rank=4 attention=full \
        quantization=none rope=linear:2
    merge --quiet --base base --adapter ad -o merged --dtype f32
    run --separate-stderr -0 generate -m base -a ad -p abc -n 24
    [[ "$stderr" == *"rope: linear 2 (16 → 32)"*"unquantized + adapter"* ]]
    [ "$output" = "$(generate --quiet -m merged -p abc -n 24)" ]
    # An adapter that does not fit gives one line of message.
    cp -r ad odd
    sed -i 's/"r": *[0-9]*/"r": 5/' odd/adapter_config.json
    run --separate-stderr -3 generate --quiet -m base --adapter odd -p abc -n 2
    [[ "$stderr" == \
        "generate: odd/adapter_model.safetensors: "*".lora_"*" is "*", but adapter_config.json has the rank r 5" ]]
    [ "$output" != "$(generate --quiet -m base --rope linear:2 -p abc -n 24)" ]
    run --separate-stderr -2 generate -m base -a ad --rope none -p abc
    [[ "$stderr" == *"the adapter brings its own position scaling, linear:2"* ]]
}

@test "generate: random choices repeat for a seed, and differ between seeds" {
    args=(--quiet -m base -p abc -n 12 --temperature 1.5)
    a=$(generate "${args[@]}" --seed 3 | xxhsum)
    [ "$a" = "$(generate "${args[@]}" --seed 3 --threads 1 | xxhsum)" ]
    [ "$a" != "$(generate "${args[@]}" --seed 4 | xxhsum)" ]
    # With a single candidate, the result equals the greedy one.
    [ "$(generate "${args[@]}" --top-k 1)" = "$(generate --quiet -m base -p abc -n 12)" ]
}

@test "generate: a stop text ends the answer and is not printed" {
    draw=(-m base -p abc -n 12 --temperature 2 --top-k 300)
    whole=$(generate --quiet "${draw[@]}")
    stop=${whole:4:2}
    run --separate-stderr -0 generate "${draw[@]}" --stop zzzz --stop "$stop"
    [ "$output" = "${whole%%"$stop"*}" ]
    [[ "$stderr" == *"ended by stop"* ]]
}

@test "generate: the EOS of generation_config.json ends an answer; a bad EOS there or in config.json is refused" {
    generate --quiet -m base -p abc -n 3 -v 2>&1 > /dev/null | head -n 1
    third=$(generate --quiet -m base -n 3 --format jsonl <<< '{"prompt":"abc"}' | \
        sed 's/.*"completion":"\([^"]*\)".*/\1/')
    cp -rL base eos
    ids=$(tokenize --quiet -m tok/tokenizer.model --no-bos --format text --to jsonl <(printf '%s' \
        "$third") | sed -n 's/.*"tokens":\[\([0-9]*\).*/\1/p')
    # Finds the first token that the model generates: makes seven candidates EOS in one run, until
    # the answer ends with one of them, then each of these seven alone.
    ends() { # IDS: joined by commas
        echo "{\"eos_token_id\": [399, $1]}" > eos/generation_config.json
        generate -m eos -p abc -n 1 2>&1 > /dev/null | grep -q 'ended by eos'
    }
    for first in $(seq 3 7 399); do if ends "$(seq -s , $first $((first + 6)))"; then break; \
        fi; done
    for id in $(seq $first $((first + 6))); do if ends $id; then break; fi; done
    run --separate-stderr -0 generate -m eos -p abc -n 5
    [ -z "$output" ]
    [[ "$stderr" == *"0 tokens in"*"ended by eos"* ]]
    echo '{"eos_token_id": "x"}' > eos/generation_config.json
    run --separate-stderr -3 generate -m eos -p abc
    [ "$stderr" = "generate: eos/generation_config.json: eos_token_id is not a token number" ]
    rm eos/generation_config.json
    sed -i 's/"eos_token_id": *2/"eos_token_id": -1/' eos/config.json
    run --separate-stderr -3 generate -m eos -p abc
    [ "$stderr" = "generate: eos/config.json: eos_token_id is not a token number" ]
}

@test "generate: a message names the options that generation_config.json asks for, and what is not supported" {
    cp -rL base own
    told() { # CONFIG MESSAGE [OPTIONS...]: the message about the file, or nothing
        echo "$1" > own/generation_config.json
        run --separate-stderr -0 generate -m own -p abc -n 1 "${@:3}"
        [ "$(grep 'asks for' <<< "$stderr")" = \
            "${2:+generate: own/generation_config.json asks for $2}" ]
    }
    given=', which has no effect unless it is given here'
    told '{"repetition_penalty":1.05}' "--repetition-penalty 1.05$given"
    told '{"repetition_penalty":1.05}' '' --repetition-penalty 1.2
    told '{"repetition_penalty":1.05}' '' --quiet
    told '{"do_sample":true,"temperature":0.7,"top_p":0.8,"top_k":20,"min_p":0.1,"repetition_penalty":1.1}' \
        "--temperature 0.7 --top-k 20 --top-p 0.8 --min-p 0.1 --repetition-penalty 1.1$given"
    told '{"do_sample":true,"temperature":0.7,"top_p":0.8}' "--top-p 0.8$given" --temperature 0.5
    told '{"do_sample":true}' "--temperature 1$given"
    # Without do_sample, transformers takes the most likely token too.
    told '{"temperature":0.7,"top_p":0.8,"top_k":20,"max_new_tokens":9,"num_beams":1,"min_length":0}' ''
    told '{"do_sample":false,"temperature":0.7,"suppress_tokens":[],"bad_words_ids":null}' ''
    told '{"no_repeat_ngram_size":3,"suppress_tokens":[7],"forced_eos_token_id":0}' \
        'no_repeat_ngram_size, forced_eos_token_id, suppress_tokens, which is not supported'
    told '{"repetition_penalty":1.3,"min_new_tokens":2}' \
        "--repetition-penalty 1.3$given; and for min_new_tokens, which is not supported"
}

@test "generate: the end tokens of generation_config.json end an answer of a weights stream, also in a pipe" {
    cp -rL base eos
    # Finds 64 ids of which one is the first token that the stream generates.
    for first in $(seq 0 64 384); do
        echo "{\"eos_token_id\": [$(seq -s , $first $((first + 63)))]}" > eos/generation_config.json
        quantize --quiet eos -o eos.nf4
        generate -m eos.nf4 --tokenizer tok -p abc -n 1 2> said > /dev/null
        if grep -q 'ended by eos' said; then break; fi
    done
    grep -q '0 tokens in .*ended by eos' said
    quantize --quiet eos | generate -m - --tokenizer tok -p abc -n 3 2>&1 | grep 'ended by eos'
    quantize --quiet base | generate -m - --tokenizer tok -p abc -n 1 2>&1 | grep 'ended by length'
    # An empty list leaves those of config.json, and a bad one is refused.
    echo '{"eos_token_id": []}' > eos/generation_config.json
    quantize --quiet eos | generate -m - --tokenizer tok -p abc -n 1 2>&1 | grep 'ended by length'
    echo '{"eos_token_id": "x"}' > eos/generation_config.json
    run --separate-stderr -3 quantize eos -o bad.nf4
    [[ "$stderr" == *"quantize: eos/generation_config.json: eos_token_id is not a token number" ]]
    [ ! -e bad.nf4 ]
}

@test "generate: JSON lines are answered by JSON lines, each line independently of the others" {
    printf '%s\n' '{"id":1,"prompt":"abc"}' '{"prompt":"","id":2}' '{"prompt":"de f","extra":[1]}' \
        > in
    run --separate-stderr -0 generate --quiet -m base --format jsonl -f in -n 4 --temperature 1
    [ "${#lines[@]}" -eq 3 ]
    [[ "${lines[0]}" == '{"id":1,"prompt":"abc","completion":"'*'","tokens":4,"stop":"length"}' ]]
    [[ "${lines[2]}" == *'"extra":[1]'* ]]
    third=${lines[2]}
    # A number that is too large for any program is copied as it is written.
    wide='"id":-123456789012345678901234567890,"m":[1e999,{"a":1E+400}],"s":"{\"a\": 1e999}"'
    said=$(generate --quiet -m base --format jsonl -n 4 <<< "{$wide,\"prompt\":\"abc\"}")
    [[ "$said" == "{$wide,\"prompt\":\"abc\",\"completion\":\""* ]]
    run --separate-stderr -3 generate --quiet -m base --format jsonl <<< \
        '{"prompt":"a","seed":99999999999999999999}'
    [ "$stderr" = "generate: standard input: line 1: 'seed' must be a whole number" ]
    # A line may have any escape and any key, also one that looks like what stands for a number.
    for more in '"u":"\u0001"' '"\u0001number":"9"' '"u":{"\u0001number":"5"}' '"u":"{\"number 0\":"'; do
        for wide in '"y":1e400' '"id":123456789012345678901'; do
            run -0 generate --quiet -m base -n 1 --format jsonl <<< "{\"prompt\":\"a\",$wide,$more}"
            [[ "$output" == *"$wide,$more"* ]]
        done
    done
    run --separate-stderr -3 generate --quiet -m base --format jsonl <<< '{"prompt":1e999}'
    [[ "$stderr" == "generate: standard input: line 1: no string 'prompt', which each line needs"* ]]
    run --separate-stderr -3 generate --quiet -m base --format jsonl <<< '{"a":1e999e5,"prompt":"a"}'
    [[ "$stderr" == "generate: standard input: line 1: "* ]]
    # The same line gives the same draws if it is the third line of a file with other lines.
    printf '%s\n' '{"prompt":"x y"}' '{"prompt":"z"}' '{"prompt":"de f","extra":[1]}' > other
    [ "$(generate --quiet -m base --format jsonl -n 4 --temperature 1 < other | tail -n 1)" = \
        "$third" ]
    run --separate-stderr -3 generate --quiet -m base --format jsonl <<< \
        $'{"prompt":"a"}\n{"text":"a"}'
    [ "$stderr" = \
        "generate: standard input: line 2: no string 'prompt', but 'text': jq -c '.prompt = .text' adds one" ]
    run --separate-stderr -3 generate --quiet -m base --format jsonl <<< '{"id":1}'
    [ "$stderr" = "generate: standard input: line 1: no string 'prompt', which each line needs: {\"prompt\": \"…\"}" ]
    run --separate-stderr -3 generate --quiet -m base --format jsonl <<< '{"prompt":'
    [[ "$stderr" == "generate: standard input: line 1: "* ]]
    run --separate-stderr -3 generate --quiet -m base --format jsonl <<< \
        '{"prompt":"a b c d e f g h i j k l m n o p q r s t"}'
    [[ "$stderr" == \
        "generate: standard input: line 1: a prompt of "*" tokens, but the context holds 16 with the answer: shorten it, or raise --context" ]]
}

@test "generate --chat: the whole prompt is encoded at once, as tokenize encodes it" {
    # These are the tokens that tokenize --format chat makes from the same prompt, up to the answer.
    echo '{"input":"what is it?","output":"no"}' > chat.jsonl
    for template in longqlora vicuna vicuna-apart alpaca llama-2 zephyr mistral; do
        tokenize --quiet -m tok/tokenizer.model --format chat --template $template chat.jsonl --to \
            jsonl > chat.tok
        start=$(sed -n 's/.*"targets":\[\[*\([0-9]*\).*/\1/p' chat.tok)
        want=$(sed -n 's/.*"tokens":\[\([0-9,]*\)\].*/\1/p' chat.tok | tr , '\n' | \
            head -n "$start" | tr '\n' ' ')
        run --separate-stderr -0 generate -m base --chat $template -p 'what is it?' -n 2 -c 400 -v
        got=$(grep '^ids: ' <<< "$stderr" | cut -d' ' -f2-)
        [ -n "$want" ] && [ "$got " = "$want" ]
    done
    run --separate-stderr -3 generate -m base --chat llama-3 -p 'what is it?'
    [ "$stderr" = \
        "generate: llama-3: the tokenizer has no token <|start_header_id|>: a template for another model?" ]
    # One prompt comes from standard input, and the template, which has BOS, from a file.
    echo '{"system":"","turn":"<{}>","bos":true}' > plain.json
    echo 'it' > prompt
    run --separate-stderr -0 generate -m base --chat plain.json -n 2 -v < prompt
    [[ "$stderr" == *"ids: 1 "* ]]
    run --separate-stderr -0 generate --quiet -m base --chat plain.json --format jsonl -n 2 <<< \
        '{"prompt":"it","system":"be brief "}'
    [[ "$output" == *'"system":"be brief ","completion":'* ]]
}

@test "generate --chat: an empty question is refused, as in training" {
    echo '{"system":"","turn":"<{}>","bos":false}' > turn.json
    empty='the prompt is empty, and --chat answers a question: write one'
    for input in '' ' ' $'\n\t'; do
        run --separate-stderr -3 generate --quiet -m base --chat turn.json -n 1 <<< "$input"
        [ "$stderr" = "generate: $empty" ]
        run --separate-stderr -3 generate --quiet -m base --chat turn.json -n 1 -p "$input"
        [ "$stderr" = "generate: $empty" ]
    done
    run --separate-stderr -3 generate --quiet -m base --chat turn.json -n 1 --format jsonl <<< \
        '{"prompt":" "}'
    [ "$stderr" = "generate: standard input: line 1: $empty" ]
}

# await TEXT N: waits until the terminal has shown the text N times, at most ten seconds.
await() {
    for _ in $(seq 200); do
        [ "$(grep -o -e "$1" seen 2> /dev/null | wc -l)" -lt "$2" ] || return 0
        sleep 0.05
    done
}

# Waits until a prompt is the last that the terminal shows, at most ten seconds. Newer versions of
# libedit show a prompt twice if the line has a tab.
await_prompt() {
    for _ in $(seq 200); do
        [ "$(tail -c 3 seen)" != $'\n> ' ] || return 0
        sleep 0.05
    done
}

# chat LINES…: types the lines on a terminal, each at a prompt. All output goes to the file `seen`.
chat() {
    local prompts=0
    rm -f seen
    for line; do await '> ' $((++prompts)); printf '%s\n' "$line"; done | (cat; \
        await '> ' $(($# + 1)); await_prompt; printf '\004'; sleep 0.5) |
        timeout 60 script -qec \
            "generate -m base --chat turn.json -n 4 -c ${context:-200} -v --threads 1" /dev/null > \
            seen 2>&1
}

@test "generate --chat: on a terminal the history is part of each prompt, and is dropped when the context is full" {
    echo '{"system":"","turn":"<{}>","bos":false}' > turn.json
    chat 'ab' 'cd'
    [ "$(grep -c 'ids:' seen)" -eq 2 ]
    first=$(grep -o 'ids:[0-9 ]*' seen | head -n 1) second=$(grep -o 'ids:[0-9 ]*' seen | tail -n 1)
    [[ "$second" == "$first"* ]]
    [ "$(wc -w <<< "$second")" -ge $(( $(wc -w <<< "$first") + 5 )) ]
    context=16 chat 'ab' 'cd' 'a prompt that is so long that it alone does not fit any more' 'ef'
    grep -q 'the oldest 1 turns are forgotten' seen
    grep -q 'a prompt of .* tokens, but the context holds 16' seen
    [ "$(grep -c 'ids:' seen)" -eq 3 ]
}

@test "generate --chat: a terminal's line is read as it was typed, in any locale: letters beyond ASCII, and tabs" {
    echo '{"system":"","turn":"<{}>","bos":false}' > turn.json
    line=$'caf\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87 READ\tx'
    touch README
    wanted=$(printf '%s' "$line" | generate -m base --chat turn.json -n 1 -c 200 -v --quiet 2>&1 |
        grep -o 'ids:[0-9 ]*')
    unset LANG LC_ALL LC_CTYPE
    for locale in '' C.UTF-8 C de_XX.UTF-8; do
        [ -z "$locale" ] || export LC_ALL=$locale
        chat "$line"
        cat seen
        [ "$(grep -o 'ids:[0-9 ]*' seen)" = "$wanted" ]
    done
}

@test "generate --chat: ^C during an answer stops the answer; ^C at the prompt ends the program" {
    echo '{"system":"","turn":"<{}>","bos":false}' > turn.json
    cp -rL base long
    sed \
        -i 's/"max_position_embeddings": *16/"max_position_embeddings": 1000000/; s/"eos_token_id": *2/"eos_token_id": 399/' \
        long/config.json
    rm -f seen
    (await '> ' 1; printf 'ab\n'; await ids: 1; sleep 0.3; printf '\003'; await '> ' 2; \
        printf 'cd\n'; await ids: 2; sleep 0.3; printf '\003'
        await '> ' 3; printf '\003'; sleep 0.5; printf 'ef\n'; sleep 0.5) |
        timeout 60 script -qec \
            "generate -m long --chat turn.json -n 900000 -c 60000 -v --threads 1" /dev/null > seen \
            2>&1 || status=$?
    echo "status ${status:-0}, the end of what was seen: $(tail -c 200 seen)"
    [ "$(grep -c 'ids:' seen)" -eq 2 ]
    [ "${status:-0}" -eq 130 ]
}

@test "generate: a dry run prints how much memory a run would take" {
    run --separate-stderr -0 generate -m base --dry-run --context 64
    [[ "$output" =~ context\ +64\ tokens ]]
    # 2 layers of 64 rows. A row has keys and values, each of 2 heads of 8 numbers of 2 bytes.
    [[ "$output" =~ keys\ and\ values\ +8192\ bytes ]]
    run --separate-stderr -0 generate -m base --dry-run --context 64 --exact-cache
    [[ "$output" =~ keys\ and\ values\ +16384\ bytes ]]
    # A dry run needs no weights and no tokenizer.
    export LONGQLORA_MEMORY=1000000000
    output=$(generate -m base --dry-run --context 64 --exact-cache)
    [ "$output" = "$(generate -m base/config.json --dry-run --context 64 --exact-cache)" ]
    run --separate-stderr -0 generate -m base --dry-run -p abc -n 5
    [[ "$output" =~ context\ +[0-9]+\ tokens ]]
}

@test "generate: a text beyond the model's context gives a warning; a prompt that does not fit is refused" {
    run --separate-stderr -0 generate -m base --context 40 -p abc -n 20
    [[ "$stderr" == *"is beyond the 16 that the model's positions allow"* ]]
    run --separate-stderr -3 generate -m base -p 'a b c d e f g h i j k l m n o p q r s t'
    [[ "$stderr" == \
        "generate: a prompt of "*" tokens, but the context holds 16 with the answer: shorten it, or raise --context" ]]
}

@test "generate: a closed pipe ends the program without a message; a full disk is an error" {
    (generate -m base --context 4000 -p abc -n 3900 2> err || echo $? > status) | \
        head -c 5 > /dev/null
    [ "$(cat status)" -eq 141 ]
    run ! grep -q 'standard output' err
    run --separate-stderr -1 bash -c 'generate --quiet -m base -p abc -n 4 > /dev/full'
    [[ "$stderr" == "generate: standard output: cannot write: No space left on device" ]]
    run --separate-stderr -1 bash \
        -c "generate --quiet -m base --format jsonl -n 4 <<< '{\"prompt\":\"a\"}' > /dev/full"
    [[ "$stderr" == "generate: standard output: "* ]]
}

@test "generate: each mistake gives one line of message" {
    check() {
        local want=$1 status=$2
        shift 2
        run --separate-stderr "-$status" generate "$@"
        [[ "$stderr" == *"$want"* ]] || { echo "$stderr"; return 1; }
        [ "$(wc -l <<< "$stderr")" -eq 1 ]
    }
    check '--model is needed' 2 -p x
    check 'did you mean --top-p' 2 -m base --topp 1
    check '--top-p: 0 is not in (0, 1]' 2 -m base -p x --top-p 0
    check '--temperature: -1 is negative' 2 -m base -p x --temperature -1
    check '--prompt is needed: standard input is the model' 2 -m -
    check 'exclude each other' 2 -m base -p x -f y
    check '--stop: the text is empty: leave the option out' 2 -m base -p x --stop ''
    check '--system needs --chat' 2 -m base -p x --system y
    check '--prompt: byte 4: invalid UTF-8 (another encoding? iconv' 2 -m base -p $'caf\xe9 au'
    check '--system: byte 1: invalid UTF-8' 2 -m base -p x --chat longqlora --system $'\xff'
    check '--stop: byte 2: invalid UTF-8' 2 -m base -p x --stop $'a\xc3'
    printf 'caf\xe9 au' > latin1
    check 'latin1: byte 4: invalid UTF-8 (another encoding? iconv' 3 -m base -f latin1
    check \
        'base.nf4: a weights stream, which has no tokenizer: name one with --tokenizer DIR (see generate --help)' \
        2 -m base.nf4 -p x
    check 'nowhere' 1 -m nowhere -p x
    check \
        "--chat: 'nowhere.json' is neither a template nor a file: there are longqlora, vicuna, alpaca, llama-2, llama-3, llama-3.1, zephyr, chatml, qwen3, qwen3-no-think, deepseek, deepseek-r1, phi-3, phi-3-medium, phi-4, phi-4-mini, gemma, gemma-3, granite, olmo-2, mistral, mistral-v3, mistral-nemo, mistral-small, mistral-2023, mistral-2023-space, vicuna-apart, auto, or a file" \
        2 -m base -p x --chat nowhere.json
    cp -rL base other
    sed -i 's/"vocab_size": *400/"vocab_size": 399/' other/config.json
    check '' 3 -m other -p x
    check 'neither a SentencePiece model' 3 -m base -p x --tokenizer "$golden/../cli/helper.bash"
}

@test "generate: prompts with a common beginning are computed together, and answers keep the file's order" {
    make_base
    perl -e 'srand 5; my @w = map { my $w = $_; join " ", map { chr(97 + ($w * 7 + $_) % 26) } 1 .. 60 } 1 .. 3;
        my @p = map { my $w = $_; map { qq({"prompt":"$w $_","id":$_}\n) } 1 .. 4 } @w;
        my @o = sort { $a->[0] <=> $b->[0] } map { [ rand, $_ ] } @p; print map { $_->[1] } @o' > prompts
    asks=(generate -m base --context 500 -n 3 --format jsonl --temperature 1)
    # Prompts from a pipe are answered one after the other.
    cat prompts | "${asks[@]}" --quiet > piped
    run --separate-stderr -0 "${asks[@]}" -f prompts
    printf '%s\n' "${lines[@]}" > filed
    diff piped filed
    [[ "$stderr" =~ of\ ([0-9]+)\ tokens\ of\ prompts\ ([0-9]+)\ were\ in\ the\ cache ]]
    # Four prompts share each beginning. For three of them it is already in the cache.
    [ $((10 * BASH_REMATCH[2])) -gt $((7 * BASH_REMATCH[1])) ]
    run --separate-stderr -0 "${asks[@]}" < prompts
    [ "$(printf '%s\n' "${lines[@]}")" = "$(cat piped)" ]
    # A line that cannot be answered ends the program after the earlier lines were answered.
    (head -n 3 prompts; echo '{"prompt":7}'; tail -n 3 prompts) > bad
    run --separate-stderr -3 "${asks[@]}" --quiet -f bad
    [ "$(printf '%s\n' "${lines[@]}")" = "$(head -n 3 piped)" ]
    [[ "$stderr" == *"generate: bad: line 4: no string 'prompt'"* ]]
    # So does a prompt that is too long, although the sorted prompts begin with it.
    (head -n 3 prompts; perl -e 'printf qq({"prompt":"%s"}\n), "a " x 600') > bad
    run --separate-stderr ! "${asks[@]}" --quiet -f bad
    [ "$(printf '%s\n' "${lines[@]}")" = "$(head -n 3 piped)" ]
    (head -n 3 prompts; echo '{"prompt":') > bad
    run --separate-stderr -3 "${asks[@]}" --quiet -f bad
    [ "${#lines[@]}" = 3 ]
    [[ "$stderr" == *"generate: bad: line 4: "* ]]
}
