load helper

# Tokens that the user adds are tested from beginning to end: in the tokenizer's files, in text, as
# rows of the model, and in the merged model.

added() { # DIRECTORY: makes the tokenizer of base with four more tokens
    tokenize --quiet -m base --add-token '<think>' --add-token '</think>' \
        --add-special-token '<|im_start|>' --add-special-token '<|im_end|>' --save-tokenizer "$1"
}

chats() { # DIRECTORY: makes chat.smp from conversations whose template needs the new tokens
    perl -e 'print qq({"messages":[{"role":"user","content":"a $_"},{"role":"assistant","content":"<think>b</think> c"}]}\n) for 1..30' > chat.jsonl
    tokenize --quiet -m "$1" --format chat --template chatml chat.jsonl -o chat.tok
    pack --quiet --context 64 --strategy best-fit chat.tok -o chat.smp
}

rows_of() { # DIRECTORY TENSOR: prints the number of its rows
    perl -MJSON::PP -e 'open F, "<:raw", "$ARGV[0]/model.safetensors" or die; read F, $_, 8; read F, $h, unpack "Q<"; print decode_json($h)->{$ARGV[1]}{shape}[0]' "$@"
}

@test "added tokens: they work from the tokenizer to the merged model, and two ways of adding them give the same model" {
    make_base
    added tok4
    chats tok4
    # Rows are added in each of quantize and merge, or once to the base.
    quantize base --resize-vocab tok4 --pad-to-multiple-of 8 -o base4.nf4 2> said
    grep -q 'vocabulary: 408 rows, the last 8 are new, each the mean of the 400 before' said
    merge --quiet --base base --resize-vocab tok4 --pad-to-multiple-of 8 -o base4
    quantize --quiet base4 -o again.nf4
    cmp base4.nf4 again.nf4
    echo 'method: lora' > lora.yaml
    train lora.yaml model_name_or_path=base4.nf4 train_file=chat.smp output_dir=run max_steps=2 \
        lora_rank=4 train_embedding=true learning_rate=0.01 attention=full --quiet --device cpu
    merge --quiet --base base --resize-vocab tok4 --pad-to-multiple-of 8 --adapter run -o one
    merge --quiet --base base4 --adapter run -o two
    cmp one/model.safetensors two/model.safetensors
    converts one two base4
    [ "$(rows_of one model.embed_tokens.weight)" = 408 ]
    [ "$(rows_of one lm_head.weight)" = 408 ]
    grep -q '"vocab_size": 408' one/config.json
    for file in tokenizer.model added_tokens.json tokenizer_config.json; do
        cmp "tok4/$file" "one/$file"
        cmp "tok4/$file" "two/$file"
    done
    run --separate-stderr -0 generate -m one --chat chatml -p a -n 3 --verbose
    [[ "$stderr" == *"ids: "*402*403* ]]
    # Without the new rows the samples do not fit, and the adapter belongs to another base.
    run -3 train lora.yaml model_name_or_path=base.nf4 train_file=chat.smp output_dir=no --quiet
    [[ "$output" == *": token "*", but the vocabulary of the model has only 400 tokens: "*"(quantize or merge, --resize-vocab)" ]]
    run -3 merge --quiet --base base --adapter run -o three
    [[ "$output" == *"trained on"*": take that base, or --resize-vocab DIR if that is this base with added tokens, or --force-base" ]]
    run -3 merge --quiet --base base --resize-vocab tok4 --adapter run -o three
    [[ "$output" == *"trained on"*": take that base, or --force-base" ]]
    [ ! -e three ]
    merge --quiet --base base --resize-vocab tok4 --pad-to-multiple-of 8 --adapter run --to gguf \
        --dtype f32 -o one.gguf
    echo '{"text":"a <think>b<|im_end|>c"}' > t.jsonl
    for place in tok4 one one.gguf; do
        tokenize --quiet -m $place --parse-special --to jsonl t.jsonl | grep '"tokens":\[' > "$place.ids"
        cmp tok4.ids "$place.ids"
    done
    grep -q '400,.*,403,' tok4.ids
}

