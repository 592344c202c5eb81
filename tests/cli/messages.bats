load helper

# A message must state the input, the place, what is wrong and what to do next. Most tests
# here repeat a mistake that a user made.

says() { # STATUS MESSAGE COMMAND...
    run --separate-stderr "-$1" "${@:3}"
    [[ "$stderr" == "$2" ]] || { printf '%s\n%s\n' "$2" "$stderr"; false; }
}
ends() { # STATUS PATTERN COMMAND...: PATTERN must match the last line
    run --separate-stderr "-$1" "${@:3}"
    [[ "${stderr_lines[-1]}" == $2 ]] || { printf '%s\n%s\n' "$2" "$stderr"; false; }
}

@test "messages: sizes have a unit in which they are not zero" {
    make_base
    for command in "quantize base -o x.nf4" "ppl -m base -d docs.tok -c 16" \
        "generate -m base.nf4 --tokenizer base -p a -n 1" \
        "generate -m base -p a -n 1"; do
        run --separate-stderr -0 $command
        [[ "$stderr" == *B* ]]
        run ! grep -E '(^|[^0-9.])0+\.0+ ?[kMGT]?B' <<< "$stderr"
    done
}

@test "messages: quantize prints the error of each kind of linear layer, and of each layer with --verbose" {
    make_base
    run --separate-stderr -0 quantize base -o x.nf4
    [ "$(grep -c 'relative error' <<< "$stderr")" -eq 8 ]
    run ! grep -q 'model\.layers' <<< "$stderr"
    quantize base --verbose -o y.nf4 2> each
    cmp x.nf4 y.nf4
    [ "$(grep -c '^quantize: model.layers.*: relative error' each)" -eq 14 ]
    # The mean and the worst error are computed from the lines.
    perl -e 'use strict; my (%e, %told); for (<STDIN>) {
            push @{ $e{$2} }, [$3, $1] if /^quantize: model\.layers\.(\d+)\.\w+\.(\w+)\.weight: relative error ([\d.]+),/;
            $told{$1} = [$2, $3, $4] if /^quantize: (\w+) +of 2 layers: relative error ([\d.]+) in the mean, ([\d.]+) at worst \(layer (\d+)\)$/ }
        die scalar keys %told unless keys %told == 7 && keys %e == 7;
        for my $kind (keys %e) { my ($mean, $worst) = (0, [-1]); for (@{ $e{$kind} }) { $mean += $_->[0] / 2; $worst = $_ if $_->[0] > $worst->[0] }
            die $kind unless abs($told{$kind}[0] - $mean) < 1.1e-4 && $told{$kind}[1] == $worst->[0] && $told{$kind}[2] == $worst->[1] }' \
                < each
    quantize base --to bnb -o bnb 2> each
    [ "$(grep -c 'relative error' each)" -eq 8 ]
    says 2 \
        'quantize: a model is needed: quantize MODEL -o FILE (see quantize --help)' \
        quantize
}

@test "messages: if something else is given as an adapter, the message says what it is" {
    make_base
    lora run --quiet save_steps=2
    # The folder of a run that did not end.
    rm run/adapter_* run/longqlora.json
    newest=$(ls -d run/checkpoint-* | sort -t- -k2n | tail -n 1)
    says 3 \
        "generate: run: no adapter yet: the run there is not finished: resume it, or name its newest checkpoint, $newest" \
        generate -m base -a run -p x
    generate --quiet -m base -a "$newest" -p x -n 1 > /dev/null
    says 1 'ppl: nowhere: No such file or directory' ppl -m base -a nowhere -d docs.tok -c 16
    says 1 'ppl: base: a model, not an adapter: it has config.json and no adapter_config.json: name the adapter'"'"'s directory' ppl \
        -m base -a base -d docs.tok -c 16
    says 1 'merge: tok: no adapter_config.json in it, so it is not an adapter'"'"'s directory: name the one that has it' merge --base \
        base --adapter tok -o x
    says 1 \
        'merge: run/checkpoint-4/adapter_model.safetensors: a file: an adapter is the directory with adapter_config.json in it' \
        merge --base base --adapter run/checkpoint-4/adapter_model.safetensors -o x
    rm run/checkpoint-4/adapter_model.safetensors
    says 1 \
        'merge: run/checkpoint-4: neither adapter_model.safetensors nor adapter_model.bin in it' \
        merge --base base --adapter run/checkpoint-4 -o x
    # An adapter is given instead of a model. The message names the program's option.
    says 3 'quantize: run/checkpoint-4: an adapter, not a model: name its base base.nf4 here instead' \
        quantize run/checkpoint-4 -o x
    says 3 \
        'ppl: run/checkpoint-4: an adapter, not a model: name its base base.nf4 here instead, and the adapter with --adapter' \
        ppl -m run/checkpoint-4 -d docs.tok -c 16
    [ ! -e x ]
}

