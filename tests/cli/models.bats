# Tests models in the forms in which users have them: spellings of config.json, files and folders of
# other kinds, and the files that merge writes for servers.

load helper

says() { # STATUS TEXT COMMAND...: must fail with this status and one line that has the text
    local status=$1 text=$2
    shift 2
    run -"$status" --separate-stderr "$@"
    [[ "$stderr" == *"$text"* ]] || { echo "$stderr lacks $text"; return 1; }
    [ "${#stderr_lines[@]}" = 1 ]
}

# True if the Perl expression is true for the JSON file, whose content is $_.
holds() { # FILE EXPRESSION
    perl -MJSON::PP -e 'local $/; local $_ = decode_json(<STDIN>); exit !eval $ARGV[0]' "$2" < "$1"
}

@test "a directory that is not a model's is refused with what to do" {
    make_base
    mkdir -p hub/models--some--llama/{refs,snapshots/abc,blobs} other
    says 1 \
        "llama/tiny: No such file or directory; if that is a name of the hub, fetch it first (hf download llama/tiny --local-dir DIR)" \
        quantize llama/tiny -o x
    says 1 "llama/tiny: No such file or directory; if that is a name of the hub, fetch it first" \
        train scratch.yaml from_scratch=true model_name_or_path=llama/tiny train_file=32.smp \
        output_dir=x
    says 1 "https://huggingface.co/llama/tiny: No such file" quantize \
        https://huggingface.co/llama/tiny -o x
    printf abc > hub/models--some--llama/refs/main
    says 1 "name $PWD/hub/models--some--llama/snapshots/abc" env HF_HUB_CACHE="$PWD/hub" quantize \
        some/llama -o x
    says 1 "a repository of the hub's cache: its model is hub/models--some--llama/snapshots/abc" \
        quantize hub/models--some--llama -o x
    says 1 "the hub's cache: the model is a folder in hub/models--some--llama/snapshots" ppl \
        -m hub -d docs.tok -c 16
    mkdir -p meta gguf nested/inner tf
    touch meta/{consolidated.00.pth,params.json} gguf/model.Q4_K_M.gguf nested/inner/config.json \
        tf/tf_model.h5
    says 1 \
        "meta: no config.json in it, but Meta's own format (consolidated.00.pth): transformers' convert_llama_weights_to_hf.py" \
        quantize meta -o x
    says 1 "gguf: no config.json in it, but llama.cpp's weights (model.Q4_K_M.gguf)" generate \
        -m gguf -p x
    says 1 "nested: no config.json in it, but in nested/inner: name that" quantize nested -o x
    mkdir unfinished unfinished/checkpoint-{4,12} weights only
    touch unfinished/checkpoint-{4,12}/config.json weights/model.safetensors
    says 3 \
        "unfinished: no model yet: the run there is not finished: resume it, or name its newest checkpoint, unfinished/checkpoint-12" \
        quantize unfinished -o x
    says 1 \
        "weights: no config.json in it, but weights (model.safetensors): fetch the model's other files, too" \
        quantize weights -o x
    cp -rL base whole
    perl -0777 -pi -e 's/"dtype":"F32"/"dtype":"I32"/ or die' whole/model.safetensors
    says 3 "weights are supported in F32, F16 and BF16: save the model in one of them" quantize \
        whole -o x
    cp -rL base both
    echo '{"peft_type":"LORA"}' > both/adapter_config.json
    says 3 \
        "both: it has a config.json and an adapter_config.json, and transformers would apply that adapter: name a folder that has only the model" \
        quantize both -o x
    cp base/config.json only
    says 1 \
        "only: no model.safetensors, no pytorch_model.bin, and no index of either: fetch the model's weights, too" \
        quantize only -o x
    cp base/config.json tf
    says 1 "TensorFlow's weights (tf_model.h5)" quantize tf -o x
    mkdir variant
    cp base/config.json variant
    cp base/model.safetensors variant/model.fp16.safetensors
    says 1 "a variant of the weights (model.fp16.safetensors): call it model.safetensors" quantize \
        variant -o x
    ln -s ../../blobs/none hub/models--some--llama/snapshots/abc/config.json
    says 1 "no config.json in it, but with links to files that are not there (config.json): fetch it again" \
        quantize hub/models--some--llama/snapshots/abc -o x
    says 1 "meta: no config.json in it, but Meta's own format" lora x model_name_or_path=meta
    says 1 "meta: no config.json in it, but Meta's own format" lora x model_name_or_path=meta \
        --dry-run
    [ ! -e x ]
}