@test "added tokens: only a tied embedding grows, and a model with enough rows stays unchanged" {
    make_base
    added tok4
    config tied.json 402 true
    tokenize --quiet -m tok docs.jsonl -o docs2.tok
    pack --quiet --context 16 --strategy split docs2.tok -o tied.smp
    train scratch.yaml from_scratch=true attention=full model_name_or_path=tied.json \
        tokenizer=tok train_file=tied.smp output_dir=tied max_steps=1 --quiet --device cpu
    merge --base tied --resize-vocab tok4 -o grown 2> said
    grep -q 'vocabulary: 404 rows, the last 2 are new, each the mean of the 402 before' said
    [ "$(rows_of grown model.embed_tokens.weight)" = 404 ]
    run ! grep -q lm_head grown/model.safetensors
    merge --base grown --resize-vocab tok4 -o same 2> said
    grep -q 'vocabulary: 404 rows, enough for all tokens: none was added' said
    cmp grown/model.safetensors same/model.safetensors
    quantize --quiet tied --resize-vocab tok4 --to bnb -o tied4
    cmp tok4/added_tokens.json tied4/added_tokens.json
    grep -q '"vocab_size": 404' tied4/config.json
    # No rows can be added to a model that is already quantized. The message says what to do.
    run -3 merge --quiet --base tied4 --resize-vocab tok4 --pad-to-multiple-of 64 -o no
    [[ "$output" == *"tied4: its linear layers are NF4, and it has 404 rows where 448 are needed: name the unquantized model"* ]]
    ln -s "$made/base.nf4" stream.nf4
    run -3 merge --quiet --base stream.nf4 --resize-vocab tok4 -o no
    [[ "$output" == *"stream.nf4: its linear layers are NF4, and it has 400 rows where 404 are needed"* ]]
    [ ! -e no ]
}

@test "added tokens: tokenize adds tokens and encodes in one run, and the tokenizer's files keep everything else" {
    make_base
    echo '{"model_max_length": 1000000000000000019884624838656,  "bos_token":"<s>"}' > config.new
    mkdir own && cp base/tokenizer.model own/ && cp config.new own/tokenizer_config.json
    cp base/tokenizer.model own/notes # not a file of a tokenizer
    echo '{"text":"a<new>b<|x|>"}' > t.jsonl
    tokenize -m own --add-token '<new>' --add-special-token '<|x|>' --save-tokenizer own2 \
        --parse-special --to jsonl t.jsonl > with.jsonl 2> said
    grep -q "token 400: '<new>'$" said
    grep -q "token 401: '<|x|>', special$" said
    grep -q "own2: a tokenizer of 402 tokens: a model with fewer rows needs more of them (quantize or merge, --resize-vocab own2)" said
    grep -q '"tokens":\[.*,400,.*,401\]' with.jsonl
    tokenize --quiet -m own2 --parse-special --to jsonl t.jsonl | cmp - with.jsonl
    [ "$(ls own2 | tr '\n' ' ')" = 'added_tokens.json tokenizer.model tokenizer_config.json ' ]
    grep -q '"model_max_length": 1000000000000000019884624838656,  "bos_token":"<s>",$' \
        own2/tokenizer_config.json
    # A token that the tokenizer already has is not added again. If tokens are only added, no text
    # is read or written.
    tokenize -m own2 --add-token '<new>' --add-token a --save-tokenizer own3 < /dev/null 2> said
    grep -q "token 400: '<new>', an added token already" said
    grep -q "'a', a piece of the vocabulary" said
    cmp own2/tokenizer.model own3/tokenizer.model
}

