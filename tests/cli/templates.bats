# Tests of the template that a model's own chat_template selects.
load helper

# Fails unless two streams have the same header and records. Their end records name the texts that
# they were made of, which may differ.
same() { # STREAM STREAM
    cmp <(tokenize --from stream --to jsonl "$1") <(tokenize --from stream --to jsonl "$2")
}

# Makes a byte-level tokenizer with ChatML's and LLaMA-3's tokens in DIR, and page.jinja, which has
# the template of the page in docs/.
make_model() { # DIR
    mkdir -p "$1"
    cp "$golden"/chat/tokenizer{,_config}.json "$1"
    chmod u+w "$1"/*
    sed -n '/^    {%- for/,/^    {%- endif %}$/s/^    //p' "$root/docs/formats/chat_template.md" > \
        page.jinja
    grep -q 'im_start' page.jinja
}

# says STATUS MESSAGE COMMAND...: the last line on standard error must be the message.
says() {
    local status=$1 message=$2
    run --separate-stderr "-$status" "${@:3}"
    [ "${stderr_lines[-1]}" = "$message" ] || { printf '%s\n' "$stderr" "$message" && false; }
}

# made STREAM: prints the name and the digest of the stream's template.
made() {
    perl -MForeignStream \
        -e 'my ($h) = ForeignStream::read_all(shift); print join(" ", @{$h->{options}}{"template", "template_digest"}), "\n"' "$1"
}

@test "templates: auto takes the model's own chat_template from each place where it may be" {
    make_model m
    echo \
        '{"messages":[{"role":"system","content":"S"},{"role":"user","content":"a?"},{"role":"assistant","content":"b"}]}' \
        > c.jsonl
    tokenize --quiet --format chat --template chatml -m m c.jsonl -o named.tok
    read -r name digest <<< "$(made named.tok)"
    [ "$name" = chatml ] && [ "${#digest}" -eq 32 ]
    auto() { # auto must give the same as chatml, and the message must name the text's origin
        run --separate-stderr -0 tokenize --format chat --template auto -m "${1:-m}" c.jsonl \
            -o auto.tok
        [[ "$stderr" == \
            *"the chat_template is that of docs/formats/chat_template.md: it is chatml"* ]]
        cmp named.tok auto.tok
    }
    cp page.jinja m/chat_template.jinja
    auto
    auto m/tokenizer.json
    # White space that has no effect in Jinja makes no difference.
    perl -0pe 's/\{\{- /{{-   /g; s/\n    /\n\n\t/g; s/ -%/-%/g; s/\z/\n/' page.jinja > \
        m/chat_template.jinja
    run ! cmp -s page.jinja m/chat_template.jinja
    auto
    rm m/chat_template.jinja
    configure() { perl -MJSON::PP -0e \
        'local $/; my $t = shift; open my $f, "<", "m/tokenizer_config.json"; my $c = decode_json(<$f>); open $f, "<", "page.jinja"; my $page = <$f>;
        $c->{chat_template} = eval $t; open $f, ">", "m/tokenizer_config.json"; print $f encode_json($c)' \
            "$1"; }
    configure '$page'
    auto
    configure '[{ name => "tool_use", template => "x" }, { name => "default", template => $page }]'
    auto
    # Of two with one name, transformers takes the last.
    configure '[{ name => "default", template => "x" }, { name => "default", template => $page }]'
    auto
    configure '[{ name => "tool_use", template => "x" }, { name => "rag", template => $page }]'
    says 3 \
        "tokenize: m/tokenizer_config.json: of its named chat_templates (tool_use, rag) none is called default" \
        tokenize --format chat --template auto -m m c.jsonl -o x
    configure '[{ name => "default" }]'
    says 3 \
        "tokenize: m/tokenizer_config.json: its chat_template that is called default has no template" \
        tokenize --format chat --template auto -m m c.jsonl -o x
    configure '7'
    says 3 \
        "tokenize: m/tokenizer_config.json: chat_template is neither a text nor a list of named texts" \
        tokenize --format chat --template auto -m m c.jsonl -o x
    configure 'undef'
    says 3 \
        "tokenize: --template auto: the model has no chat_template (chat_template.jinja, or one in tokenizer_config.json): choose a template with --template NAME" \
        tokenize --format chat --template auto -m m c.jsonl -o x
    # --template also takes the name of a file with such a text.
    tokenize --quiet --format chat --template page.jinja -m m c.jsonl -o auto.tok
    cmp named.tok auto.tok
    [ ! -e x ]
}

@test "templates: the folder additional_chat_templates is refused where transformers would take its texts" {
    make_model m
    echo '{"input":"a","output":"b"}' > c.jsonl
    configure() { perl -MJSON::PP -0pi \
        -e 'BEGIN { open my $f, "<", "page.jinja"; $page = <$f> } my $c = decode_json($_); $c->{chat_template} = $page; $_ = encode_json($c)' \
        m/tokenizer_config.json; }
    told() { run --separate-stderr -0 tokenize --format chat --template auto -m m c.jsonl -o x.tok
        [[ "$stderr" == *"it is chatml"* ]]; }
    mkdir m/additional_chat_templates
    configure
    told
    echo x > m/additional_chat_templates/tool_use.jinja
    says 3 "tokenize: m/chat_template.jinja is missing, and because of the folder additional_chat_templates transformers ignores the chat_template in tokenizer_config.json: write that text to this file, or choose a template by name" \
        tokenize --format chat --template auto -m m c.jsonl -o x
    cp page.jinja m/chat_template.jinja
    told
    echo x > m/additional_chat_templates/default.jinja
    says 3 "tokenize: m/additional_chat_templates/default.jinja: transformers takes this file, and not chat_template.jinja: move it to chat_template.jinja in the model's folder" \
        tokenize --format chat --template auto -m m c.jsonl -o x
    rm -r m/additional_chat_templates
    echo x > m/additional_chat_templates
    told
    [ ! -e x ]
}

# named DIR: prints the names and the texts of the list in DIR/tokenizer_config.json, as JSON.
named() { perl -MJSON::PP -0ne \
    'my $c = decode_json($_); print join ",", map { encode_json([$_->{name}, $_->{template}]) } @{$c->{chat_template}}' \
    "$1/tokenizer_config.json"; }

@test "templates: merge, quantize --to bnb and train copy named templates into tokenizer_config.json" {
    make_base
    lora ad --quiet
    cp -rL base full
    echo '{"model_max_length":16, "chat_template":"old"}' > full/tokenizer_config.json
    printf 'D\r\n\r{{ x }}' > full/chat_template.jinja
    mkdir full/additional_chat_templates
    echo '"T"' > full/additional_chat_templates/tool_use.jinja
    echo R > full/additional_chat_templates/rag.jinja
    echo no > full/additional_chat_templates/notes.txt
    list='["default","D\n\n{{ x }}"],["rag","R\n"],["tool_use","\"T\"\n"]'
    step="train scratch.yaml attention=full model_name_or_path=full train_file=16.smp max_steps=1
        per_device_train_batch_size=4 --quiet --device cpu"
    merge --quiet --base full --adapter ad -o merged
    merge --quiet --base full --adapter ad -o merged # the folder is known as merge's own
    quantize --quiet --to bnb full -o quantized
    $step output_dir=trained
    for made in merged quantized trained trained/checkpoint-1; do
        [ "$(named $made)" = "$list" ]
        [ ! -e $made/chat_template.jinja ]
        [ ! -e $made/additional_chat_templates ]
        grep -q '^{"model_max_length":[13]' $made/tokenizer_config.json
    done
    train --quiet --verify trained
    # A template is an input like the others.
    echo changed >> full/additional_chat_templates/rag.jinja
    says 3 "train: trained: not verified: tokenizer: full/additional_chat_templates/rag.jinja differs from the file that the run read: SHA-256 $(
        printf 'R\n' | sha256sum | head -c 16)… then, $(
        sha256sum < full/additional_chat_templates/rag.jinja | head -c 16)… now" \
        train --quiet --verify trained
    # Without chat_template.jinja no template is called default.
    rm full/chat_template.jinja
    merge --quiet --base full --adapter ad -o merged
    [ "$(named merged)" = '["rag","R\nchanged\n"],["tool_use","\"T\"\n"]' ]
    # A default.jinja overrides chat_template.jinja.
    echo one > full/chat_template.jinja
    printf 'other' > full/additional_chat_templates/default.jinja
    merge --quiet --base full --adapter ad -o merged
    [[ "$(named merged)" == '["default","other"],["rag",'* ]]
    # If it is the only template, it has no name in the copy.
    rm full/additional_chat_templates/{rag,tool_use}.jinja
    merge --quiet --base full --adapter ad -o merged
    [ "$(cat merged/chat_template.jinja)" = other ]
    grep -q '"chat_template":"old"' merged/tokenizer_config.json

    says 2 "tokenize: -o full/additional_chat_templates/x.jinja: would become a part of the input --model full/additional_chat_templates: name another" \
        tokenize --quiet --model full docs.jsonl -o full/additional_chat_templates/x.jinja
    printf '\377' > full/additional_chat_templates/rag.jinja
    says 3 "merge: full/additional_chat_templates/rag.jinja: byte 0 is not UTF-8: another encoding? iconv -f WINDOWS-1252 -t UTF-8" \
        merge --quiet --base full --adapter ad -o x
    printf 'a\0' > full/additional_chat_templates/rag.jinja
    says 3 "merge: full/additional_chat_templates/rag.jinja: contains a NUL character: fetch the file again" \
        merge --quiet --base full --adapter ad -o x
    ln -sf /etc/passwd full/additional_chat_templates/rag.jinja
    says 1 "merge: full/additional_chat_templates/rag.jinja: leads to /etc/passwd, outside of the model's folder, and would be copied: put the file itself there, or remove the link" \
        merge --quiet --base full --adapter ad -o x
    rm full/additional_chat_templates/rag.jinja full/tokenizer_config.json
    echo T > full/additional_chat_templates/tool_use.jinja
    says 3 "merge: full/tokenizer_config.json: is missing, and the copy of additional_chat_templates would be written into it: write {} to it, or move that folder away" \
        merge --quiet --base full --adapter ad -o x
    [ ! -e x ]
}

@test "templates: an unknown template text is refused, and the message names a template with the same marks" {
    make_model m
    echo '{"input":"a","output":"b"}' > c.jsonl
    known='the chat_template is not one of the known published ones'
    refused() { # TEXT MESSAGE
        printf '%s' "$1" > m/chat_template.jinja
        says 3 "tokenize: m/chat_template.jinja: $2" tokenize --format chat --template auto -m m \
            c.jsonl -o x
    }
    # After a small change the page's text is unknown.
    sed 's/message.content/message.content|trim/' page.jinja > other
    refused "$(cat other)" \
        "$known; it has special texts of chatml: if you know that this is the model's template, choose it with --template chatml"
    refused '[INST] {{ m }} [/INST]' \
        "$known; it has special texts of mistral: if you know that this is the model's template, choose it with --template mistral"
    refused '{{ m }}' \
        "$known, and has none of their special texts: --template FILE reads a template from a file (docs/formats/chat_template.md)"
    refused '{{ m' 'a tag does not end'
    refused 'a template' \
        "$known, and has none of their special texts: --template FILE reads a template from a file (docs/formats/chat_template.md)"
    # The user chooses the template, so it is accepted.
    cp other m/chat_template.jinja
    tokenize --quiet --format chat --template chatml -m m c.jsonl -o x
    head -c 1100000 /dev/zero | tr '\0' ' ' > m/chat_template.jinja
    says 3 "tokenize: m/chat_template.jinja: the template has 1100000 bytes, but at most 1048576 are possible" \
        tokenize --format chat --template auto -m m c.jsonl -o y
    [ ! -e y ]
}

@test "templates: generate --chat auto looks beside the tokenizer, in the adapter's folder and in the model's" {
    make_model tok
    config config.json 708
    echo '{"text":"one two three four five six seven eight nine ten"}' | \
        tokenize --quiet -m tok --no-bos | pack --quiet --context 16 --strategy split -o 16.smp
    echo 'method: full' > scratch.yaml
    train scratch.yaml from_scratch=true attention=full model_name_or_path=config.json \
        tokenizer=tok train_file=16.smp output_dir=base max_steps=1 --quiet --device cpu
    ids() { grep '^ids: ' <<< "$stderr"; }
    run --separate-stderr -0 generate -m base --chat chatml -p 'a?' -n 1 -c 200 -v
    want=$(ids)
    says 3 \
        "generate: --chat auto: the model has no chat_template (chat_template.jinja, or one in tokenizer_config.json): choose a template with --chat NAME" \
        generate -m base --chat auto -p 'a?' -n 1 -c 200
    cp page.jinja base/chat_template.jinja
    run --separate-stderr -0 generate -m base --chat auto -p 'a?' -n 1 -c 200 -v
    [ "$(ids)" = "$want" ]
    # The template beside a named tokenizer has priority.
    printf '%s' '[INST] {{ m }} [/INST]' > tok/chat_template.jinja
    run --separate-stderr -3 generate -m base --tokenizer tok --chat auto -p 'a?' -n 1 -c 200
    [[ "$stderr" == *"tok/chat_template.jinja: "*"choose it with --chat mistral"* ]]
    # An adapter's own template has priority over its base's.
    lora run model_name_or_path=base quantization=none train_file=16.smp max_steps=1 --quiet \
        --device cpu
    cp tok/chat_template.jinja run
    run --separate-stderr -3 generate -m base --adapter run --chat auto -p 'a?' -n 1 -c 200
    [[ "$stderr" == *"run/chat_template.jinja: "*"choose it with --chat mistral"* ]]
    rm run/chat_template.jinja
    run --separate-stderr -0 generate -m base --adapter run --chat auto -p 'a?' -n 1 -c 200 -v
    [ "$(ids)" = "$want" ]
}

@test "templates: the vicuna template of older versions is now called vicuna-apart, and a message says so" {
    make_tokenizer
    m=$made/tok/tokenizer.model
    echo '{"input":"a?","output":"b"}' > c.jsonl
    run --separate-stderr -0 tokenize --format chat --template vicuna -m "$m" c.jsonl -o new.tok
    [[ "$stderr" == \
        *"vicuna is the template of FastChat's v1.1; the vicuna of earlier versions (no BOS, prompt and answer encoded separately) is --template vicuna-apart"* ]]
    tokenize --quiet --format chat --template vicuna-apart -m "$m" c.jsonl -o old.tok
    perl -MForeignStream \
        -e 'for my $f (@ARGV) { my @o = ForeignStream::read_all($f); my @i = unpack "v*", $o[1]{tokens}; my @t = unpack "V*", $o[1]{targets}; print "$i[0] $i[-1] $t[1]-", scalar @i, "\n" }' \
        new.tok old.tok > seen
    [ "$(sed -n 1p seen | cut -d' ' -f1)" = 1 ]
    [ "$(sed -n 2p seen | cut -d' ' -f1)" != 1 ]
    # The stream names this template, and pack reads it.
    [ "$(made old.tok | cut -d' ' -f1)" = vicuna-apart ]
    pack --quiet --context 400 --strategy truncate old.tok -o old.smp
    # FastChat trains on nothing in conversations that have these texts.
    printf '%s\n' '{"input":"a ASSISTANT: b","output":"c"}' '{"input":"a?","output":"b"}' > \
        spells.jsonl
    says 3 \
        "tokenize: spells.jsonl:1: a message contains ' ASSISTANT: ', which is a special text of the template vicuna, whose own program trains on nothing in such a conversation: leave the conversation out" \
        tokenize --format chat --template vicuna -m "$m" spells.jsonl -o x
    run --separate-stderr -0 tokenize --format chat --template vicuna --on-error skip -m "$m" \
        spells.jsonl -o x
    [[ "$stderr" == *"1 documents, 1 skipped"* ]]
}

@test "templates: alpaca has one turn and no system prompt, and generate says that each prompt is answered separately" {
    make_base
    says 3 \
        "tokenize: standard input:1: 2 turns, but the template alpaca has only one: split the conversation, or choose another template" \
        tokenize --format chat --template alpaca -m tok/tokenizer.model -o x <<< \
        '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}'
    says 3 \
        "tokenize: standard input:1: alpaca has no place for a system prompt: leave it out, or put it into the first prompt" \
        tokenize --format chat --template alpaca -m tok/tokenizer.model -o x <<< \
        '{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}'
    run --separate-stderr -0 generate -m base --chat alpaca -p 'a?' -n 1 -c 400 -v
    [[ "$stderr" == *"the template alpaca has single turns: each prompt is answered separately"* ]]
}

# text STREAM MODEL: prints the decoded documents of a stream.
text() { tokenize --quiet --decode --format text -m "$2" "$1"; }

@test "templates: alpaca has a place for the input, and each template decides about white space" {
    make_tokenizer
    m=$made/tok/tokenizer.model
    record='{"instruction":" Do it. ","input":"x\ny","output":" z\n"}'
    tokenize --quiet --format chat --template alpaca -m "$m" -o a.tok <<< "$record"
    [ "$(text a.tok "$m")" = \
        $'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n Do it. \n\n### Input:\nx\ny\n\n### Response: z' ]
    tokenize --quiet --format chat --template alpaca -m "$m" -o a.tok <<< \
        '{"instruction":"Do it.","input":"","output":"z"}'
    [[ "$(text a.tok "$m")" == \
        *$'a task. Write a response'*$'### Instruction:\nDo it.\n\n### Response:z' ]]
    # As in Stanford's train.py, the input decides which text is written, not the instruction.
    tokenize --quiet --format chat --template alpaca -m "$m" -o a.tok <<< \
        '{"instruction":"","input":"inp","output":"z"}'
    [[ "$(text a.tok "$m")" == \
        *$'provides further context. '*$'### Instruction:\n\n\n### Input:\ninp\n\n### Response:z' ]]
    # In other templates an input is a line after the instruction.
    tokenize --quiet --format chat -m "$m" -o a.tok <<< "$record"
    [[ "$(text a.tok "$m")" == *$'\nUSER: Do it. \nx\ny\nASSISTANT:  z' ]]
    tokenize --quiet --format chat --template zephyr -m "$m" -o a.tok <<< "$record"
    text a.tok "$m" > seen
    printf '<|user|>\n Do it. \nx\ny \n<|assistant|>\n z\n \n' | diff seen -
    # An empty key gives no system prompt, but an empty system message gives one.
    tokenize --quiet --format chat --template zephyr -m "$m" -o b.tok <<< \
        '{"system":"","instruction":" Do it. ","input":"x\ny","output":" z\n"}'
    same a.tok b.tok
    tokenize --quiet --format chat --template zephyr -m "$m" -o b.tok <<< \
        '{"messages":[{"role":"system","content":""},{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}'
    [[ "$(text b.tok "$m")" == '<|system|>'$'\n'*'<|user|>'$'\n'a* ]]
}

@test "templates: several parts of a text are joined as the model's own template does" {
    m=$root/tests/golden/templates/gemma
    said() { # TEMPLATE RECORD
        tokenize --quiet --format chat --template "$1" -m "$m" -o a.tok <<< "$2"
        text a.tok "$m"
    }
    part() { printf '{"type":"text","text":"%s"}' "$1"; }
    turns="{\"role\":\"user\",\"content\":[$(part ''),$(part ' one '),$(part ' two')]},"
    turns+="{\"role\":\"assistant\",\"content\":[$(part 'a '),$(part 'b')]}"
    [ "$(said gemma "{\"messages\":[$turns]}")" = \
        $'user\none \n two\nmodel\na \nb' ]
    [ "$(said gemma-3 "{\"messages\":[$turns]}")" = \
        $'user\nonetwo\nmodel\nab' ]
    # A system prompt keeps its white space. Of several parts the model's template takes the first.
    system="{\"role\":\"system\",\"content\":[$(part ' s ')]}"
    [ "$(said gemma-3 "{\"messages\":[$system,$turns]}")" = \
        $'user\n s \n\nonetwo\nmodel\nab' ]
    for way in "\"system\":[$(part a),$(part b)],\"messages\":[$turns]" \
        "\"messages\":[{\"role\":\"system\",\"content\":[$(part a),$(part b)]},$turns]"; do
        run --separate-stderr -3 tokenize --format chat --template gemma-3 -m "$m" -o x <<< \
            "{$way}"
        [[ "$stderr" == *" of the system prompt has 2 parts, of which the template would write only the first: write one text (--odd: "* ]]
    done
    echo \
        '{"turn":"{system}<start_of_turn>user\n{}\nmodel\n","end":"<end_of_turn>","special":["<start_of_turn>","<end_of_turn>"],"whole":true,"strip":[],"parts":"filled_lines"}' \
        > filled.json
    [ "$(said filled.json "{\"messages\":[$turns]}")" = \
        $'user\n one \n two\nmodel\na \nb' ]
    sed 's/filled_lines/words/' filled.json > words.json
    says 3 "tokenize: words.json: 'parts' is one of lines, filled_lines and trimmed" \
        tokenize --format chat --template words.json -m "$m" -o x <<< "{\"messages\":[$turns]}"
    [ ! -e x ]
}

@test "templates: the role developer is a system prompt in the templates of programs, and irregular in those of models" {
    make_tokenizer
    m=$made/tok/tokenizer.model
    record='{"messages":[{"role":"developer","content":"s"},{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}'
    for template in longqlora vicuna vicuna-apart; do
        tokenize --quiet --format chat --template $template -m "$m" -o a.tok <<< "$record"
        tokenize --quiet --format chat --template $template -m "$m" -o b.tok <<< \
            "${record/developer/system}"
        same a.tok b.tok
    done
    says 3 "tokenize: standard input:1: message 1: 'role' is 'developer', which the template's models do not take for a system prompt: if it is one, write 'system' (--odd: what to do with such conversations)" \
        tokenize --format chat --template zephyr -m "$m" -o x <<< "$record"
    for odd in skip drop merge; do
        run --separate-stderr -0 tokenize --format chat --template zephyr -m "$m" --odd $odd \
            -o a.tok <<< "$record"$'\n'"${record/developer/system}"
        [[ "$stderr" == *"skipped: 1 with the role developer"* ]]
    done
}

@test "templates: an unknown name is answered with the nearest one, and another program's name with ours" {
    make_tokenizer
    near() { # NAME MEANT
        run --separate-stderr -2 tokenize --format chat --template "$1" -m "$made/tok" c.jsonl
        [[ "$stderr" == \
            "tokenize: --template: '$1' is neither a template nor a file: did you mean $2? there are longqlora, "*", mistral-v3, mistral-nemo, "*", auto, or a file (see tokenize --help)" \
            ]] || { echo "$stderr"; false; }
    }
    near llama3 llama-3
    near chat-ml chatml
    near mistral-v03 mistral-v3
    near mistral_v3_tekken mistral-nemo
    near vicuna_v1.1 vicuna
    near qwen chatml
    near qwen3_nothink qwen3-no-think
    near deepseekr1 deepseek-r1
    near phi_4 phi-4
    near tokenizer_default auto
    run --separate-stderr -2 tokenize --format chat --template ./nowhere.json -m "$made/tok" c.jsonl
    [[ "$stderr" == \
        "tokenize: --template: './nowhere.json' is neither a template nor a file: there are longqlora, "* ]]
}

@test "templates: Mistral's templates put the system prompt before the last question, and nowhere else" {
    make_base
    ids() { grep '^ids: ' <<< "$stderr"; }
    for name in mistral-v3 mistral-nemo; do
        run --separate-stderr -0 generate -m base --chat $name --system S -p 'a?' -n 1 -c 300 -v
        told=$(ids)
        run --separate-stderr -0 generate -m base --chat $name -p $'S\n\na?' -n 1 -c 300 -v
        [ "$(ids)" = "$told" ]
        # A conversation that ends with an answer loses its system prompt, and this is counted.
        run --separate-stderr -0 tokenize --format chat --template $name -m tok -o with.tok <<< \
            '{"system":"S","input":"a?","output":"b"}'
        [[ "$stderr" == \
            *"repaired: 1 system prompts left out, as the template does where an answer ends"* ]]
        run --separate-stderr -0 tokenize --format chat --template $name -m tok -o without.tok <<< \
            '{"input":"a?","output":"b"}'
        [[ "$stderr" != *repaired* ]]
        same with.tok without.tok
    done
}

@test "templates: thinking that the template leaves out of answers is counted" {
    mkdir -p m
    cp "$golden"/templates/bytes/tokenizer{,_config}.json m
    echo '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"<think>b</think>c"},{"role":"user","content":"d"},{"role":"assistant","content":"<think>e</think>f"}]}' > c.jsonl
    told() { # TEMPLATE COUNT
        run --separate-stderr -0 tokenize --format chat --template "$1" -m m c.jsonl -o x.tok
        [[ "$stderr" == \
            *"repaired: $2 answers without the thinking before </think>, which the template drops"* ]]
    }
    told qwen3 1
    told deepseek-r1 2
    run --separate-stderr -0 tokenize --format chat --template chatml -m m c.jsonl -o x.tok
    [[ "$stderr" != *repaired* ]]
    # A reasoning_content beside an answer is its thinking, if the template has thinking.
    ids() { tokenize --quiet --format chat --template "$1" -m m --to jsonl "${@:3}" <<< "$2" | \
        grep -o '"tokens":\[.*'; }
    messages='{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"f","reasoning_content":"e"}]}'
    [ -n "$(ids qwen3 "$messages")" ]
    [ "$(ids qwen3 "$messages")" = \
        "$(ids qwen3 '{"input":"a","output":"<think>e</think>f"}')" ]
    # It is the same in a record with one answer, and in a pair.
    for one in '{"input":"a","output":"f","reasoning_content":"e"}' \
        '{"conversation":[{"input":"a","output":"f","reasoning_content":"e"}]}'; do
        [ "$(ids qwen3 "$one")" = "$(ids qwen3 "$messages")" ]
        [ "$(ids deepseek-r1 "$one")" = "$(ids deepseek-r1 "$messages")" ]
    done
    [ "$(ids deepseek-r1 "$messages")" = "$(ids deepseek-r1 '{"input":"a","output":"f"}')" ]
    [ "$(ids qwen3 "$messages" --odd drop)" = "$(ids qwen3 "$messages")" ]
    says 3 "tokenize: standard input:1: message 2: 'reasoning_content': reasoning beside an answer is not trained on (--odd: what to do with such conversations)" \
        tokenize --format chat --template chatml -m m -o y <<< "$messages"
    says 3 "tokenize: standard input:1: message 1: 'reasoning_content': reasoning beside an answer is not trained on (--odd: what to do with such conversations)" \
        tokenize --format chat --template qwen3 -m m -o y <<< \
        '{"messages":[{"role":"user","content":"a","reasoning_content":"e"},{"role":"assistant","content":"f"}]}'
    run --separate-stderr -0 tokenize --format chat --template qwen3 --odd merge -m m -o y <<< \
        '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"f","reasoning_content":"e"},{"role":"assistant","content":"g"}]}'
    [[ "$stderr" == *"skipped: 1 with reasoning"* ]]
}

@test "templates: DeepSeek's answers end with the token that the chat_templates write, also if EOS is another" {
    mkdir m
    cp "$golden"/templates/bytes/tokenizer.json m
    echo '{"bos_token": "<s>", "eos_token": "<|im_end|>"}' > m/tokenizer_config.json
    ids() { tokenize --quiet --format chat --template "$1" -m m --to jsonl <<< \
        '{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}' | \
        grep -o '"tokens":.*'; }
    # 421 is <｜end▁of▁sentence｜>, and 424 is <|im_end|>. transformers gives these ids.
    [ "$(ids deepseek)" = '"tokens":[440,436,80,437,64,421],"targets":[[4,6]]}' ]
    [ "$(ids deepseek-r1)" = '"tokens":[440,436,80,437,64,421],"targets":[[4,6]]}' ]
    perl -CSD -Mutf8 -pi -e 's/<｜end▁of▁sentence｜>/<｜the▁end｜>/g' m/tokenizer.json
    run --separate-stderr -3 tokenize --format chat --template deepseek -m m -o y <<< \
        '{"input":"q","output":"a"}'
    [[ "$stderr" == "tokenize: deepseek: the tokenizer has no token <｜end▁of▁sentence｜>: "* ]]
}

# template FILE: prints the name and the digest of the template that an adapter records.
template() { perl -MJSON::PP -0ne \
    'my $t = decode_json($_)->{template}; print $t ? join(" ", @$t{"name", "digest"}) : "none", "\n"' \
    "$1/longqlora.json"; }

@test "templates: an adapter records its template; --chat auto uses it, and another one gives a message" {
    make_model tok
    config config.json 708
    echo '{"text":"one two three four five six seven eight nine ten"}' > text.jsonl
    tokenize --quiet -m tok --no-bos text.jsonl -o text.tok
    pack --quiet --context 16 --strategy split text.tok -o 16.smp
    echo 'method: full' > scratch.yaml
    train scratch.yaml from_scratch=true attention=full model_name_or_path=config.json \
        tokenizer=tok train_file=16.smp output_dir=base max_steps=1 --quiet --device cpu
    ids() { grep '^ids: ' <<< "$stderr"; }
    ask() { run --separate-stderr -0 generate -m base -p 'a?' -n 1 -c 300 -v "$@"; }
    words() { tokenize --quiet --format chat --template "$1" -m tok <<< \
        '{"input":"a?","output":"b"}'; }
    learn() { lora "$1" model_name_or_path=base quantization=none attention=full train_file="$2" \
        max_steps=1 --device cpu "${@:3}"; }
    words chatml > chatml.tok
    pack --quiet --context 64 chatml.tok -o chatml.smp
    learn run chatml.smp --quiet
    [ "$(template run)" = "$(made chatml.tok)" ]
    [ "$(template run/checkpoint-1)" = "$(made chatml.tok)" ]
    ask --chat chatml
    want=$(ids)
    ask --adapter run --chat chatml
    [ "$(ids)" = "$want" ] && [[ "$stderr" != *"was trained with"* ]]
    for auto in '--chat auto' '--chat' '--chat=auto'; do
        ask --adapter run $auto
        [ "$(ids)" = "$want" ] &&
            [[ "$stderr" == *"run was trained with the template chatml, which formats the prompt"* ]]
    done
    ask --adapter run --chat --system S
    [[ "$stderr" == *"run was trained with the template chatml, which formats the prompt"* ]]
    # Another template is chosen, then none.
    ask --adapter run --chat llama-3
    [[ "$stderr" == \
        *"--chat llama-3: run was trained with the template chatml, and may answer worse with another one: --chat auto uses that template"* ]]
    [ "$(ids)" != "$want" ]
    ask --adapter run
    [[ "$stderr" == \
        *"run was trained on conversations, by the template chatml: --chat auto formats the prompt with it"* ]]
    # The template was the user's own file, which no longer exists.
    echo '{"turn":"Q: {} A: ","bos":true}' > own.json
    words own.json | tokenize --quiet --from stream --to jsonl | \
        pack --quiet --from jsonl --context 64 --to jsonl | \
        pack --quiet --from samples-jsonl -o own.smp
    ask --chat own.json
    want=$(ids)
    rm own.json
    learn own own.smp --quiet
    ask --adapter own --chat auto
    [ "$(ids)" = "$want" ]
    # Text beside conversations has no effect on the template. Two templates give a message, and the
    # first one is recorded.
    cat text.tok chatml.tok | pack --quiet --context 64 -o beside.smp
    run --separate-stderr -0 learn beside beside.smp
    [[ "$stderr" != *template* ]]
    [ "$(template beside)" = "$(made chatml.tok)" ]
    echo '{"turn":"Q: {} A: ","special":["<|im_end|>"],"end":"<|im_end|>"}' > other.json
    words other.json > other.tok
    cat chatml.tok other.tok | pack --quiet --context 64 -o two.smp
    run --separate-stderr -0 learn two two.smp
    [[ "$stderr" == *"two.smp: conversations of several templates, of which chatml is the first"* ]]
    ask --adapter two --chat auto
    [[ "$stderr" == \
        *"two: trained with several templates, of which chatml is the first: --chat NAME takes another"* ]]
    # An adapter that is trained further gets the template of the new samples. If these have none,
    # it keeps its own.
    words llama-3 > llama.tok
    pack --quiet --context 64 llama.tok -o llama.smp
    run --separate-stderr -0 learn further llama.smp adapter_name_or_path=run
    [[ "$stderr" == \
        *"llama.smp: the conversations have the template llama-3, the adapter was trained with chatml"* ]]
    [ "$(template further)" = "$(made llama.tok)" ]
    learn text 16.smp adapter_name_or_path=run --quiet
    [ "$(template text)" = "$(made chatml.tok)" ]
    # Without any template, the result is as before.
    learn plain 16.smp --quiet
    [ "$(template plain)" = none ]
    run --separate-stderr -3 generate -m base --adapter plain --chat auto -p 'a?' -n 1 -c 200
    [[ "$stderr" == *"--chat auto: the model has no chat_template"* ]]
}