@test "a file of another kind is refused with the name of that kind" {
    make_base
    printf 'lmgg\3\0\0\0\1\0\0\0\0\0\0\0' > model.ggml
    says 3 \
        "model.ggml: a GGML file, where a model's directory, a GGUF file or a stream is needed" ppl \
        -m model.ggml -d docs.tok -c 16
    printf 'x' > model.onnx
    says 3 "model.onnx: a graph of ONNX" ppl -m model.onnx -d docs.tok -c 16
    lfs=$'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 134\n'
    for kind in lfs html zip; do
        mkdir $kind
        cp base/config.json $kind
    done
    printf '%s' "$lfs" > lfs/model.safetensors
    printf '<!DOCTYPE html>\n<html><head></head></html>\n' > html/model.safetensors
    printf 'PK\3\4\24\0\0\0\0\0aaaaaaaaaaaaaaaa\1\0\0\0x' > zip/model.safetensors
    says 3 "lfs/model.safetensors: a pointer of Git LFS in place of the file: run git lfs pull" \
        quantize lfs -o x
    says 3 \
        "html/model.safetensors: a web page (HTML), where safetensors is needed: a download that failed" \
        quantize html -o x
    says 3 "zip/model.safetensors: a zip, where safetensors is needed" quantize zip -o x
    printf '<html>\n<body>not found</body>\n' > html/config.json
    says 3 \
        "html/config.json: a web page (HTML), where JSON is needed: a download that failed may have left it" \
        quantize html -o x
    printf '%s' "$lfs" > lfs/config.json
    says 3 "lfs/config.json: a pointer of Git LFS in place of the file: run git lfs pull" quantize \
        lfs -o x
}

@test "keys of config.json that have no effect are named once, by every program" {
    make_base
    cp -r "$made/base" odd
    perl -pi -e 's/^\{/{"my_note": 1, "another": "x",/' odd/config.json
    warning="odd: config.json: unknown keys without effect, as in transformers: my_note, another"
    run --separate-stderr quantize odd -o odd.nf4
    [ "$status" = 0 ]
    [ "$(grep -c "$warning" <<< "$stderr")" = 1 ] || { echo "$stderr"; return 1; }
    run --separate-stderr ppl -m odd -d docs.tok -c 16
    [ "$(grep -c "$warning" <<< "$stderr")" = 1 ] || { echo "$stderr"; return 1; }
    run --separate-stderr generate -m odd --tokenizer tok -p a --max-new-tokens 1
    [ "$(grep -c "$warning" <<< "$stderr")" = 1 ] || { echo "$stderr"; return 1; }
    run --separate-stderr lora run model_name_or_path=odd quantization=none max_steps=1
    [ "$status" = 0 ]
    [ "$(grep -c "$warning" <<< "$stderr")" = 1 ] || { echo "$stderr"; return 1; }
    run --separate-stderr merge --base odd --adapter run -o merged
    [ "$(grep -c "$warning" <<< "$stderr")" = 1 ] || { echo "$stderr"; return 1; }
    grep -q my_note merged/config.json
    # A key that would change the result is refused by name.
    perl -pi -e 's/^\{/{"num_experts": 4,/' odd/config.json
    says 3 "num_experts: 4: mixtures of experts are not supported" quantize odd -o y
}

@test "dropout of attention weights is refused by train alone" {
    make_base
    cp -r "$made/base" dropping
    perl -pi -e 's/^\{/{"attention_dropout": 0.1,/' dropping/config.json
    quantize --quiet dropping -o dropping.nf4
    says 3 "dropping.nf4: attention_dropout 0.1" lora run model_name_or_path=dropping.nf4 --quiet
}

@test "with nine query heads that share three key heads, S2-Attn shifts the larger half" {
    make_base
    config nine.json
    perl -pi \
        -e 's/"num_attention_heads":4,"num_key_value_heads":2/"num_attention_heads":9,"num_key_value_heads":3,"head_dim":8/' \
        nine.json
    run --separate-stderr train scratch.yaml from_scratch=true attention=s2 group=8 \
        model_name_or_path=nine.json tokenizer=tok \
        train_file=32.smp output_dir=nine max_steps=2 rope=linear:2 learning_rate=0.01 --device cpu
    [ "$status" = 0 ]
    [[ "$stderr" == *"s2 group 8, heads 4-8 shifted"* ]]
    quantize --quiet nine -o nine.nf4
    lora heads model_name_or_path=nine.nf4 attention=s2 max_steps=2 --quiet
    [ -s heads/adapter_model.safetensors ]
}

@test "a merged directory states the new context in its config and in its tokenizer's files" {
    make_base
    cp -r "$made/base" model
    cp tok/tokenizer.model model
    printf \
        '{"model_max_length":16, "large":1000000000000000019884624838656,\n "add_bos_token": true}' \
        > model/tokenizer_config.json
    quantize --quiet model -o model.nf4
    lora run rope=linear model_name_or_path=model.nf4 --quiet
    merge --quiet --base model --adapter run -o merged
    printf \
        '{"model_max_length":32, "large":1000000000000000019884624838656,\n "add_bos_token": true}' \
        | cmp - merged/tokenizer_config.json
    holds merged/config.json \
        '$_->{max_position_embeddings} == 16 && $_->{rope_scaling}{factor} == 2'
    # The same folder is replaced by a second merge. It still counts as ours, although merge changed
    # the number in the tokenizer's file.
    merge --quiet --base model --adapter run -o merged --max-positions whole
    holds merged/config.json \
        '$_->{max_position_embeddings} == 32 && $_->{original_max_position_embeddings} == 16 && $_->{rope_scaling}{factor} == 2'
    ppl --quiet -m merged -d docs.tok -c 32 > whole
    merge --quiet --base model --adapter run -o merged
    ppl --quiet -m merged -d docs.tok -c 32 | cmp - whole
    # A number that is larger than the new context stays unchanged.
    printf '{"model_max_length":1000000000000000019884624838656}' > model/tokenizer_config.json
    merge --quiet --base model --adapter run -o large
    cmp model/tokenizer_config.json large/tokenizer_config.json
    # A file that the user changed there is not overwritten.
    printf '{"model_max_length":32, "mine": 1}' > merged/tokenizer_config.json
    run -1 --separate-stderr merge --base model --adapter run -o merged
    [[ "$stderr" == \
        *"merged: holds tokenizer_config.json, which was changed since it was made: "* ]]
}