@test "added tokens: mistakes are reported before anything is written" {
    make_base
    refused() { # STATUS WORDS COMMAND...
        local status=$1 words=$2
        shift 2
        run -"$status" "$@"
        [[ "$output" == *"$words"* ]] || { echo "$output"; return 1; }
    }
    mkdir full && echo x > full/thesis
    mkdir some && cp base/tokenizer.model some/
    refused 2 '--add-token: --save-tokenizer DIR is needed' tokenize -m base --add-token x
    refused 2 '--save-tokenizer: --add-token or --add-special-token is needed' \
        tokenize -m base --save-tokenizer t
    refused 2 "--model tok/tokenizer.model: the folder of the tokenizer's files is needed" \
        tokenize -m tok/tokenizer.model --add-token x --save-tokenizer t
    refused 2 "'x' is given twice: leave one out" \
        tokenize -m base --add-token x --add-special-token x --save-tokenizer t
    refused 2 'a token to be added is empty' tokenize -m base --add-token '' --save-tokenizer t
    refused 2 '-o out: nothing is encoded' \
        tokenize -m base --add-token x --save-tokenizer t -o out
    refused 2 '--save-tokenizer is for text, not for --decode' \
        tokenize -m base --add-token x --save-tokenizer t --decode docs.tok
    refused 3 "'</s>' is already an added token, and it is special" \
        tokenize -m base --add-token '</s>' --save-tokenizer t
    refused 1 'thesis' tokenize -m base --add-token x --save-tokenizer full
    refused 1 'is not empty, and an existing tokenizer is never replaced' \
        tokenize -m base --add-token x --save-tokenizer some
    refused 2 base tokenize -m base --add-token x --save-tokenizer base
    refused 2 '--pad-to-multiple-of is for --resize-vocab DIR' \
        quantize base --pad-to-multiple-of 8 -o no
    refused 1 '--resize-vocab nowhere: it does not exist' \
        merge --base base --resize-vocab nowhere -o no
    refused 1 '--resize-vocab full: no tokenizer in it' quantize base --resize-vocab full -o no
    # The tokenizer of another model would give every row to another token.
    mkdir foreign && cp "$golden/tokenizer/spm.model" foreign/tokenizer.model
    refused 3 "model's own tokenizer" quantize base --resize-vocab foreign -o no
    refused 3 "model's own tokenizer" merge --base base --resize-vocab foreign -o no
    # Nothing is encoded here, so no data are written, and messages may go to standard output too.
    tokenize -m base --add-token x --save-tokenizer logged > log 2>&1
    [ -e logged/tokenizer.model ]
    refused 2 "--tokenizer: --resize-vocab names the result's tokenizer" \
        merge --base base --resize-vocab tok --tokenizer tok -o no
    refused 2 "--resize-vocab: an adapter's GGUF has no tokenizer" \
        merge --base base --adapter x --to gguf-lora --resize-vocab tok -o no.gguf
    [ ! -e t ] && [ ! -e no ] && [ ! -e out ]
    cmp full/thesis <(echo x)
}

# Prints the end tokens in the files of a model's folder.
ends_in() { # DIRECTORY
    perl -MJSON::PP -e 'for (@ARGV) { open my $f, "<", $_ or next; local $/;
        my ($name) = m{([^/]*)_?config}; my $ids = decode_json(<$f>)->{eos_token_id};
        print $name, ref $ids ? join(",", @$ids) : $ids, " " }' "$1/config.json" "$1/generation_config.json"
}

@test "added tokens: a merged or trained model ends its answers where the template of its conversations does" {
    make_base
    added tok4
    chats tok4
    merge --quiet --base base --resize-vocab tok4 -o base4
    printf 'method: lora\nquantization: none\n' > lora.yaml
    of=(train_file=chat.smp attention=full --quiet --device cpu)
    # So many steps that the model ends its answers.
    train lora.yaml model_name_or_path=base4 output_dir=run lora_rank=8 train_embedding=true \
        learning_rate=0.02 max_steps=40 "${of[@]}"
    merge --base base4 --adapter run -o merged 2> said
    grep -qF "eos_token_id: 403 '<|im_end|>' is added, at which the template chatml of run ends an answer" said
    [ "$(ends_in merged)" = '2,403 ' ]
    # llama.cpp reads the key of the end of a turn.
    merge --quiet --base base4 --adapter run --to gguf -o merged.gguf 2> said
    perl -0777 -ne 'exit !/tokenizer\.ggml\.eot_token_id\x04\0\0\0\x93\x01\0\0/s' merged.gguf
    # Of generation_config.json all else stays as it is, byte for byte.
    cp -rL base4 own
    echo '{"top_p":  0.9, "eos_token_id": [2, 5]}' > own/generation_config.json
    merge --quiet --base own --adapter run -o both 2> said
    [ "$(ends_in both)" = '2,5,403 generation_2,5,403 ' ]
    grep -q '"top_p":  0.9' both/generation_config.json
    # A model that ends there already is not changed.
    echo '{"eos_token_id": 403}' > own/generation_config.json
    merge --base own --adapter run -o same 2> said
    cmp own/generation_config.json same/generation_config.json
    run ! grep -q eos_token_id said
    # The answers end there with --chat and without it, before and after the merge.
    prompt=$'<|im_start|>user\na 1<|im_end|>\n<|im_start|>assistant\n'
    for model in "base4 --adapter run" merged merged.gguf; do
        generate -m $model -p "$prompt" --parse-special -n 60 > answer 2> said
        grep -q 'ended by eos' said
        [[ "$(< answer)" == *c ]] || { cat answer said; return 1; }
    done
    # The adapter's GGUF has no end tokens, so the options of llama.cpp must name this one.
    train lora.yaml model_name_or_path=base4 output_dir=thin lora_rank=4 max_steps=1 "${of[@]}"
    merge --base base4 --adapter thin --to gguf-lora -o thin.gguf 2> said
    grep -q "its template chatml ends an answer at 403 '<|im_end|>', which is not an end token of base4: give its text to llama.cpp as --reverse-prompt" said
    # Without its tokenizer the token is not known.
    quantize --quiet base4 -o base4.nf4
    merge --quiet --base base4.nf4 --force-base --adapter run -o bare 2> said
    grep -q 'run: the token at which its template chatml ends an answer is not known.*: there is no tokenizer' said
    [ "$(ends_in bare)" = '2 ' ]
    # A model that is trained completely has it too.
    echo 'method: full' > full.yaml
    train full.yaml model_name_or_path=base4 output_dir=full max_steps=1 "${of[@]}"
    [ "$(ends_in full)" = '2,403 ' ]
}

