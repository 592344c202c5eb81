# GGUF files that merge writes are read again by our programs. tests/golden/llamacpp.py is run by
# hand and tests such files with llama.cpp itself.

load helper

nll() { grep -o '"nll": *[0-9.]*' | grep -o '[0-9.]*$'; }
loss() { # MODEL OPTION...
    local tokens=docs.tok
    [[ "$1" != *.gguf ]] || tokens=gguf.tok # the same ids, of another tokenizer's file
    ppl --quiet -m "$@" --data $tokens --context 32 --device cpu --to json | nll
}
near() { # A B PERCENT
    awk -v a="$1" -v b="$2" -v p="$3" 'BEGIN { exit !(a > 0 && a < b * (1 + p / 100) && b < a * (1 + p / 100)) }'
}
says() { # STATUS TEXT COMMAND...: must fail with this status and one line that has the text
    local status=$1 text=$2
    shift 2
    run -"$status" --separate-stderr "$@"
    [[ "$stderr" == *"$text"* ]] || { echo "$stderr lacks $text"; return 1; }
    [ "${#stderr_lines[@]}" = 1 ]
}
# Makes ad/, an adapter of base/ with linear position scaling.
make_adapter() {
    make_base
    once ad train_adapter
    ln -sf "$made/ad" .
}
train_adapter() {
    (cd "$made" && lora ad.new model_name_or_path=base quantization=none rope=linear:2 --quiet \
        --device cpu &&
        mv ad.new ad)
}

@test "merge --to gguf: the file computes what the merged directory does, with its position scaling and tokens" {
    make_adapter
    local of=(--base base --adapter ad --tokenizer tok) type
    merge --quiet "${of[@]}" -o merged
    run -0 --separate-stderr merge "${of[@]}" --to gguf -o m.gguf
    [[ "$stderr" == *"rope: linear 2 (16 → 32)"*"m.gguf: f32, context_length 32"* ]]
    tokenize --quiet -m m.gguf docs.jsonl -o gguf.tok
    [ "$(loss merged)" = "$(loss m.gguf)" ]
    run -0 --separate-stderr ppl -m m.gguf -d gguf.tok -c 32 --device cpu
    [[ "$stderr" == *"rope: linear 2 (16 → 32)"* ]]
    tokenize --quiet -m tok docs.jsonl --to jsonl | grep '"id"' > own.ids
    tokenize --quiet -m m.gguf docs.jsonl --to jsonl | grep '"id"' > gguf.ids
    cmp own.ids gguf.ids
    for type in f16:0.1 bf16:1 q8_0:1 q4_0:20; do
        merge --quiet "${of[@]}" --to gguf --dtype ${type%:*} -o ${type%:*}.gguf 2> told
        near "$(loss ${type%:*}.gguf)" "$(loss merged)" ${type#*:}
    done
    # feed_forward_length is 48, so a row of down_proj is not a multiple of a block.
    grep -q 'q4_0.gguf: 2 tensors are stored in f16, because their rows are not a multiple of 32, for example .*down_proj' told
    [ "$(stat -c %s q4_0.gguf)" -lt "$(stat -c %s q8_0.gguf)" ]
    [ "$(stat -c %s q8_0.gguf)" -lt "$(stat -c %s f16.gguf)" ]
}

@test "merge, generate: transformers' 10^30, a length without a limit, is read in every file" {
    make_base
    cp -rL base limitless
    cp -L tok/tokenizer.model limitless
    no_limit=1000000000000000019884624838656
    echo "{\"model_max_length\":$no_limit,\"tokenizer_class\":\"LlamaTokenizer\"}" > \
        limitless/tokenizer_config.json
    echo "{\"max_length\":$no_limit,\"eos_token_id\":2}" > limitless/generation_config.json
    perl -pi -e "s/^\{/{\"model_max_length\":$no_limit,/ if \$. == 1" limitless/config.json
    merge --quiet --base limitless --to gguf -o limitless.gguf
    tokenize --quiet -m limitless.gguf docs.jsonl -o gguf.tok
    [ "$(loss limitless.gguf)" = "$(loss base)" ]
    [ "$(generate --quiet -m limitless -p a -n 4)" = "$(generate --quiet -m base -p a -n 4)" ]
}

# Prints the end tokens of a file: the values of three keys, and what our reading makes of the file.
ends() { # FILE
    perl -0777 -ne 'for my $k (qw(eos eot eom)) {
        print "$k ", /tokenizer\.ggml\.${k}_token_id\x04\0\0\0(....)/s ? unpack("V", $1) : "-", " " }' "$1"
    rm -rf read
    quantize --quiet --to bnb "$1" -o read
    perl -MJSON::PP -0 -ne 'print encode_json(decode_json($_)->{eos_token_id}), "\n"' read/config.json
}