@test "messages: an adapter of another base is refused with the names of both and what to do" {
    make_base
    lora ad --quiet
    cp -rL base other
    printf '\x01' | dd of=other/model.safetensors bs=1 seek=$(($(stat -c %s \
        other/model.safetensors) - 3)) conv=notrunc status=none
    for command in "ppl -m other -a ad -d docs.tok -c 16" "generate -m other -a ad -p x" \
        "merge --base other --adapter ad -o x"; do
        grown=
        [[ $command != merge* ]] ||
            grown=' or --resize-vocab DIR if that is this base with added tokens,'
        ends 3 \
            "${command%% *}: ad: trained on the base base.nf4 (digest $(digest_of ad)), not on other (digest *): take that base,$grown or --force-base" \
            $command
    done
    [ ! -e x ]
    ppl --quiet -m other -a ad -d docs.tok -c 16 --force-base > /dev/null
}
digest_of() { perl -MJSON::PP \
    -e 'local $/; open my $f, "<", "$ARGV[0]/longqlora.json"; print decode_json(<$f>)->{base}' \
    "$1"; }

@test "messages: shards without an index, and an index with missing shards, are refused" {
    make_base
    split_shards() { # DIRECTORY: makes two shards and their index
        cp -rL base "$1" && rm "$1/model.safetensors"
        perl -MJSON::PP \
            -e 'my $dir = shift; local $/; open my $f, "<", "base/model.safetensors"; binmode $f; my $all = <$f>;
            my $length = unpack "Q<", $all; my $h = decode_json(substr $all, 8, $length); my $data = substr $all, 8 + $length; delete $h->{__metadata__};
            my @names = sort keys %$h; my %map;
            for my $n (1, 2) { my $file = "model-0000$n-of-00002.safetensors"; my ($own, $bytes) = ({}, "");
                for (grep { $n == 1 ? $_ lt $names[@names / 2] : $_ ge $names[@names / 2] } @names) { my ($from, $to) = @{ $h->{$_}{data_offsets} };
                    $own->{$_} = { %{ $h->{$_} }, data_offsets => [length $bytes, length($bytes) + $to - $from] }; $bytes .= substr $data, $from, $to - $from; $map{$_} = $file }
                my $json = encode_json($own); $json .= " " x (-length($json) % 8);
                open my $o, ">", "$dir/$file"; binmode $o; print $o pack("Q<", length $json), $json, $bytes }
            open my $o, ">", "$dir/model.safetensors.index.json"; print $o encode_json({ metadata => {}, weight_map => \%map })' "$1"
    }
    split_shards whole
    quantize --quiet whole -o whole.nf4
    cmp whole.nf4 base.nf4
    cp -r whole without && rm without/*.index.json
    says 1 \
        'quantize: without: it has 2 shards of a model (model-00001-of-00002.safetensors …), but no model.safetensors.index.json, which says which tensor is in which file: fetch it too' \
        quantize without -o x
    cp -r whole part && rm part/model-00002-of-00002.safetensors
    says 1 \
        'quantize: part/model.safetensors.index.json: it lists model-00002-of-00002.safetensors, which is not there: fetch it too' \
        quantize part -o x
    cp -r whole none && rm none/model-*-of-*
    says 1 \
        'quantize: none/model.safetensors.index.json: it lists model-00001-of-00002.safetensors and 1 other shards of 2, which are not there: fetch them too' \
        quantize none -o x
    cp -r whole moved && sed -i 's/"lm_head.weight":"model-00001/"lm_head.weight":"model-00002/' \
        moved/*.index.json
    says 3 \
        'quantize: moved/model.safetensors.index.json: lm_head.weight must be in model-00002-of-00002.safetensors, which lacks it: does the index belong to another model?' \
        quantize moved -o x
    cp -r whole fewer && sed -i 's/"lm_head.weight":"[^"]*",\?//; s/,}/}/' fewer/*.index.json
    says 3 \
        'quantize: fewer/model.safetensors.index.json: model-00001-of-00002.safetensors holds lm_head.weight, which the index does not list: do they belong to the same model?' \
        quantize fewer -o x
    mkdir empty
    says 1 "quantize: empty: no config.json in it: not a model's directory" quantize empty -o x
    says 3 'ppl: base/config.json: a file: a model is named by its directory, base' ppl \
        -m base/config.json -d docs.tok -c 16
    [ ! -e x ]
}

@test "messages: a file that Git LFS has not fetched is recognised" {
    make_base
    pointer='version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345'
    for file in model.safetensors tokenizer.model config.json; do
        rm -rf cloned && cp -rL base cloned && rm -rf cloned/checkpoint*
        printf '%s\n' "$pointer" > cloned/$file
        says 3 \
            "generate: cloned/$file: a pointer of Git LFS in place of the file: run git lfs pull" \
            generate -m cloned -p x
    done
    mkdir json && printf '%s\n' "$pointer" > json/tokenizer.json
    says 3 \
        "tokenize: json/tokenizer.json: a pointer of Git LFS in place of the file: run git lfs pull" \
        tokenize -m json docs.jsonl -o x
    lora ad --quiet
    for file in adapter_model.safetensors adapter_config.json longqlora.json; do
        rm -rf cloned && cp -r ad cloned
        printf '%s\n' "$pointer" > cloned/$file
        says 3 \
            "generate: cloned/$file: a pointer of Git LFS in place of the file: run git lfs pull" \
            generate -m base --force-base --adapter cloned -p x
    done
    printf '%s\n' "$pointer" > recipe.yaml
    says 3 "train: recipe.yaml: a pointer of Git LFS in place of the file: run git lfs pull" train \
        recipe.yaml
    [ ! -e x ]
}

@test "messages: an unknown template is a usage error that lists the templates, before anything is read" {
    names='longqlora, vicuna, alpaca, llama-2, llama-3, llama-3.1, zephyr, chatml, qwen3, qwen3-no-think, deepseek, deepseek-r1, phi-3, phi-3-medium, phi-4, phi-4-mini, gemma, gemma-3, granite, olmo-2, mistral, mistral-v3, mistral-nemo, mistral-small, mistral-2023, mistral-2023-space, vicuna-apart, auto, or a file'
    says 2 \
        "tokenize: --template: 'llama3' is neither a template nor a file: did you mean llama-3? there are $names (see tokenize --help)" \
        tokenize -m nowhere --format chat --template llama3 x.jsonl
    make_base
    says 2 \
        "generate: --chat: 'vicunaa' is neither a template nor a file: did you mean vicuna? there are $names (see generate --help)" \
        generate -m base -p x --chat vicunaa
    says 2 "tokenize: --template needs --format chat (see tokenize --help)" tokenize -m tok \
        --template vicuna docs.jsonl
}

@test "messages: if a model has no tokenizer, the message names both files that could be one" {
    make_base
    mkdir none
    says 1 "tokenize: none: neither tokenizer.model nor tokenizer.json in it: name the model's own directory or file" tokenize -m none \
        docs.jsonl
    says 1 "generate: none: neither tokenizer.model nor tokenizer.json in it: name the model's own directory or file" generate -m base.nf4 \
        --tokenizer none -p x
    cp -rL base bare && rm bare/tokenizer*
    says 2 \
        'generate: bare: neither tokenizer.model nor tokenizer.json in it: name one with --tokenizer DIR (see generate --help)' \
        generate -m bare -p x
    says 2 \
        'generate: base.nf4: a weights stream, which has no tokenizer: name one with --tokenizer DIR (see generate --help)' \
        generate -m base.nf4 -p x
}

@test "messages: if a line has no text, the message lists its keys and names the option" {
    make_tokenizer
    says 3 \
        "tokenize: standard input:1: byte 16: no string 'text', but 'messages': a conversation? (--format chat)" \
        tokenize -m "$made/tok" <<< '{"messages":[]}'
    says 3 \
        "tokenize: standard input:1: byte 27: no string 'text', but 'output': a conversation? (--format chat)" \
        tokenize -m "$made/tok" <<< '{"input":"a","output":"b"}'
    says 3 \
        "tokenize: standard input:1: byte 32: no string 'text', but 'raw_content', as RedPajama v2 has (--text-key raw_content)" \
        tokenize -m "$made/tok" <<< '{"url":"u","raw_content":"abc"}'
    says 3 \
        "tokenize: standard input:1: byte 43: no string 'text', but 'content', 'meta.set' (--text-key KEY)" \
        tokenize -m "$made/tok" <<< '{"content":"abc","meta":{"set":"x"},"n":1}'
    says 3 "tokenize: standard input:1: byte 14: no string 'text': its value is no string" \
        tokenize -m "$made/tok" <<< '{"text":[""]}'
    says 3 \
        "tokenize: standard input:1: the record has no conversation: neither messages nor conversations, nor instruction, prompt, question, query or input together with output, response, completion or answer; it has a text, which --format jsonl reads" \
        tokenize -m "$made/tok" --format chat <<< '{"text":"a"}'
    make_documents
    tokenize --quiet -m "$made/tok" docs.jsonl -o docs.tok
    says 3 \
        "tokenize: docs.tok: a stream of LongQLoRA, where text is needed (--decode, or --from stream)" \
        tokenize -m "$made/tok" docs.tok
    [ -z "$output" ]
}

@test "messages: for a file that is not JSON lines, the message says what it may be" {
    make_tokenizer
    tok=$made/tok
    not_lines() { printf "$1" > x.jsonl; says 3 "tokenize: x.jsonl:1: $2" tokenize -m "$tok" \
        x.jsonl; }
    not_lines 'abc\n' 'byte 1: not a JSON object (plain text? --format text)'
    not_lines '{\n"text": "a"\n}\n' \
        'byte 2: a key is missing (an object over many lines? one a line is needed: jq -c .)'
    not_lines '{"text":"a"},\n' \
        'byte 13: something follows the object, which must be alone on its line (an array without its brackets? objects stand on lines without commas)'
    printf '{"text":"a"}\n' > x.jsonl
    says 3 \
        'pack: x.jsonl: does not begin with the header of a stream of tokens, which tokenize makes' \
        pack --from jsonl x.jsonl -o x
    ends 0 'tokenize: the stream has no document' tokenize -m "$tok" /dev/null -o x
    # A key that is missing, and one of another type.
    echo '{"text":"a"}' | tokenize -m "$tok" --quiet --to jsonl > made.jsonl
    sed 's/"id":"[^"]*",//' made.jsonl > x.jsonl
    says 3 "pack: x.jsonl: record 1: 'id' is missing" pack --from jsonl x.jsonl -o x
    sed 's/"id":"[^"]*",/"id":7,/' made.jsonl > x.jsonl
    says 3 "pack: x.jsonl: record 1: 'id' is not a text" pack --from jsonl x.jsonl -o x
    # If all lines are left out, the message says why the first one was.
    printf '{\n"text": "a"\n}\n' > x.jsonl
    ends 0 \
        'tokenize: the stream has no document; the first that was left out: x.jsonl:1: byte 2: a key is missing (an object over many lines? one a line is needed: jq -c .)' \
        tokenize -m "$tok" --on-error skip x.jsonl -o x
}

@test "messages: mistakes that would stop a program at its end are reported at its start" {
    make_base
    lora ad --quiet
    says 1 'merge: --tokenizer nowhere: No such file or directory' merge --base base.nf4 --adapter \
        ad -o x --tokenizer nowhere
    says 1 \
        'merge: --tokenizer tok/tokenizer.model is a file: name the directory that it lies in' \
        merge --base base.nf4 --adapter ad -o x --tokenizer tok/tokenizer.model
    says 1 "merge: --tokenizer ad: neither tokenizer.model nor tokenizer.json in it: name the model's own directory" merge --base \
        base.nf4 --adapter ad -o x --tokenizer ad
    says 1 'pack: nowhere/s: cannot create: No such file or directory: make its folder first' pack --context 16 docs.tok \
        --summary nowhere/s -o x
    says 2 "ppl: device 'gpu' is not one of auto, cpu, cpu-bf16, cuda, cuda-bf16, cuda-f16; a number after cuda, as cuda:1, chooses a GPU" ppl \
        -m base -d nowhere --device gpu
    says 2 "generate: device 'gpu' is not one of auto, cpu, cpu-bf16, cuda, cuda-bf16, cuda-f16; a number after cuda, as cuda:1, chooses a GPU" \
        generate -m base -p x --device gpu
    says 1 'generate: nowhere: No such file or directory' generate -m base -f nowhere
    [ ! -e x ]
}

@test "messages: options without effect are refused or bring a warning, and inputs that would be ignored are refused" {
    make_base
    says 2 \
        "tokenize: one stream at a time, not 'docs.tok' and 'more.tok': join more with cat (see tokenize --help)" \
        tokenize --from stream docs.tok more.tok -o x
    says 2 \
        "tokenize: one stream at a time, not 'docs.tok' and 'more.tok': join more with cat (see tokenize --help)" \
        tokenize -m tok --decode docs.tok more.tok
    says 2 "tokenize: --raw is for text, not for --from stream (see tokenize --help)" tokenize \
        --from stream --raw u16 docs.tok -o x
    says 2 \
        "tokenize: --eos: the template says what conversations begin and end with (--template) (see tokenize --help)" \
        tokenize -m tok --format chat --eos docs.jsonl -o x
    says 2 \
        "generate: --no-bos and --chat exclude each other: the template says what a conversation begins with (see generate --help)" \
        generate -m base --chat vicuna --no-bos -p x
    run --separate-stderr -0 generate -m base -p x -n 1 --top-p 0.5
    [[ "$stderr" == *"--seed change nothing: without --temperature the most likely token is taken"* ]]
    says 2 \
        "pack: --samples: --from samples copies samples unchanged: leave this out (see pack --help)" \
        pack --from samples --samples 3 16.smp -o x
    says 2 "pack: --tokenizer needs raw token ids (--from u16, u32 or u64) (see pack --help)" pack \
        --tokenizer tok docs.tok -o x
    says 3 "ppl: docs.tok: zstd, not raw token ids: is it a stream of tokens (--from stream)? Otherwise zstd -dc gives its content" ppl -m base \
        -d docs.tok --from u16 -c 16
    says 2 "merge: --adapter DIR, -o OUT_DIR are missing (see merge --help)" merge --base base
    says 2 "merge: --base MODEL is missing (see merge --help)" merge --adapter ad -o x
    # Two mistakes: one hyphen instead of two, and a dash that a word processor put in their place.
    says 2 "generate: '-model': write two dashes: --model (see generate --help)" generate -model base -p x
    says 2 \
        "generate: '—model' begins with a dash that is not a hyphen: write --model (see generate --help)" \
        generate —model base
    [ ! -e x ]
}

@test "messages: an option that belongs to another way of working is refused, also with its default value" {
    make_base
    cp "$made/text" text
    refuses() { # FORMAT COMMAND... -- OPTION...: %s in FORMAT stands for the option's name
        local format=$1 command=() option
        shift
        while [ "$1" != -- ]; do command+=("$1"); shift; done
        shift
        for option; do
            says 2 "$(printf "$format" "${option%%[= ]*}") (see ${command[0]} --help)" "${command[@]}" $option
        done
    }
    encoding=('--source a' '--source-key a' '--text-key text' --bos --no-bos --eos --no-eos
        '--on-error stop' --parse-special '--raw none')
    refuses 'needle: %s belongs to make, not to score' needle score -- '--model base' '--tasks single' \
        '--lengths 9' '--depths 0' '--count 1' '--needles 1' '--filler text' '--wording x' \
        --template '--system x' --samples '--seed 42'
    refuses 'needle: %s belongs to score, not to make' needle make -m base -- '--figure x.svg' '--to auto'
    for from in samples samples-jsonl; do
        refuses "pack: %s: --from $from copies samples unchanged: leave this out" \
            pack --from $from 16.smp -o x -- '--context 8192' '--strategy truncate' '--seed 42' \
            '--min-tokens 1' '--max-tokens 9' '--samples 1' '--quota a=1' '--upsample 5=2' '--summary y'
    done
    refuses 'pack: %s: --lengths draws nothing: use this option with --draw, which sees all shards' \
        pack --lengths docs.tok -o x -- '--seed 42' '--samples 1' '--quota a=1' '--upsample 5=2'
    refuses 'pack: %s: --lengths makes no samples: use this option where pack makes them' \
        pack --lengths docs.tok -o x -- '--context 8192' '--strategy truncate'
    refuses 'tokenize: %s is for text, not for --from stream' \
        tokenize --from stream docs.tok -o x -- "${encoding[@]}" '--format jsonl' '--model tok'
    refuses 'tokenize: %s is for text, not for --decode' tokenize -m tok --decode docs.tok -o x -- \
        "${encoding[@]}"
    says 2 'tokenize: --decode reads tokens, not --from text (see tokenize --help)' \
        tokenize -m tok --decode --from text docs.tok -o x
    refuses 'tokenize: %s needs JSON lines: with --format text a file is one document' \
        tokenize -m tok --format text text -o x -- '--text-key text' '--source-key source'
    refuses 'tokenize: %s needs --format chat' tokenize -m tok docs.jsonl -o x -- '--odd stop' \
        '--train-on all' '--show 1' --template
    echo '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}' > chat
    refuses 'tokenize: --show writes no stream: leave %s out' \
        tokenize -m tok --format chat --show 1 chat -- '--to stream' '--source a' '--source-key a'
    refuses "tokenize: %s: nothing is encoded: name the text's files, or - for standard input" \
        tokenize -m tok --add-token x --save-tokenizer y -- '--to stream' '--format jsonl' \
        "${encoding[@]}"
    refuses 'ppl: %s applies to a text, not to samples' ppl -m base -d 16.smp --from samples -- \
        '--protocol longqlora' '--stride 0' '--bytes 0' '--tokenizer tok' --per-document
    says 2 'ppl: --bytes and --tokenizer exclude each other: both say how many bytes the text has (see ppl --help)' \
        ppl -m base -d docs.tok -c 16 --bytes 9 --tokenizer tok
    for command in 'ppl -m base -d docs.tok -c 16' 'generate -m base -p x -n 1' \
        'merge --base base --to gguf -o x.gguf'; do
        ends 2 "${command%% *}: --force-base needs --adapter*" $command --force-base
    done
    says 2 'quantize: --max-shard-size belongs to --to bnb: a stream is one file (see quantize --help)' \
        quantize base -o x --max-shard-size 5000
    refuses 'merge: %s belongs to a directory (--to hf)' merge --base base --to gguf -o x.gguf -- \
        '--max-shard-size 5000' '--config-style old' '--max-positions base'
    says 2 'train: --format: only --verify prints in several formats (see train --help)' train x.yaml --format text
    says 2 'train: --verify: it stands alone, without --nvtx (see train --help)' train --verify x --nvtx
    for file in x y x.gguf; do [ ! -e $file ]; done
}

@test "messages: an option that changes nothing because of the others brings a warning" {
    make_base
    ends 0 'pack: --seed changes nothing: without --samples and --quota no document is drawn' \
        pack --quiet --context 16 --seed 42 docs.tok -o x
    says 0 '' pack --quiet --context 16 --seed 42 --samples 2 docs.tok -o x
    needles() { needle make --quiet -m "$golden/bpe/llama3" -l 900 "$@" > prompts; }
    says 0 'needle: --filler changes nothing: the texts of --tasks common,frequent are lists of words' \
        needles --tasks common,frequent --filler "$made/text"
    says 0 'needle: --depths changes nothing: --tasks multiquery spreads the needles over the text' \
        needles --tasks multiquery --depths 50
    says 0 'needle: --needles changes nothing: --tasks single has one needle' \
        needles --tasks single --needles 3 --depths 50
    says 0 '' needles --tasks single,common --needles 3 --depths 50 --filler "$made/text"
}

@test "messages: if there are fewer documents than requested, the message has both numbers" {
    make_base
    ends 0 \
        'pack: --samples 100: there are only 10 documents to draw from (see --min-tokens, --max-tokens); all are taken' \
        pack --context 16 --samples 100 docs.tok -o x
    pack --context 16 --samples 10 docs.tok -o x 2> all
    run ! grep -q only all
    run --separate-stderr -0 pack --quiet --context 16 --quota even=100 --quota odd=5 --quota \
        bok=3 docs.tok -o x
    [ "${#stderr_lines[@]}" -eq 2 ]
    [ "${stderr_lines[0]}" = \
        'pack: --quota even=100: there are only 5 documents of this source; all are taken' ]
    [ "${stderr_lines[1]}" = \
        'pack: --quota bok=3: there are only 0 documents of this source (a name that no document has?); all are taken' ]
    # If there is no document at all, the message says why.
    rm x
    ends 3 \
        'pack: docs.tok: no sample can be made: --min-tokens 5000, the longest of 10 documents has [0-9]*' \
        pack --min-tokens 5000 docs.tok -o x
    says 3 \
        "pack: docs.tok: no sample can be made: none of 10 documents has the source of a --quota and a length within the bounds" \
        pack --quota bok=3 docs.tok -o x
    says 3 \
        'pack: docs.tok: no sample can be made: of 10 documents none has --min-tokens 0 to --max-tokens 3' \
        pack --max-tokens 3 docs.tok -o x
    says 3 \
        'pack: docs.tok: no sample can be made: the documents drawn have too few tokens to fill --context 100000 (--strategy best-fit also makes shorter samples)' \
        pack --strategy concat --context 100000 docs.tok -o x
    says 2 \
        'pack: --max-tokens 5 is less than --min-tokens 9: no document is left (see pack --help)' \
        pack --min-tokens 9 --max-tokens 5 docs.tok -o x
    [ ! -e x ]
}

@test "messages: the summary of a batch counts all its answers" {
    make_base
    for i in $(seq 9); do echo "{\"prompt\":\"$i\"}"; done > prompts
    ends 0 \
        'generate: 9 prompts answered with 9 tokens in * s: * tokens/s; 9 ended by --max-new-tokens or the context' \
        generate -m base --format jsonl -f prompts -n 1
    [ "${#lines[@]}" -eq 9 ]
    says 3 \
        "generate: standard input: line 1: '[' or '{' expected near 'hello' (plain text? --format text)" \
        generate --quiet -m base --format jsonl <<< hello
    ends 0 'generate: /dev/null: no prompt in it' generate -m base --format jsonl -f /dev/null
}

@test "messages: no rate is printed if the only token came from reading the prompt" {
    make_base
    # Reading the prompt gives the first token, and here the only one.
    ends 0 'generate: prompt of * tokens in * s, 1 tokens in * s, ended by length' generate \
        -m base -p a -n 1
    ends 0 'generate: prompt of * tokens in * s, 4 tokens in * s: * tokens/s, ended by length' \
        generate -m base -p a -n 4
}

@test "messages: a program that would read from a terminal says so, or refuses" {
    make_base
    # Types a line, then the end of the input.
    typed() { printf '%s\n\x04' "$1" | script -qec "$2" /dev/null; }
    typed abc 'generate -m base -n 1' > seen
    grep \
        -q 'generate: reading the prompt from the terminal, up to the end (^D on a line of its own)' seen
    typed '{"prompt":"a"}' 'generate -m base -n 1 --format jsonl' > seen
    grep -q 'generate: reading JSON lines from the terminal' seen
    for command in 'ppl -m base' 'pack -o x' 'tokenize --from stream -o x' 'generate -m - -p x'; do
        run -2 script -qec "$command" /dev/null
        [[ "$output" == *'standard input is a terminal: name a file, or pipe'* ]]
    done
}

@test "messages: a very long path does not hide the reason of a failure" {
    long=$(printf 'd%.0s' $(seq 200))
    deep=$long/$long/$long
    run --separate-stderr -1 ppl -m "$deep" -d x
    [[ "$stderr" == "ppl: ddd"*" … "*"ddd: No such file or directory" ]]
    mkdir -p "$deep"
    run --separate-stderr -1 tokenize -m "$deep" x
    [[ "$stderr" == "tokenize: ddd"*" … "*"ddd: neither tokenizer.model nor tokenizer.json in it: name the model's own directory or file" ]]
}

@test "messages: a folder without permission is reported as that, not as one without the expected files" {
    make_base
    for folder in base tok; do cp -rL $folder own && rm $folder && mv own $folder; done
    lora ad --quiet
    chmod 000 base tok ad
    # root may read everything, but not without these capabilities.
    as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --bounding-set -dac_override,-dac_read_search)
    closed() { # FOLDER COMMAND...
        run --separate-stderr -1 "${as[@]}" "${@:2}"
        [ "${stderr##*$'\n'}" = "$2: $1: its files may not be read: Permission denied" ]
    }
    closed base quantize base -o out
    closed base ppl --model base --data docs.tok --context 16
    closed base generate --model base --prompt a
    closed tok tokenize -m tok docs.jsonl -o out
    chmod 755 base
    closed ad merge --base base --adapter ad -o out
    closed ad ppl --model base --adapter ad --data docs.tok --context 16
    chmod 755 tok ad
}

@test "messages: all missing arguments of a command line are named at once" {
    says 2 'train: no recipe is given: name a recipe.yaml first, then KEY=VALUE if wanted (see train --help)' train
    echo 'method: lora' > r.yaml
    says 2 'train: output_dir, model_name_or_path, train_file are missing: write KEY=VALUE behind the recipe, or a line KEY: VALUE in it' \
        train r.yaml
    says 2 'train: output_dir, train_file are missing: write KEY=VALUE behind the recipe, or a line KEY: VALUE in it' \
        train r.yaml model_name_or_path=m
    says 2 'train: model_name_or_path is missing: write KEY=VALUE behind the recipe, or a line KEY: VALUE in it' \
        train r.yaml --dry-run
    says 2 "ppl: unexpected operand 'x': each input is named by an option: ppl --model MODEL --data TOKENS [options] (see ppl --help)" \
        ppl x
}

@test "messages: JSON that Python reads and we refuse is refused with what to do" {
    make_base
    cp -rL base m
    python=' (Python writes it, but it is not JSON: write a number, such as 1e30 for infinity)'
    infinite() { # VALUE MESSAGE
        echo "{\"model_max_length\": $1}" > m/tokenizer_config.json
        says 3 "generate: m/tokenizer.model: m/tokenizer_config.json: line 1, column $2" \
            generate -m m -p a --max-new-tokens 1
    }
    infinite Infinity "29: invalid token near 'Infinity'$python"
    infinite -Infinity "22: invalid token near '-'$python"
    infinite NaN "24: invalid token near 'NaN'$python"
    infinite 1e400 \
        "26: real number overflow near '1e400' (Python reads it as infinity: write a smaller number, such as 1e30)"
    rm m/tokenizer_config.json
    sed -i '0,/"vocab_size"/s//"vocab_size": 7, "vocab_size"/' m/config.json
    run --separate-stderr -3 generate -m m -p a --max-new-tokens 1
    [[ "$stderr" == "generate: m/config.json: line "*": duplicate object key near '\"vocab_size\"' (Python takes the last value: remove the others; python3 -m json.tool FILE prints the file without them)" ]]
}

@test "messages: options and keys of other programs are answered with ours" {
    for case in "pack max_length context" "pack seq-len context" "ppl model_name_or_path model" \
        "ppl lora adapter" "merge model base" "merge output_dir output" "tokenize tokenizer model" \
        "generate max_tokens max-new-tokens" "generate max_length max-new-tokens" \
        "quantize outtype to" "quantize num_threads threads" "needle tokenizer model" \
        "pack sample-packing strategy" "pack neat_packing strategy"; do
        set -- $case
        says 2 "$1: unknown option --$2: did you mean --$3? (see $1 --help)" $1 --$2 x
    done
    # An option of the program itself that is nearer, and a word that means nothing.
    says 2 'pack: unknown option --max_tokens: did you mean --max-tokens? (see pack --help)' pack \
        --max_tokens 9
    says 2 'pack: unknown option --nonsense (see pack --help)' pack --nonsense
    # A key of train's recipe that one could expect of pack.
    for option in document_mask document-mask; do
        says 2 "pack: unknown option --$option: it is a key of train's recipe, because samples keep where their documents begin; auto masks the documents of --strategy best-fit (see pack --help)" \
            pack --$option=true
    done
    says 2 'quantize: unknown option --document_mask (see quantize --help)' quantize --document_mask
    says 2 'train: --lr is a key of recipes: write learning_rate=1e-4 (see train --help)' train \
        --lr 1e-4
    says 2 'train: --max-length is a key of recipes: write max_seq_length=256 (see train --help)' \
        train r.yaml --max-length=256
}

@test "messages: the commands in messages have the folder with which the program was started" {
    make_base
    echo 'method: lora' > l.yaml
    ln -s "$(command -v train)" train
    for name in train ./train "$PWD/train"; do
        run --separate-stderr -2 "$name" l.yaml model_name_or_path=base train_file=32.smp \
            output_dir=x
        [[ "$stderr" == *": run ${name/%train/quantize} base -o base.nf4 and name that"* ]]
    done
    mkdir 'a b'
    mv train 'a b/'
    run --separate-stderr -2 'a b/train' l.yaml model_name_or_path=base train_file=32.smp output_dir=x
    [[ "$stderr" == *": run quantize base -o base.nf4 and name that"* ]]
}

@test "messages: a limit for the CPU's kernels or for memory that says nothing is refused by name" {
    make_base
    for device in cpu auto; do
        LONGQLORA_CPU=V3 run --separate-stderr -2 generate --model base --prompt a -n 1 \
            --device $device
        [[ "$stderr" == "generate: LONGQLORA_CPU=V3 is not one of baseline, v3, v4, dots"* ]]
    done
    LONGQLORA_MEMORY=24G run --separate-stderr -2 generate --model base --prompt a -n 1
    [[ "$stderr" == "generate: LONGQLORA_MEMORY=24G is not a number of bytes"* ]]
}

@test "messages: a missing or invalid plug-in for a GPU is reported with what to do" {
    make_base
    on_gpu="generate --model base --prompt a -n 1 --device cuda"
    LONGQLORA_CUDA=$PWD/nowhere.so run --separate-stderr -1 $on_gpu
    [[ "$stderr" == "generate: device cuda: there is no usable kernels-cuda.so, which make builds where nvcc is installed; --device cpu works without it ("*nowhere.so*")" ]]
    [ -e "$BUILD/tests/fault.so" ] || return 0
    LONGQLORA_CUDA=$BUILD/tests/fault.so run --separate-stderr -1 $on_gpu
    [[ "$stderr" == \
        "generate: device cuda: $BUILD/tests/fault.so has no table of kernels (does LONGQLORA_CUDA name another file?)" ]]
}