@test "added tokens: merge and train warn if the result has another chat template than its conversations" {
    make_base
    added tok4
    chats tok4
    cp -r tok4 plain
    merge --quiet --base base --resize-vocab tok4 -o base4
    printf 'method: lora\nquantization: none\n' > lora.yaml
    of=(model_name_or_path=base4 max_steps=1 attention=full lora_rank=4 --quiet --device cpu)
    train lora.yaml train_file=chat.smp output_dir=run "${of[@]}"
    tokenize --quiet -m tok4 --format chat --template vicuna chat.jsonl -o other.tok
    pack --quiet --context 64 --strategy best-fit other.tok -o other.smp
    train lora.yaml train_file=other.smp output_dir=other "${of[@]}"
    for to in hf: gguf:.gguf gguf-lora:.gguf; do
        rm -f base4/chat_template.jinja
        merge --quiet --base base4 --adapter run --to ${to%:*} -o none-${to%:*}${to#*:} 2> said
        grep -q 'run was trained with the template chatml, but the .* has no chat_template: ' said
        # The text of docs/formats/chat_template.md is known as chatml.
        sed -n '/^    {%- for message in messages %}/,/^    {%- endif %}/s/^    //p' \
            "$root/docs/formats/chat_template.md" > base4/chat_template.jinja
        merge --quiet --base base4 --adapter run --to ${to%:*} -o same-${to%:*}${to#*:} 2> said
        run ! grep -q 'was trained with' said
        merge --quiet --base base4 --adapter other --to ${to%:*} -o other-${to%:*}${to#*:} 2> said
        grep -q 'other was trained with the template vicuna, but the .* has the chat_template of base4/chat_template.jinja, which is chatml of docs/formats/chat_template.md: ' said
        echo '{{ messages }}' > base4/chat_template.jinja
        merge --quiet --base base4 --adapter run --to ${to%:*} -o odd-${to%:*}${to#*:} 2> said
        grep -q 'which is none of the published ones that are known: ' said
    done
    # So does a training of the whole model.
    echo 'method: full' > full.yaml
    of=(model_name_or_path=base4 max_steps=1 attention=full train_file=chat.smp --quiet)
    train full.yaml output_dir=odd "${of[@]}" 2> said
    grep -q 'chat.smp: the conversations have the template chatml, but the result gets the chat_template of base4/chat_template.jinja, which is none of the published ones that are known: ' said
    : > base4/chat_template.jinja
    train full.yaml output_dir=empty "${of[@]}" 2> said
    grep -q 'base4, which is none that can be read (.*: an empty chat_template' said
    merge --quiet --base base4 --adapter run -o empty-too 2> said
    grep -q 'base4, which is none that can be read (.*: an empty chat_template' said
    rm base4/chat_template.jinja
    train full.yaml output_dir=none "${of[@]}" 2> said
    grep -q 'chat.smp: the conversations have the template chatml, but the result gets no chat_template: ' said
    sed -n '/^    {%- for message in messages %}/,/^    {%- endif %}/s/^    //p' \
        "$root/docs/formats/chat_template.md" > base4/chat_template.jinja
    train full.yaml output_dir=same "${of[@]}" 2> said
    [ ! -s said ]
    merge --quiet --base base4 --adapter run:0.5 --adapter other:0.5 -o two 2> said
    grep -q 'run was trained with the template chatml, but other with vicuna: the result may answer worse with either' said
}