@test "merge --to gguf: llama.cpp's keys and names have the tokens that end an answer; a warning names the others" {
    make_base
    # Ids: 400 <d>, 401 <|eot_id|> and so on. llama.cpp has names for all but those of one letter.
    tokenize --quiet -m base --add-special-token '<|eot_id|>' --add-special-token '<|eom_id|>' \
        --add-special-token '<|end_of_text|>' --add-special-token '<a>' --add-special-token '<b>' \
        --add-special-token '<c>' --add-special-token '<|end|>' --add-special-token '<|call|>' \
        --add-special-token '<|return|>' --add-token '<d>' --save-tokenizer own < /dev/null
    merge --quiet --base base --resize-vocab own -o big
    written() { # IDS EXPECTED: the end tokens of config.json
        sed -i "s/\"eos_token_id\": *\(\[[^]]*\]\|[0-9]*\)/\"eos_token_id\": $1/" big/config.json
        rm -f big.gguf
        merge --quiet --base big --to gguf -o big.gguf 2> said
        [ "$(ends big.gguf)" = "$2" ] || { ends big.gguf; return 1; }
    }
    # Tokens of known names are ends in each file, but for <|end|> if there is <|call|>.
    named=408,409,403,402
    written '[2, 404]' "eos 2 eot 404 eom - [2,404,401,$named]"
    written '[404, 401, 2]' "eos 2 eot 401 eom 404 [2,401,404,$named]"
    written '[403, 402, 401]' "eos 2 eot 401 eom - [2,401,$named]"
    written '[2, 404, 405]' "eos 2 eot 405 eom 404 [2,405,404,401,$named]"
    [ ! -s said ]
    written '[2, 404, 405, 406, 407]' "eos 2 eot 405 eom 404 [2,405,404,401,$named]"
    [[ "$(< said)" == "merge: big: llama.cpp does not end an answer at 406 '<c>', 407 '<|end|>', "* ]]
    # A GGUF's tokenizer, which is copied, lacks the ends of the base.
    merge --quiet --base big --tokenizer big.gguf --to gguf -o other.gguf 2> said
    [[ "$(< said)" == "merge: big.gguf: llama.cpp does not end an answer at 406, 407, "* ]]
    # The ids of generation_config.json replace those of config.json, also from a stream.
    echo '{"eos_token_id": [405, 2]}' > big/generation_config.json
    written '[2, 404]' "eos 2 eot 405 eom - [2,405,401,$named]"
    [ ! -s said ]
    quantize --quiet big -o big.nf4
    merge --quiet --base big.nf4 --tokenizer own --to gguf -o stream.gguf
    [ "$(ends stream.gguf)" = "$(ends big.gguf)" ]
}

@test "merge, train: a directory without generation_config.json has the base's end tokens in its config.json" {
    make_adapter
    cp -rL base other
    echo '{"eos_token_id": [5, 2]}' > other/generation_config.json
    merge --quiet --base other --adapter ad -o same
    cmp other/generation_config.json same/generation_config.json
    tr -d ' \n' < same/config.json | grep '"eos_token_id":2,'
    merge --quiet --base other --adapter ad --tokenizer tok -o without
    [ ! -e without/generation_config.json ]
    tr -d ' \n' < without/config.json | grep '"eos_token_id":\[5,2\],'
    # The result of a training has them too.
    printf 'method: full\nattention: full\nmax_steps: 1\n' > full.yaml
    train --quiet full.yaml model_name_or_path=other tokenizer=tok train_file=16.smp output_dir=full
    [ ! -e full/generation_config.json ]
    tr -d ' \n' < full/config.json | grep '"eos_token_id":\[5,2\],'
    train --quiet full.yaml model_name_or_path=other train_file=16.smp output_dir=copied
    cmp other/generation_config.json copied/generation_config.json
    tr -d ' \n' < copied/config.json | grep '"eos_token_id":2,'
}

