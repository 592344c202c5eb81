# Tests of GGUF files as models and as tokenizers.

load helper

says() { # STATUS TEXT COMMAND...: must fail with this status and one line that has the text
    local status=$1 text=$2
    shift 2
    run -"$status" --separate-stderr "$@"
    [[ "$stderr" == *"$text"* ]] || { echo "$stderr lacks $text"; return 1; }
    [ "${#stderr_lines[@]}" = 1 ]
}

# Makes a GGUF from the weights and the tokenizer of base/, with the given changes.
to_gguf() { # OUT CHANGE...
    "$root/tests/lib/to_gguf.pl" base tok/tokenizer.model "$@"
}
make_gguf() {
    make_base
    once base.gguf train_gguf
    ln -sf "$made/base.gguf" .
}
# Makes bare/, which is base/ without its tokenizer, so that it accepts the tokens of base.gguf.
make_bare() {
    mkdir bare
    ln -s "$made"/base/{config.json,model.safetensors} bare
    tokenize --quiet -m base.gguf docs.jsonl -o own.tok
    pack --quiet --context 32 --strategy split own.tok -o own.smp
}
train_gguf() {
    (cd "$made" && to_gguf base.gguf.new && mv base.gguf.new base.gguf)
}

@test "a GGUF gives the same tokens, losses and texts as the directory that it was made from" {
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

@test "a GGUF is quantized, trained on and merged like its directory" {
    make_gguf
    make_bare
    local of
    for of in bare base.gguf; do
        quantize --quiet $of -o $of.nf4
        ppl --quiet -m $of.nf4 -d own.tok -c 16 --device cpu > $of.losses
    done
    [ -s bare.losses ]
    cmp bare.losses base.gguf.losses
    quantize --quiet --to bnb base.gguf -o bnb
    ppl --quiet -m bnb -d own.tok -c 16 --device cpu > bnb.losses
    [[ "$(tail -n 1 bnb.losses)" == "$(tail -n 1 bare.losses)"* ]]
    lora run model_name_or_path=base.gguf.nf4 tokenizer=base.gguf train_file=own.smp \
        --quiet --device cpu
    grep -q '"base_name": "base.gguf"' run/longqlora.json
    # PEFT cannot open a GGUF.
    grep -q '"base_model_name_or_path": null' run/adapter_config.json
    merge --quiet --base base.gguf --adapter run -o of-gguf
    merge --quiet --force-base --base base --adapter run -o of-base
    cmp of-gguf/model.safetensors of-base/model.safetensors
    tokenize --quiet -m of-gguf docs.jsonl > merged.tok
    cmp merged.tok own.tok
    # The GGUF's own tokenizer is written into each form of output.
    merge --quiet --base base.gguf.nf4 --tokenizer base.gguf --adapter run -o of-nf4
    for of in of-nf4 bnb; do
        cmp of-gguf/tokenizer.json $of/tokenizer.json
    done
    cmp of-gguf/tokenizer_config.json of-nf4/tokenizer_config.json
    # The context was extended, also in the tokenizer's files.
    grep -q '"model_max_length": 32' of-gguf/tokenizer_config.json
    grep -q '"model_max_length": 16' bnb/tokenizer_config.json
    # A different base is refused.
    run -3 merge --base base --adapter run -o x
    [[ "$output" == *"--force-base"* ]]
}

@test "a GGUF is trained without quantization to the same result as its directory" {
    make_gguf
    make_bare
    says 2 "base.gguf is a GGUF file, not NF4: run quantize base.gguf -o base.nf4 and name that" \
        lora x model_name_or_path=base.gguf train_file=own.smp
    [ ! -e x ]
    lora gguf quantization=none model_name_or_path=base.gguf train_file=own.smp --quiet --device cpu
    lora dir quantization=none model_name_or_path=bare train_file=own.smp --quiet --device cpu
    for of in gguf dir; do
        perl -MJSON::PP -ne 'printf "%.5f\n", decode_json($_)->{loss}' \
            < $of/trainer_log.jsonl > $of.losses
    done
    [ "$(wc -l < gguf.losses)" = 3 ]
    cmp gguf.losses dir.losses
    generate --quiet -m base.gguf --adapter gguf -p "a b" --temperature 0 --max-new-tokens 8 \
        --device cpu > gguf.txt
    generate --quiet -m bare --tokenizer base.gguf --adapter dir -p "a b" --temperature 0 \
        --max-new-tokens 8 --device cpu > dir.txt
    cmp gguf.txt dir.txt
    # If memory is too small, the program says so before it reads the weights, and says what to do.
    export LONGQLORA_MEMORY=1000000
    says 1 "a GGUF's weights are held in f32: quantize makes NF4 of them" \
        lora x quantization=none model_name_or_path=base.gguf train_file=own.smp --device cpu
    says 1 "a GGUF's weights are held in f32: quantize makes NF4 of them" \
        env LONGQLORA_MEMORY=100000 ppl -m base.gguf -d own.tok -c 16 --device cpu
    # Weights in f16 are used as they are in the file.
    merge --quiet --base base.gguf --to gguf --dtype f16 -o half.gguf
    run -1 env LONGQLORA_MEMORY=100000 ppl -m half.gguf -d own.tok -c 16 --device cpu
    [[ "$output" != *"held in f32"* ]]
    unset LONGQLORA_MEMORY
    # The plan counts the widened weights as memory, not as pages of a file.
    run -0 lora x quantization=none model_name_or_path=base.gguf train_file=own.smp \
        --dry-run --device cpu
    [[ "$output" =~ "frozen weights" ]]
    [[ "$output" != *mapped* ]]
}

@test "every program reads every type of a GGUF's tensors" {
    local types=$golden/gguf/types.gguf
    cp "$types" types.gguf
    printf 'hello world 12 hello world\n' | tokenize --quiet --format text -m types.gguf -o t.tok
    quantize --quiet types.gguf -o types.nf4
    ppl --quiet -m types.gguf -d t.tok -c 4 --device cpu > losses
    [ -s losses ]
    echo '{"prompt":"hello","completion":"world"}' > chat.jsonl
    run -0 tokenize -m types.gguf --format chat --template auto --show 1 chat.jsonl
    [[ "$output" == *"⟨<|im_start|>⟩assistant"* ]]
    generate --quiet -m types.gguf --chat auto -p hello --max-new-tokens 2 --device cpu > text
    # Quantized tensors are merged into 16 bits, and the norms stay f32.
    head -n 5 "$BATS_TEST_FILENAME" | tokenize --quiet --format text -m types.gguf | \
        pack --quiet --context 16 --strategy split -o own.smp
    lora run model_name_or_path=types.nf4 train_file=own.smp max_steps=1 --quiet --device cpu
    merge --quiet --base types.gguf --adapter run -o merged
    perl -e 'local $/; $_ = <STDIN>; print substr $_, 8, unpack "Q<"' \
        < merged/model.safetensors > header
    grep -q '"model.layers.0.self_attn.q_proj.weight":{"dtype":"F16"' header
    grep -q '"model.norm.weight":{"dtype":"F32"' header
    run ! grep -q lm_head header
}

@test "a GGUF with an unsupported key, value or tensor is refused by name" {
    make_gguf
    refuses() { # TEXT CHANGE...
        local text=$1
        shift
        to_gguf changed.gguf "$@"
        says 3 "changed.gguf: $text" quantize changed.gguf -o x
        [ ! -e x ]
    }
    refuses "general.architecture 'gemma4' is not supported, only llama, qwen2, qwen3, smollm3, granite, mistral3" \
        general.architecture=str:gemma4
    refuses "general.type is 'adapter', but a model is needed" general.type=str:adapter
    refuses "llama: expert_count: mixtures of experts are not supported" \
        llama.expert_count=u32:8
    refuses "llama: logit_scale: scaled logits are not supported" llama.logit_scale=f32:0.5
    refuses "llama: a.new.key is unknown, and may change what the model computes" \
        llama.a.new.key=u32:1
    refuses "rope.scaling.type 'longrope' is not supported" llama.rope.scaling.type=str:longrope
    refuses "rope.scaling.factor is 0, but linear positions need a factor from 1" llama.rope.scaling.type=str:linear
    refuses "rope.scaling.attn_factor 2 is not supported" llama.rope.scaling.attn_factor=f32:2
    # As in llama.cpp, a factor without a type means linear position scaling.
    to_gguf changed.gguf llama.rope.scaling.factor=f32:2
    to_gguf typed.gguf llama.rope.scaling.factor=f32:2 llama.rope.scaling.type=str:linear
    quantize --quiet changed.gguf -o changed.nf4
    quantize --quiet typed.gguf -o typed.nf4
    to_gguf plain.gguf
    quantize --quiet plain.gguf -o plain.nf4
    for name in changed typed plain; do
        tokenize --quiet -m $name.gguf docs.jsonl | ppl --quiet -m $name.nf4 -c 16 > $name
    done
    cmp changed typed
    run ! cmp -s changed plain
    rm changed.nf4 typed.nf4
    refuses "yarn positions need rope.scaling.original_context_length" \
        llama.rope.scaling.type=str:yarn llama.rope.scaling.factor=f32:2
    refuses "rope.dimension_count 4 of a head's 8: partial rotation is not supported" \
        llama.rope.dimension_count=u32:4
    refuses "attention.sliding_window: a sliding window is not supported for this architecture" \
        llama.attention.sliding_window=u32:8
    refuses "vocab_size is 399, but token_embd.weight has 400 rows" llama.vocab_size=u32:399
    refuses "llama.block_count is missing or 0" llama.block_count=
    refuses "tensor blk.2.attn_norm.weight (model.layers.2.input_layernorm.weight) is missing" \
        llama.block_count=u32:3
    refuses "blk.0.ffn_gate.weight is f32 [48, 32], but [40, 32] is needed" \
        llama.feed_forward_length=u32:40
    refuses "tensor blk.0.attn_k.bias (model.layers.0.self_attn.k_proj.bias) is missing; some linear layers" \
        +blk.0.attn_q.bias=0:32
    refuses "tensor blk.1.attn_q.bias is not one of this model; a bias is supported only if all" \
        +blk.1.attn_q.bias=0:32
    refuses "tensor blk.0.attn_q_norm.weight is not one of this model; this architecture has no QK norm" \
        +blk.0.attn_q_norm.weight=0:8
    refuses "llama: attention.temperature_scale: attention scaled by position is not supported" \
        llama.attention.temperature_scale=f32:0.1
    refuses "rope_freqs.weight has factors that no llama3 positions give" +rope_freqs.weight=0:4
    refuses "this is one part of 2 (split.count): llama.cpp's llama-gguf-split --merge" split.count=u32:2
    # Keys that change nothing are accepted.
    to_gguf taken.gguf llama.expert_count=u32:0 llama.rope.scaling.type=str:none \
        llama.rope.scaling.finetuned=bool:0 general.name=str:x llama.attention.key_length=u32:8 \
        llama.attention.value_length=u32:8 llama.logit_scale=f32:1
    tokenize --quiet -m base.gguf docs.jsonl -o own.tok
    for of in taken.gguf base.gguf; do
        ppl --quiet -m $of -d own.tok -c 16 --device cpu > $of.losses
    done
    cmp taken.gguf.losses base.gguf.losses
}

@test "a GGUF with an unsupported tokenizer is refused as a tokenizer, but its weights are used" {
    make_gguf
    refuses() { # TEXT CHANGE...
        local text=$1
        shift
        to_gguf changed.gguf "$@"
        says 3 "changed.gguf: $text" tokenize -m changed.gguf docs.jsonl -o x
        [ ! -e x ]
    }
    refuses "tokenizer.ggml.model 'bert' is not supported, only gpt2 and llama" \
        tokenizer.ggml.model=str:bert
    refuses "tokenizer.ggml.pre 'default': this pre-tokenizer is not known; the known ones are gpt-2" \
        tokenizer.ggml.model=str:gpt2
    refuses "tokenizer.ggml.merges is missing" tokenizer.ggml.model=str:gpt2 \
        tokenizer.ggml.pre=str:smollm
    refuses "tokenizer.ggml.a_new_key is unknown, and may change the tokens" \
        tokenizer.ggml.a_new_key=u32:1
    refuses "tokenizer.ggml.remove_extra_whitespaces is not supported: name the model's own tokenizer.json" \
        tokenizer.ggml.remove_extra_whitespaces=bool:1
    refuses "tokenizer.ggml.bos_token_id is 400, but the vocabulary has 400 tokens" tokenizer.ggml.bos_token_id=u32:400
    refuses "the file has no tokenizer (tokenizer.ggml.tokens)" tokenizer.ggml.tokens=
    # The model equals base, so another folder can give the tokenizer.
    ppl --quiet -m changed.gguf -d docs.tok -c 16 --tokenizer tok --device cpu > gguf.losses
    ppl --quiet -m base -d docs.tok -c 16 --tokenizer tok --device cpu > own.losses
    cmp gguf.losses own.losses
    # A model that is made from it gets no tokenizer, and a message says why.
    quantize --quiet --to bnb changed.gguf -o bnb 2> told
    [ "$(cat told)" = "quantize: changed.gguf: the file has no tokenizer (tokenizer.ggml.tokens); the weights are used, and bnb gets no tokenizer: put the model's own into it" ]
    [ ! -e bnb/tokenizer.json ]
    lora x model_name_or_path=changed.gguf quantization=none tokenizer=tok train_file=16.smp \
        max_steps=1 --quiet --device cpu
    rm -f x/tokenizer*
    merge --quiet --base changed.gguf --adapter x -o merged 2> told
    grep -q "no tokenizer in it: other programs will want one (--tokenizer DIR); changed.gguf: the file has no tokenizer (tok" told
    quantize --quiet --to bnb base.gguf -o told.bnb 2> told
    [ ! -s told ]
    # A text begins with BOS and a space, unless the file says otherwise.
    to_gguf bare.gguf tokenizer.ggml.add_bos_token=bool:0 tokenizer.ggml.add_space_prefix=bool:0
    ids() {
        printf %s "$2" | tokenize --quiet --format text -m "$1" --to jsonl | \
            grep -o '"tokens":\[.*'
    }
    [[ "$(ids base.gguf a)" == '"tokens":[1,'* ]]
    [[ "$(ids bare.gguf a)" != '"tokens":[1,'* ]]
    [ "$(ids bare.gguf ' a')" = "$(ids base.gguf a | sed 's/\[1,/[/')" ]
}

@test "damaged GGUF files, and folders that hold a GGUF, get a message that says so" {
    make_gguf
    head -c 20000 base.gguf > cut.gguf
    says 3 "cut.gguf: " quantize cut.gguf -o x
    [[ "$stderr" == *"(truncated?)"* ]]
    printf 'GGUF\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' > big.gguf
    says 3 "big.gguf: the GGUF file is big-endian" generate -m big.gguf -p x
    mkdir folder
    ln -s ../base.gguf folder/model.gguf
    says 1 \
        "folder: no config.json in it, but llama.cpp's weights (model.gguf): name that file itself" \
        quantize folder -o x
    says 2 "base.gguf" quantize base.gguf -o base.gguf
    [ ! -e x ]
}

@test "a pretrained model in q4_1 is read unchanged (LONGQLORA_SMOLLM2 names the file)" {
    [ -n "${LONGQLORA_SMOLLM2:-}" ] || \
        skip "LONGQLORA_SMOLLM2 names no SmolLM2-135M-Instruct.Q4_1.gguf"
    run -0 --separate-stderr generate -m "$LONGQLORA_SMOLLM2" --chat auto --temperature 0 \
        -p 'What is the capital of France?' --max-new-tokens 16 --device cpu
    [ "$output" = "The capital of France is Paris." ]
    [[ "$stderr" == *"You are a helpful AI assistant named SmolLM, trained by Hugging Face"* ]]
    head -c 20000 "$root/docs/decisions.md" | \
        tokenize --quiet --format text -m "$LONGQLORA_SMOLLM2" -o t.tok
    pack --quiet --context 64 --strategy split t.tok -o t.smp
    quantize --quiet "$LONGQLORA_SMOLLM2" -o base.nf4
    lora run model_name_or_path=base.nf4 tokenizer="$LONGQLORA_SMOLLM2" train_file=t.smp \
        max_steps=2 learning_rate=1e-5 per_device_train_batch_size=1 --quiet --device cpu
    merge --quiet --base "$LONGQLORA_SMOLLM2" --adapter run -o merged
    run -0 generate --quiet -m merged --chat auto --temperature 0 \
        -p 'What is the capital of France?' --max-new-tokens 16 --device cpu
    [[ "$output" == *Paris* ]]
}