@test "an adapter names a base that other programs can open" {
    make_base
    lora own --quiet max_steps=1
    # Other programs cannot open a stream, so it is not named as the base.
    holds own/adapter_config.json '!defined $_->{base_model_name_or_path}'
    holds own/longqlora.json '$_->{base_name} eq "base.nf4"'
    # The tokenizer's folder has the stream's model, which is recognized by the digest of its
    # tensors.
    mkdir -p hub/models--some--llama/snapshots/abc other
    cp -r "$made"/base/. hub/models--some--llama/snapshots/abc
    cp -r "$made/base" near
    quantize --quiet near -o near.nf4
    lora near.run --quiet max_steps=1 model_name_or_path=near.nf4 tokenizer=near
    holds near.run/adapter_config.json '$_->{base_model_name_or_path} eq "near"'
    lora hub.run --quiet max_steps=1 model_name_or_path=near.nf4 \
        tokenizer=hub/models--some--llama/snapshots/abc
    holds hub.run/adapter_config.json '$_->{base_model_name_or_path} eq "some/llama"'
    # Another model with the same sizes is not recognized as the base.
    train scratch.yaml from_scratch=true attention=full model_name_or_path=config.json \
        tokenizer=tok train_file=16.smp \
        output_dir=far max_steps=1 seed=5 --quiet --device cpu
    run --separate-stderr -0 lora far.run --quiet max_steps=1 model_name_or_path=near.nf4 \
        tokenizer=far
    [ "$stderr" = \
        "train: tokenizer=far does nothing: it is not the model that near.nf4 was made of" ]
    holds far.run/adapter_config.json '!defined $_->{base_model_name_or_path}'
    # A path that does not exist is refused before the first step, but only if it would be read.
    run --separate-stderr -1 lora x max_steps=1 model_name_or_path=near.nf4 tokenizer=/nowhere
    [ "$stderr" = "train: tokenizer: /nowhere: No such file or directory" ]
    run --separate-stderr -1 train scratch.yaml from_scratch=true attention=full \
        model_name_or_path=config.json tokenizer=/nowhere train_file=16.smp output_dir=x max_steps=1
    [ "$stderr" = "train: tokenizer: /nowhere: No such file or directory" ]
    [ ! -e x ]
    run --separate-stderr -0 lora plain.run --quiet max_steps=1 model_name_or_path=near \
        quantization=none tokenizer=/nowhere
    [ "$stderr" = "train: tokenizer does nothing: it needs method: full, or a weights stream as model_name_or_path" ]
}

@test "keys of other models' config.json are answered with the corresponding key" {
    make_base
    cp -rL base other
    for pair in n_layer:num_hidden_layers n_embd:hidden_size n_head:num_attention_heads \
        n_positions:max_position_embeddings norm_eps:rms_norm_eps; do
        perl -MJSON::PP \
            -e 'local $/; my $c = decode_json(<STDIN>); my ($n, $o) = split ":", shift; $c->{$n} = delete $c->{$o}; print encode_json($c)' \
            "$pair" \
            < base/config.json > other/config.json
        says 3 \
            "other/config.json: '${pair%:*}' is another model's name for '${pair#*:}': rename the key" \
            quantize other -o x
    done
    # A foreign key with the same value as ours is ignored.
    perl -pe 's/"hidden_size": (\d+)/"n_embd": $1, $&/' base/config.json > other/config.json
    quantize --quiet other -o x
    # As in transformers, an empty list means no position scaling.
    perl -pe 's/"hidden_size"/"rope_scaling": [], $&/' base/config.json > other/config.json
    perl -ni -e 'print unless /"rope_scaling": null/' other/config.json
    quantize --quiet other -o y
    perl -pe 's/"rms_norm_eps": [^,\n]*/"rms_norm_eps": 1/' base/config.json > other/config.json
    says 3 \
        "rms_norm_eps is 1, a whole number, which transformers 5 refuses: write 1.0 if it is meant" \
        quantize other -o z
    { printf '\xef\xbb\xbf'; cat base/config.json; } > other/config.json
    says 3 "other/config.json: begins with a byte order mark, which JSON does not allow" quantize other \
        -o z
}