@test "merge --to gguf: a GGUF base gives its own tokenizer, and no adapter is needed" {
    make_base
    merge --quiet --base base --tokenizer tok --to gguf --rope yarn:2 -o a.gguf
    cp -rL base ramp
    perl -MJSON::PP -0 -i -ne 'my $c = decode_json($_); $c->{rope_scaling} =
        { rope_type => "yarn", factor => 2.0, beta_fast => 16.0 }; print encode_json($c)' ramp/config.json
    run --separate-stderr -3 merge --quiet --base ramp --tokenizer tok --to gguf -o ramp.gguf
    [[ "$stderr" == *"yarn positions with beta_fast 16 and beta_slow 1: llama.cpp reads neither"* ]]
    [ ! -e ramp.gguf ]
    merge --quiet --base a.gguf --to gguf -o b.gguf
    tokenize --quiet -m a.gguf docs.jsonl -o gguf.tok
    cmp <(tail -c 150000 a.gguf) <(tail -c 150000 b.gguf)
    [ "$(loss a.gguf)" = "$(loss b.gguf)" ]
    [ "$(loss a.gguf)" = "$(loss base --rope yarn:2)" ]
    # llama.cpp multiplies its own factor of cos and sin by attn_factor. A window that is as long as
    # the context changes nothing.
    cp -rL base other
    perl -MJSON::PP -0 -i -ne 'my $c = decode_json($_); $c->{rope_scaling} =
        { rope_type => "yarn", factor => 2.0, attention_factor => 1.3 };
        $c->{model_type} = "mistral"; $c->{sliding_window} = 32;
        print encode_json($c)' other/config.json
    merge --quiet --base other --tokenizer tok --to gguf -o other.gguf
    near "$(loss other.gguf)" "$(loss other)" 0.001
    run ! near "$(loss other)" "$(loss base --rope yarn:2)" 0.001
    merge --quiet --base base.nf4 --tokenizer tok --to gguf --rope ntk:2 -o c.gguf
    near "$(loss c.gguf)" "$(loss base.nf4 --rope ntk:2)" 0.01
}

@test "gguf: a factor of cos and sin is refused for a model with windows, in which llama.cpp scales all layers" {
    merge --quiet --base "$golden/gguf-families/gemma3.gguf" --rope yarn:2 --to gguf -o yarn.gguf
    # Two more keys of 64 bytes together, so that the tensors stay aligned.
    perl -0777 -pe 'my $more = pack("Q</a L< f<", "gemma3.rope.scaling.attn_factor", 6, 1.3) .
        pack("Q</a L< L<", "x", 4, 0); substr($_, 16, 8) = pack "Q<", 2 + unpack "Q<", substr $_, 16, 8;
        substr($_, 24, 0) = $more' yarn.gguf > factor.gguf
    says 3 "rope.scaling.attn_factor 1.3 is not supported for a model with windows" \
        quantize factor.gguf -o x
    perl -pi -e 's/gemma3.rope.scaling.attn_factor/xemma3.rope.scaling.attn_factor/' factor.gguf
    quantize --quiet factor.gguf -o x
}

# merge writes these keys. llama.cpp's converter leaves them out, because they equal llama.cpp's
# defaults.
more_keys='^> [a-z0-9]*\.(attention\.(key|value)_length|rope\.dimension_count|vocab_size|rope\.scaling\.yarn_beta_(fast|slow)) = '

@test "merge --to gguf: each family's file has the tensors and keys of llama.cpp's own converter" {
    local of
    for of in gemma3 granite llama-biases llama31 mistral olmo2 phi3-longrope phi4 qwen2 qwen3 \
        smollm3; do
        merge --quiet --base "$golden/gguf-families/$of.gguf" --to gguf -o $of.gguf
        "$root/tests/lib/gguf_list.pl" "$golden/gguf-families/$of.gguf" > theirs
        "$root/tests/lib/gguf_list.pl" $of.gguf > ours
        [ "$(grep -c ': type' ours)" -ge 9 ]
        diff theirs ours | grep '^[<>]' | grep -vE "$more_keys" > differ || true
        [ ! -s differ ] || { head differ; return 1; }
    done
}

@test "each family goes from GGUF to NF4 and an adapter, and back to GGUF and gguf-lora" {
    local of type
    for of in gemma3 granite llama-biases mistral olmo2 phi3-longrope phi4 qwen2 qwen3 smollm3; do
        cp "$golden/gguf-families/$of.gguf" $of.gguf
        printf 'hello 1212 hello ello 1 hell 2 oh heo1%.0s' 1 2 3 4 | \
            tokenize --quiet --format text -m $of.gguf -o $of.tok
        pack --quiet --context 16 --strategy split $of.tok -o $of.smp
        quantize --quiet $of.gguf -o $of.nf4
        lora $of model_name_or_path=$of.nf4 tokenizer=$of.gguf train_file=$of.smp max_steps=2 \
            learning_rate=0.1 rope=auto --quiet --device cpu 2> told || { cat told; return 1; }
        merge --quiet --base $of.gguf --adapter $of -o $of.merged
        for type in f32 f16; do
            merge --quiet --base $of.gguf --adapter $of --to gguf --dtype $type -o $of.$type.gguf
        done
        merge --quiet --base $of.gguf --adapter $of --to gguf-lora -o $of.lora.gguf
        # Phi-3 has four linear layers in a layer of the model, other families have seven.
        [ "$(strings $of.lora.gguf | grep -c 'lora_[ab]$')" -ge $([[ $of = phi* ]] && echo 8 || echo 14) ]
        for type in $of.gguf $of.merged $of.f32.gguf $of.f16.gguf; do
            ppl --quiet -m $type --data $of.tok --context 16 --device cpu --to json | nll > of
            mv of $type.nll
        done
        near "$(cat $of.merged.nll)" "$(cat $of.f32.gguf.nll)" 0.1
        near "$(cat $of.merged.nll)" "$(cat $of.f16.gguf.nll)" 0.1
        run ! near "$(cat $of.merged.nll)" "$(cat $of.gguf.nll)" 0.1
    done
}

@test "merge --to gguf: what cannot be written is refused, and an existing file stays" {
    make_adapter
    local of=(--base base --adapter ad --to gguf)
    says 2 "-o x: --to gguf writes a file: name one that ends with .gguf" merge "${of[@]}" -o x
    says 2 "-o x.gguf: --to gguf writes a GGUF file, but without it this becomes a directory" \
        merge --base base --adapter ad -o x.gguf
    says 2 "--dtype q8_0: only --to gguf has this type" merge --base base --adapter ad --dtype q8_0 -o x
    says 2 "--max-shard-size belongs to a directory (--to hf)" merge "${of[@]}" --max-shard-size 7 -o x.gguf
    mkdir bare
    cp base/config.json base/model.safetensors bare
    says 1 "no tokenizer in it, which a GGUF needs: --tokenizer DIR names one" \
        merge --quiet --base bare --adapter ad --to gguf -o x.gguf
    says 3 "dynamic positions change with the text's length, which llama.cpp does not support" \
        merge --quiet --base base --tokenizer tok --to gguf --rope dynamic:2 -o x.gguf
    cp -rL base/ mistral
    sed -i 's/LlamaFor/MistralFor/; s/"llama"/"mistral", "sliding_window": 8/' mistral/config.json
    says 3 "sliding_window 8 is shorter than the context of" \
        merge --quiet --base mistral --tokenizer tok --to gguf -o x.gguf
    cp -r "$golden/bpe/llama3" big
    says 3 "a tokenizer of this model is needed" merge --quiet "${of[@]}" --tokenizer big -o x.gguf
    [ ! -e x.gguf ] && [ ! -e x ]
    echo kept > x.gguf
    says 3 "a tokenizer of this model is needed" merge --quiet "${of[@]}" --tokenizer big -o x.gguf
    [ "$(cat x.gguf)" = kept ]
    says 1 "base.gguf" merge --quiet --base base.gguf --to gguf -o base.gguf
}

@test "merge --to gguf-lora: the file has only the adapter's matrices; what llama.cpp would ignore is refused" {
    make_adapter
    run -0 --separate-stderr merge --base base --adapter ad --to gguf-lora -o l.gguf
    [[ "$stderr" == *"28 matrices; the file has no position scaling, so run "*"--rope-scaling linear --rope-scale 2 -c 32"* ]]
    [ "$(strings l.gguf | grep -c 'lora_[ab]$')" = 28 ]
    strings l.gguf | grep -q adapter.lora.alpha
    says 3 "l.gguf: general.type is 'adapter', but a model is needed" \
        ppl --quiet -m l.gguf -d docs.tok -c 16
    local no="llama.cpp does not support this in an adapter: merge the adapter (--to gguf)" key
    for key in train_norm train_embedding; do
        lora $key --quiet model_name_or_path=base quantization=none $key=true max_steps=1 \
            --device cpu
        says 3 " is trained: $no" \
            merge --quiet --base base --adapter $key --to gguf-lora -o x.gguf
    done
    lora of_embedding --quiet model_name_or_path=base quantization=none max_steps=1 --device cpu \
        target_modules=q_proj,embed_tokens
    says 3 "embed_tokens.weight: LoRA of an embedding is not written to such a file" \
        merge --quiet --base base --adapter of_embedding --to gguf-lora -o x.gguf
    # The base's GGUF has factors of frequencies. llama.cpp would apply the adapter's scaling too.
    local phi3=$golden/gguf-families/phi3-longrope.gguf
    printf 'hello 1212 hello ello 1 hell 2 oh heo1%.0s' 1 2 3 4 | \
        tokenize --quiet --format text -m "$phi3" | \
        pack --quiet --context 16 --strategy split -o phi3.smp
    lora phi3 --quiet model_name_or_path="$phi3" quantization=none tokenizer="$phi3" \
        train_file=phi3.smp rope=none max_steps=1 --device cpu
    says 3 "the adapter has default positions in place of the base's longrope: llama.cpp would apply both" \
        merge --quiet --base "$phi3" --adapter phi3 --to gguf-lora -o x.gguf
    says 2 "one adapter without a weight" \
        merge --quiet --base base --adapter ad:0.5 --to gguf-lora -o x.gguf
    [ ! -e x.gguf ]
}
