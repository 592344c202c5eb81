load helper

losses() { perl -MJSON::PP -ne 'printf "%.6f ", decode_json($_)->{loss}' < "$1/trainer_log.jsonl"; }

@test "train: one program trains in four ways, each with S2-Attn and with full attention" {
    make_base
    for attention in s2 full; do
        common="train_file=32.smp max_steps=3 attention=$attention per_device_train_batch_size=2 learning_rate=0.005 logging_steps=1 --quiet"
        train scratch.yaml from_scratch=true model_name_or_path=config.json rope=linear:2 \
            output_dir=a-$attention $common
        train scratch.yaml model_name_or_path=base output_dir=b-$attention $common
        lora c-$attention $common model_name_or_path=base quantization=none
        lora d-$attention $common quantization=nf4
        [ -f a-$attention/model.safetensors ] && [ -f b-$attention/config.json ]
        [ -f c-$attention/adapter_model.safetensors ] && [ -f d-$attention/longqlora.json ]
    done
    [ "$(losses b-s2)" != "$(losses b-full)" ]
    grep -q '"factor": 2' b-s2/config.json
    grep -q '"base_quantization": "nf4"' d-s2/longqlora.json
    cmp tok/tokenizer.model b-s2/tokenizer.model
}

@test "train: the loss falls, the log has every field, and the first lines say what the run does" {
    make_base
    run --separate-stderr -0 lora out train_embedding=true train_norm=true max_steps=8 \
        logging_steps=2 rope=linear:2
    [[ "$stderr" == \
        *"rope: linear 2 (16 → 32), theta 500; attention: s2 group 8, heads 2-3 shifted; base: nf4, "*"B/s; device: cpu, f32"* ]]
    perl -MJSON::PP \
        -e 'my @l = map { decode_json($_) } <STDIN>; die unless @l == 4 && $l[3]{loss} < $l[0]{loss};
        for my $k (qw(step epoch loss grad_norm learning_rate tokens targets tokens_per_second max_rss_bytes elapsed eta)) { die $k unless exists $l[0]{$k} }' \
            < out/trainer_log.jsonl
    grep -q embed_tokens out/adapter_config.json
    grep -q lm_head out/adapter_config.json
    grep -q input_layernorm out/adapter_config.json
}

@test "train: the bits are the same for any number of threads, and for stored or recomputed activations" {
    make_base
    lora a --quiet --threads 1
    lora b --quiet --threads 3
    lora c --quiet gradient_checkpointing=true
    cmp a/adapter_model.safetensors b/adapter_model.safetensors
    cmp a/adapter_model.safetensors c/adapter_model.safetensors
}

@test "train: the bits do not depend on the order of the tensors in an unquantized base's file" {
    make_base
    mkdir other
    cp base/*.json other/
    cp base/tokenizer* other/ 2> /dev/null || true
    # The tensors are in the reverse order of their names, so that no group of them is one matrix.
    perl -MJSON::PP -e 'open my $f, "<:raw", "base/model.safetensors"; local $/;
        read $f, my $n, 8; read $f, my $h, unpack "Q<", $n; my $data = <$f>;
        $h = decode_json($h); my (%new, $out);
        for my $name (reverse sort grep { $_ ne "__metadata__" } keys %$h) {
            my ($from, $to) = @{$h->{$name}{data_offsets}};
            $new{$name} = { %{$h->{$name}}, data_offsets => [length($out // ""), length($out // "") + $to - $from] };
            $out .= substr $data, $from, $to - $from }
        my $header = encode_json(\%new); $header .= " " while length($header) % 8;
        open $f, ">:raw", "other/model.safetensors"; print $f pack("Q<", length $header), $header, $out'
    for base in base other; do
        lora $base-s2 model_name_or_path=$base quantization=none logging_steps=1 --quiet
        train lora.yaml output_dir=$base-full attention=full model_name_or_path=$base \
            quantization=none train_file=32.smp max_steps=6 lora_rank=4 lora_dropout=0.1 --quiet
    done
    for attention in s2 full; do
        cmp base-$attention/adapter_model.safetensors other-$attention/adapter_model.safetensors
    done
}

@test "train: a batch of 16 gives the same losses as 16 accumulated batches of 1" {
    make_base
    lora a --quiet per_device_train_batch_size=16 gradient_accumulation_steps=1 logging_steps=1
    lora b --quiet per_device_train_batch_size=1 gradient_accumulation_steps=16 logging_steps=1
    perl -e 'my @a = split " ", shift; my @b = split " ", shift; die unless @a == @b && @a;
        for (0 .. $#a) { die "$a[$_] $b[$_]" if abs($a[$_] - $b[$_]) > 1e-6 * $a[$_] }' \
            "$(losses a)" "$(losses b)"
}

@test "train: no targets to learn, or a loss that overflows, ends the run with the reason" {
    make_base
    perl -MForeignStream -e '
        my $s = ForeignStream->new(kind => "samples", tokenizer => { digest => "", vocab_size => 400, bos => 1, eos => 2 }, dtype => "u16",
            add_bos => ForeignStream::no(), add_eos => ForeignStream::no(), context => 16, strategy => "split", seed => 0);
        $s->add(tokens => ForeignStream::u16(3 .. 18), documents => ForeignStream::u32(16), targets => ForeignStream::u32(0, 1), source => "chat");
        $s->close' > none.smp
    run --separate-stderr -3 train scratch.yaml model_name_or_path=base train_file=none.smp \
        output_dir=x attention=full max_steps=2
    [[ "$stderr" == *"train: none.smp: its samples have no target tokens" ]]
    cp -rL base huge
    perl \
        -e 'open my $f, "+<", "huge/model.safetensors"; binmode $f; read $f, my $n, 8; $n = unpack "Q<", $n; read $f, my $head, $n;
        $head =~ /"lm_head.weight":\{[^}]*"data_offsets":\[(\d+),(\d+)\]/ or die; seek $f, 8 + $n + $1, 0; print $f pack("f<*", (3e38) x (($2 - $1) / 4))' 
    run --separate-stderr -1 train scratch.yaml model_name_or_path=huge train_file=16.smp \
        output_dir=y attention=full max_steps=2
    [[ "$stderr" == *"step 1: sample "*": the loss is not finite; first: "* ]]
    [ ! -e x ] && [ ! -e y/model.safetensors ]
}

# teaching LENGTHS...: writes samples of so many tokens. A sample of one token teaches nothing.
teaching() {
    perl -MForeignStream -e '
        my $s = ForeignStream->new(kind => "samples", tokenizer => { digest => "", vocab_size => 400, bos => 1, eos => 2 }, dtype => "u16",
            add_bos => ForeignStream::no(), add_eos => ForeignStream::no(), context => 16, strategy => "truncate", seed => 0);
        $s->add(tokens => ForeignStream::u16(3 .. 2 + $_), documents => ForeignStream::u32($_), source => "s") for @ARGV;
        $s->close' "$@"
}

@test "train: a step without a target is found before the first step, in a file or a pipe" {
    make_base
    keys=(from_scratch=true attention=full model_name_or_path=config.json
        gradient_accumulation_steps=1)
    one=(train scratch.yaml "${keys[@]}" per_device_train_batch_size=1 --quiet)
    teaching 9 9 9 9 1 9 9 9 > some.smp
    said="its samples have no target tokens (sample 5): pack --from samples leaves such samples out"
    run --separate-stderr -3 "${one[@]}" train_file=some.smp output_dir=x max_steps=8
    [[ "$stderr" =~ ^train:\ some.smp:\ step\ ([1-8]):\ (.*)$ ]]
    [ "${BASH_REMATCH[2]}" = "$said" ]
    step=${BASH_REMATCH[1]}
    # A run that ends before this step, or begins after the file was mended, is none the worse.
    [ "$step" -gt 1 ]
    "${one[@]}" train_file=some.smp output_dir=short max_steps=$((step - 1))
    run --separate-stderr -3 "${one[@]}" train_file=some.smp output_dir=short max_steps="$step"
    [ "$stderr" = "train: some.smp: step $step: $said" ]
    pack --quiet --from samples some.smp -o good.smp 2> /dev/null
    "${one[@]}" train_file=good.smp output_dir=good max_steps=8
    run --separate-stderr -3 "${one[@]}" train_file=- output_dir=x max_steps=8 < some.smp
    [ "$stderr" = "train: standard input: step $step: $said" ]
    [ ! -e x ]
    # In each pass over the file a sample is in another step.
    teaching 9 9 1 1 9 > two.smp
    run --separate-stderr -3 train scratch.yaml "${keys[@]}" per_device_train_batch_size=2 \
        train_file=two.smp output_dir=x max_steps=400
    [[ "$stderr" =~ two.smp:\ step\ [0-9]+:\ .*\ \(sample\ [34],\ \.\.\.\): ]]
    # If no document sees another, the first token of each is no target.
    pack --quiet --from samples --to jsonl good.smp | \
        sed 's/"documents":\[9\]/"documents":[1,1,1,1,1,1,1,1,1]/; 3s/\[1,1,.*1\]/[9]/' | \
        pack --quiet --from samples-jsonl -o ones.smp
    run --separate-stderr -3 "${one[@]}" train_file=ones.smp output_dir=x max_steps=7 \
        document_mask=true
    [[ "$stderr" == "train: ones.smp: step "*": with document_mask=auto more tokens are targets" ]]
    "${one[@]}" train_file=ones.smp output_dir=ones max_steps=7
    # If each step has a target, samples without one are reported.
    run --separate-stderr -0 train scratch.yaml "${keys[@]}" per_device_train_batch_size=2 \
        train_file=some.smp output_dir=y max_steps=4
    [[ "$stderr" == *"train: some.smp: 1 of 8 samples have no target tokens, and teach nothing; the first is sample 5"* ]]
}

@test "train: the order of the samples depends on the seed" {
    make_base
    lora a --quiet seed=1 logging_steps=1
    lora b --quiet seed=2 logging_steps=1
    lora c --quiet seed=1 logging_steps=1
    [ "$(losses a)" = "$(losses c)" ]
    [ "$(losses a)" != "$(losses b)" ]
}

@test "train: a killed and resumed run ends with the bytes of an uninterrupted one" {
    make_base
    lora whole --quiet max_steps=30 save_steps=4
    for try in 1 2 3 4 5 6; do
        train lora.yaml output_dir=broken model_name_or_path=base.nf4 train_file=32.smp \
            max_steps=30 lora_rank=4 learning_rate=0.01 \
            per_device_train_batch_size=2 logging_steps=1 save_steps=4 resume_from_checkpoint=auto \
            --quiet 3>&- &
        pid=$!
        until_true has_step broken $((4 * try - RANDOM % 4))
        kill -9 $! 2>/dev/null || true
        wait $! 2>/dev/null || true
    done
    run --separate-stderr -0 lora broken max_steps=30 save_steps=4 resume_from_checkpoint=auto
    cmp whole/adapter_model.safetensors broken/adapter_model.safetensors
    [ "$(ls -d broken/checkpoint-* | wc -l)" -le 3 ]
    [ "$(ls -A broken | grep -c '^\.')" = 0 ]
}

@test "train: a damaged checkpoint is skipped with a message, and another recipe is refused" {
    make_base
    lora out --quiet max_steps=12 save_steps=4
    mv out/adapter_model.safetensors first
    rm -r out/checkpoint-12
    head -c 5000 out/checkpoint-8/training_state > cut && mv cut out/checkpoint-8/training_state
    run --separate-stderr -0 lora out max_steps=12 save_steps=4 resume_from_checkpoint=auto
    [[ "$stderr" == *"skipped: out/checkpoint-8/training_state: "* ]]
    [[ "$stderr" == *"resumed from out/checkpoint-4: going on with step 5"* ]]
    cmp first out/adapter_model.safetensors
    run --separate-stderr -3 lora out max_steps=12 save_steps=4 resume_from_checkpoint=auto \
        lora_rank=8
    [[ "$stderr" == *"the recipe changed since"* ]]
    rm out/adapter_model.safetensors
    run --separate-stderr -3 lora out max_steps=12 save_steps=4 resume_from_checkpoint=auto \
        lora_rank=8
    [[ "$stderr" == *"out/checkpoint-12: the recipe changed since"* ]]
    pack --quiet --context 32 --strategy concat docs.tok -o other.smp
    run --separate-stderr -3 lora out max_steps=12 save_steps=4 resume_from_checkpoint=auto \
        train_file=other.smp
    [[ "$stderr" == *"the samples changed since"* ]]
}

# If a test fails, the run that it started is killed.
teardown() { [ -z "${pid:-}" ] || kill -9 $pid 2> /dev/null || true; }

@test "train: the first signal saves and exits with 128+n" {
    make_base
    echo "method: lora" > l.yaml
    start() { # OUT KEY=VALUE...
        local out=$1
        shift
        # Shells make programs in the background ignore SIGINT.
        env --default-signal=INT train l.yaml output_dir="$out" model_name_or_path=base.nf4 \
            train_file=32.smp lora_rank=4 logging_steps=1 "$@" 2> "$out.err" 3>&- &
        pid=$!
    }
    ended() { status=0; wait $pid || status=$?; }
    start sig max_steps=100000
    until_true has_step sig 2
    kill -TERM $pid
    ended
    [ "$status" -eq 143 ]
    [[ "$(cat sig.err)" == \
        *"train: stops and saves; a second SIGINT, SIGQUIT or SIGTERM leaves at once"*"stopped by signal 15 after step "* ]]
    [ -f sig/checkpoint-*/training_state ]
    # The run ends without waiting for a long first step. Signals are handled from the time when the
    # log exists.
    long="max_steps=9 per_device_train_batch_size=1024 gradient_accumulation_steps=1024"
    start sig1 $long
    until_true [ -e sig1/trainer_log.jsonl ]
    kill -TERM $pid
    ended
    [ "$status" -eq 143 ]
    [[ "$(cat sig1.err)" == *"stopped by signal 15 in the first step: there is nothing to save" ]]
    [ ! -e sig1/checkpoint-0 ]
    # A second signal comes before the current layer ends. The process is stopped meanwhile, so both
    # signals wait.
    start sig2 $long
    until_true [ -e sig2/trainer_log.jsonl ]
    kill -STOP $pid
    kill -TERM $pid
    kill -INT $pid
    kill -CONT $pid
    ended
    [ "$status" -eq 130 ] || [ "$status" -eq 143 ]
    [[ "$(cat sig2.err)" != *"stopped by signal"* ]]
    [ ! -e sig2/checkpoint-1 ]
}

@test "train: files, sizes and settings that do not go together are refused before the work" {
    make_base
    run --separate-stderr -2 lora x model_name_or_path=base
    [[ "$stderr" == \
        *"base is not quantized: run quantize base -o base.nf4 and name that, or set quantization: none"* ]]
    run --separate-stderr -2 lora x model_name_or_path=base quantization=nf4
    [[ "$stderr" == *"base is not quantized: run quantize base -o base.nf4 and name that"* ]]
    run --separate-stderr -2 train scratch.yaml model_name_or_path=base.nf4 train_file=16.smp \
        output_dir=x
    [[ "$stderr" == *"needs an unquantized base"* ]]
    run --separate-stderr -2 lora x group=3
    [[ "$stderr" == *"even group"* ]]
    run --separate-stderr -3 lora x max_seq_length=16
    [[ "$stderr" == *"samples of up to 32 tokens, max_seq_length is 16"* ]]
    run --separate-stderr -2 lora x rope=none
    [[ "$stderr" == *"the positions reach 16: set rope=auto"* ]]
    run --separate-stderr -2 train scratch.yaml from_scratch=true model_name_or_path=config.json \
        train_file=32.smp output_dir=x attention=full
    [[ "$stderr" == \
        *"the positions reach 16: set max_position_embeddings in the model's config.json, or pack shorter samples" ]]
    config fewer.json 392
    run --separate-stderr -3 train scratch.yaml from_scratch=true model_name_or_path=fewer.json \
        train_file=16.smp output_dir=x attention=full
    [[ "$stderr" == *"16.smp: sample "*": token "*" is 39"?", but the vocabulary of the model has only 392 tokens: tokenize the text "* ]]
    run --separate-stderr -2 lora x lora_rnk=3
    [ "$stderr" = "train: unknown key 'lora_rnk': did you mean lora_rank?" ]
    run --separate-stderr -2 train
    run --separate-stderr -1 train nothing.yaml
    run --separate-stderr -3 lora x train_file=docs.tok
    [[ "$stderr" == *"a stream of tokens, not a stream of samples, which pack makes" ]]
    run --separate-stderr -1 lora x --device cuda
    [[ "$stderr" == *"device cuda: "* ]]
    [ ! -e x ]
}

@test "train: values that are not finite after a step are neither saved nor evaluated" {
    make_base
    # AdamW without an epsilon divides 0 by 0 if a gradient is 0. The gradient of A is 0 while B is
    # 0.
    for save in no steps; do
        run --separate-stderr -1 lora x max_steps=1 adam_epsilon=0 save_strategy=$save save_steps=1
        [ "${stderr_lines[-1]}" = \
            "train: model.layers.0.self_attn.q_proj.weight (lora_A): row 0, column 0 is -nan: the training has diverged" ]
        [ ! -e x/adapter_model.safetensors ] && [ ! -e x/checkpoint-1 ]
        rm -r x
    done
    run --separate-stderr -1 train scratch.yaml model_name_or_path=base train_file=16.smp \
        output_dir=x attention=full max_steps=1 adam_epsilon=0
    [[ "${stderr_lines[-1]}" == *": row "*", column "*" is -nan: the training has diverged" ]]
    [ ! -e x/model.safetensors ]
    run --separate-stderr -1 lora y max_steps=1 adam_epsilon=0 eval_file=32.smp eval_steps=1
    [[ "${stderr_lines[-1]}" == \
        "train: evaluation after step 1: 32.smp: sample 1: the loss is not finite; first: "* ]]
}

@test "train: a NaN in the base ends the run, and the message names the tensor" {
    make_base
    cp -rL base nan
    perl \
        -e 'open my $f, "+<", "nan/model.safetensors"; binmode $f; read $f, my $n, 8; seek $f, 8 + unpack("Q<", $n), 0; print $f pack("V", 0x7fc00000) x 12800'
    run --separate-stderr -1 train scratch.yaml model_name_or_path=nan train_file=16.smp \
        output_dir=x attention=full max_steps=2
    [[ "$stderr" == \
        *"step 1: sample "*": the loss is not finite; first: embedding: row 0, column 0 is nan"* ]]
    run --separate-stderr -3 quantize nan -o x.nf4
    [[ "$stderr" =~ \
        "quantize: nan: "(lm_head|model.embed_tokens)".weight: element [0, 0] is nan"$ ]]
    [ ! -e x.nf4 ]
}

@test "train: --dry-run prints a plan, and --print-config prints the values in effect" {
    make_base
    run --separate-stderr -0 lora dry --dry-run
    [[ "$output" == *"total "*" bytes"*"longest that fits "*" tokens"* ]]
    [ ! -e dry ]
    run --separate-stderr -0 lora dry --print-config
    [[ "$output" == *"lora_rank: 4"*"attention: s2"* ]]
}

@test "train: if samples have targets, only these tokens count in the loss" {
    make_base
    perl -MForeignStream -e '
        my $s = ForeignStream->new(kind => "samples", tokenizer => { digest => "", vocab_size => 400, bos => 1, eos => 2 }, dtype => "u16",
            add_bos => ForeignStream::no(), add_eos => ForeignStream::no(), context => 16, strategy => "split", seed => 0);
        for my $n (1 .. 8) { $s->add(tokens => ForeignStream::u16(map { 3 + ($n * 31 + $_ * 7) % 397 } 1 .. 16), documents => ForeignStream::u32(16),
            targets => ForeignStream::u32(8, 12), source => "chat") }
        $s->close' > chat.smp
    run --separate-stderr -0 train scratch.yaml model_name_or_path=base train_file=chat.smp \
        output_dir=chat attention=full max_steps=100 learning_rate=0.005 \
        per_device_train_batch_size=8 logging_steps=20
    perl -MJSON::PP \
        -e 'my @l = map { decode_json($_) } <STDIN>; die "$l[0]{targets} $l[0]{tokens}" unless $l[0]{targets} == 20 * 8 * 4 && $l[0]{tokens} == 20 * 8 * 16; die "$l[-1]{loss}" unless $l[-1]{loss} < 0.3' \
        < chat/trainer_log.jsonl
}

@test "train: text in place of samples is refused with the pipeline that makes samples; several processes too" {
    make_base
    run --separate-stderr -2 train scratch.yaml from_scratch=true model_name_or_path=config.json \
        train_file=docs.jsonl output_dir=none
    [[ "$stderr" == \
        "train: docs.jsonl: JSON lines, samples are needed: tokenize --model tokenizer.model docs.jsonl | pack --context "*" > train.smp"* ]]
    run --separate-stderr -2 env WORLD_SIZE=2 train scratch.yaml
    [[ "$stderr" == "train: WORLD_SIZE=2: torchrun and deepspeed do not start ranks here: mpirun -n 2 train …"* ]]
}

# Prints the loss of a model on the samples' targets: the loss of a first step, before anything is
# learned.
loss_on() { # MODEL SAMPLES
    train lora.yaml model_name_or_path="$1" train_file="$2" output_dir=measure quantization=none \
        max_steps=1 learning_rate=0 \
        per_device_train_batch_size=4 lora_rank=2 attention=full rope=none \
        overwrite_output_dir=true logging_steps=1 2>&1 | \
        sed -n 's/.*step 1 of 1, loss \([0-9.]*\).*/\1/p'
    rm -rf measure
}

@test "train: on conversations the answers and their ends are learned, and the prompts are not" {
    make_base
    # The end of an answer is not EOS.
    echo '{"turn": "{}:", "special": ["<s>"], "end": "<s>"}' > own.json
    perl -e 'srand 9; my $w = sub { join "", map { ("a".."z")[rand 26] } 1 .. 5 };
        printf qq({"input":"%s","output":"%s"}\n), $w->(), $w->() for 1 .. 4' > chat.jsonl
    tokenize --quiet --format chat --template own.json -m tok/tokenizer.model chat.jsonl -o chat.tok
    pack --quiet --context 16 chat.tok -o chat.smp
    # all.smp has the same tokens, all of which are targets.
    tokenize --from stream --to jsonl chat.tok | \
        perl -MJSON::PP -ne \
        'my $r = decode_json($_); delete $r->{$_} for "targets", "digest"; print encode_json($r), "\n"' \
        | pack --quiet --from jsonl --context 16 -o all.smp
    echo 'method: lora' > lora.yaml
    train lora.yaml model_name_or_path=base.nf4 train_file=chat.smp output_dir=sft max_steps=600 \
        learning_rate=0.02 lr_scheduler_type=cosine per_device_train_batch_size=4 \
        lora_rank=16 lora_alpha=32 lora_dropout=0 train_embedding=true train_norm=true \
        attention=full rope=none logging_steps=100
    merge --quiet --base base --adapter sft -o chat-model
    answers=$(loss_on chat-model chat.smp) all=$(loss_on chat-model all.smp) before=$(loss_on base \
        chat.smp)
    echo "answers $answers, everything $all, answers before $before"
    awk -v a="$answers" -v e="$all" -v b="$before" 'BEGIN { exit !(a < 0.2 && e > 1 && b > 2) }'
    perl -MJSON::PP -ne 'print encode_json({ prompt => decode_json($_)->{input} }), "\n"' \
        chat.jsonl \
        | generate --quiet -m chat-model --chat own.json --format jsonl -n 13 | \
        perl -MJSON::PP -ne 'my $r = decode_json($_); print "$r->{completion} $r->{stop}\n"' > said
    perl -MJSON::PP -ne 'print decode_json($_)->{output}, " eos\n"' chat.jsonl | diff - said
}

@test "train: --print-config says where each value comes from" {
    make_base
    printf '# comment\nmethod: lora\nlearning_rate: 0.5\n' > own.yaml
    run --separate-stderr -0 train own.yaml output_dir=x model_name_or_path=m train_file=f \
        learning_rate=0.25 --print-config
    [[ "$output" == *"method: lora # own.yaml:2"* ]]
    [[ "$output" == *"learning_rate: 0.25 # command line"* ]]
    [[ "$output" == *"seed: 42 # default"* ]]
    # The output is a recipe.
    echo "$output" > printed.yaml
    [ "$(train printed.yaml --print-config | sed 's/ *#.*//')" = "$(sed 's/ *#.*//' printed.yaml)" ]
    # An empty text counts as if the key were absent.
    train printed.yaml model_name_or_path=base.nf4 train_file=32.smp max_steps=1 \
        resume_from_checkpoint= rope= --quiet
    [ -f x/adapter_model.safetensors ]
    run --separate-stderr -2 train printed.yaml train_file=
    [ "$stderr" = "train: train_file is missing: write KEY=VALUE behind the recipe, or a line KEY: VALUE in it" ]
    lora printed --quiet
    lora further adapter_name_or_path=printed --print-config > further.yaml
    train further.yaml --quiet
    [ -f further/adapter_model.safetensors ]
}

@test "train: the original's recipe is read, and two of its keys are overridden" {
    make_base
    cat > original.yaml <<'Y'
output_dir: output/longqlora
model_name_or_path: nowhere
train_file: ./data/train.jsonl
deepspeed: ./train_args/deepspeed/deepspeed_config_s2.json
sft: false
use_flash_attn: false
max_steps: 4
per_device_train_batch_size: 1
gradient_accumulation_steps: 2
learning_rate: 2.0e-4
max_seq_length: 32
model_max_length: 32
logging_steps: 1
save_steps: 2
save_total_limit: 3
lr_scheduler_type: constant_with_warmup
warmup_steps: 2
lora_rank: 4
lora_alpha: 16
lora_dropout: 0.05
gradient_checkpointing: true
disable_tqdm: false
optim: paged_adamw_32bit
seed: 42
fp16: true
report_to: tensorboard
dataloader_num_workers: 0
save_strategy: steps
weight_decay: 0
max_grad_norm: 0.3
remove_unused_columns: false
Y
    run --separate-stderr -2 train original.yaml model_name_or_path=base.nf4 train_file=docs.jsonl
    [[ "$stderr" == *"docs.jsonl: JSON lines, samples are needed"* ]]
    run --separate-stderr -0 train original.yaml model_name_or_path=base.nf4 train_file=32.smp
    [[ "$stderr" == *"recipe: deepspeed has no meaning here: ignored"* ]]
    [ -f output/longqlora/adapter_model.safetensors ]
    ls output/longqlora/runs/events.out.tfevents.*
}

@test "train: it evaluates on a second file, and writes the log's numbers as TensorBoard events" {
    make_base
    lora out --quiet eval_file=32.smp eval_steps=4 max_steps=6 report_to=tensorboard
    perl -MJSON::PP \
        -e 'my @e = grep { exists $_->{eval_loss} } map { decode_json($_) } <STDIN>; die scalar @e unless @e == 3;
        die unless $e[0]{step} == 0 && $e[1]{step} == 4 && $e[2]{step} == 6;
        die unless $e[2]{eval_loss} < $e[1]{eval_loss} && $e[1]{eval_loss} < $e[0]{eval_loss};
        die unless abs(exp($e[0]{eval_loss}) / $e[0]{eval_perplexity} - 1) < 1e-6' < \
            out/trainer_log.jsonl
    # Checks the checksums of every record, then compares step, tag and value of each scalar with
    # the log.
    perl -MTfEvents -MJSON::PP -e '
        my ($events) = glob "out/runs/events.out.tfevents.*";
        my %seen = map { ("$_->[0] $_->[1]" => $_->[2]) } TfEvents::scalars($events);
        open my $f, "<", "out/trainer_log.jsonl"; my $n = 0;
        for my $l (map { decode_json($_) } <$f>) {
            my %tag = exists $l->{eval_loss} ? ("eval/loss" => "eval_loss", "eval/perplexity" => "eval_perplexity")
                : map { ("train/$_" => $_) } qw(loss grad_norm learning_rate epoch);
            for (keys %tag) { my $got = $seen{"$l->{step} $_"}; die "$l->{step} $_" unless defined $got && abs($got - $l->{$tag{$_}}) <= 1e-6 * abs $got; $n++ }
        }
        die $n unless $n == 3 * 4 + 3 * 2'
    run --separate-stderr -3 lora bad eval_file=docs.tok
    [[ "$stderr" == *"docs.tok: a stream of tokens, not a stream of samples, which pack makes" ]]
    run --separate-stderr -2 lora bad eval_file=docs.jsonl
    [[ "$stderr" == *"docs.jsonl: JSON lines, samples are needed"* ]]
}

@test "train: several evaluation files are measured separately, also before the first update, and change no bit" {
    make_base
    ln -s 32.smp "a,b.smp"
    lora plain --quiet max_steps=2
    lora out --quiet eval_file="[few.smp, 16.smp]" max_steps=2 eval_steps=1 report_to=tensorboard \
        metric_for_best_model=loss
    for run in 'few few.smp' '16 16.smp' 'comma a,b.smp'; do
        lora "${run% *}" --quiet eval_file="${run#* }" max_steps=2 eval_steps=1
        cmp "${run% *}/adapter_model.safetensors" plain/adapter_model.safetensors
    done
    cmp out/adapter_model.safetensors plain/adapter_model.safetensors
    perl -MTfEvents -MJSON::PP -e '
        sub of { open my $in, "<", "$_[0]/trainer_log.jsonl" or die; grep { exists $_->{eval_loss} } map { decode_json($_) } <$in> }
        my @out = of("out"); my @few = of("few"); my @all = of("16");
        die if "@{[map { $_->{step} } @out]}" ne "0 1 2" || "@{[map { $_->{step} } of(\"comma\")]}" ne "0 1 2";
        my ($events) = glob "out/runs/events.out.tfevents.*";
        my %seen = map { ("$_->[0] $_->[1]" => $_->[2]) } TfEvents::scalars($events);
        for my $i (0 .. 2) {
            die if $out[$i]{eval_loss} != $few[$i]{eval_loss} || $out[$i]{eval_16_loss} != $all[$i]{eval_loss};
            die if $out[$i]{eval_16_targets} != $all[$i]{eval_targets};
            die if abs($out[$i]{eval_16_perplexity} / $all[$i]{eval_perplexity} - 1) > 1e-8;
            die if abs($seen{"$i eval/16/loss"} / $all[$i]{eval_loss} - 1) > 1e-6;
            die if abs($seen{"$i eval/loss"} / $few[$i]{eval_loss} - 1) > 1e-6;
        }
        # The model before the first update is not the best of the run.
        die if exists $out[0]{best_step} || $out[2]{best_step} < 1'
    lora worse --quiet eval_file=few.smp eval_steps=1 max_steps=1 learning_rate=1 \
        metric_for_best_model=loss
    grep -q '"best_step":1,' worse/trainer_log.jsonl
    perl -MJSON::PP -e 'my @e = map { decode_json($_)->{eval_loss} // () } <STDIN>; die "@e" unless $e[1] > $e[0]' \
        < worse/trainer_log.jsonl
    # The first evaluation can be left out or delayed. A resumed run does not repeat it.
    lora none --quiet eval_file=few.smp max_steps=1 eval_on_start=false
    lora late --quiet eval_file=few.smp max_steps=1 eval_delay=1
    lora more --quiet eval_file=few.smp max_steps=1
    lora more --quiet eval_file=few.smp max_steps=2
    steps() { perl -MJSON::PP -ne 'my $l = decode_json($_); print "$l->{step} " if exists $l->{eval_loss}' \
        "$1/trainer_log.jsonl"; }
    [ "$(steps none)$(steps late)$(steps more)" = '1 1 0 1 2 ' ]
    # Each file of the list is checked, and an invalid list is refused.
    run --separate-stderr -3 lora bad eval_file=few.smp,docs.tok
    [[ "$stderr" == *"docs.tok: a stream of tokens, not a stream of samples, which pack makes" ]]
    run --separate-stderr -2 lora bad eval_file=few.smp,few.smp
    [[ "$stderr" == *"eval_file: few.smp occurs twice"* ]]
    run --separate-stderr -2 lora bad eval_file=few.smp,./few.smp
    [[ "$stderr" == *"eval_file: few.smp occurs twice, also as ./few.smp"* ]]
    # The paths of a list may be long.
    folder=$(printf 'd%.0s' {1..200})/$(printf 'e%.0s' {1..200})
    mkdir -p "$folder"
    { echo 'method: lora' && echo 'eval_file:'; } > long.yaml
    for name in one two three; do
        cp few.smp "$folder/$name.smp"
        echo "- $folder/$name.smp" >> long.yaml
    done
    train long.yaml model_name_or_path=base.nf4 train_file=32.smp output_dir=long max_steps=1 \
        lora_rank=4 eval_steps=1 --quiet
    grep -q '"eval_three_loss"' long/trainer_log.jsonl
    run --separate-stderr -2 lora bad eval_file=few.smp,
    [[ "$stderr" == *"eval_file: the list has an empty path"* ]]
    run --separate-stderr -0 lora idle eval_on_start=true max_steps=1
    [[ "$stderr" == *"eval_on_start does nothing: it needs eval_file, and no eval_delay"* ]]
}

@test "train: a message before the first step says which measurements of real models speak against the recipe" {
    make_base
    says() { # PATTERN...: the messages of a plan must have it or, with ! before it, must not
        run --separate-stderr -0 lora out --dry-run --device cpu "${settings[@]}"
        for pattern in "$@"; do
            if [ "${pattern:0:1}" = '!' ]; then
                [[ "$stderr" != *"${pattern:1}"* ]] || { echo "$stderr"; return 1; }
            else
                [[ "$stderr" == *"$pattern"* ]] || { echo "$stderr"; return 1; }
            fi
        done
    }
    linear='rope linear:2 with' s2='attention: s2 saves time, not memory' chat='the base has a chat_template'
    settings=(rope=linear:2)
    says "$linear 0.00038 million tokens, where linear:2 needs 66 million: " "$s2" "!$chat" \
        'rope=yarn:2 keeps more (ppl --rope linear:2,yarn:2 compares the losses, needle what is found)'
    settings=(rope=yarn:2 attention=full)
    says "!$linear" "!$s2"
    settings=(attention=full max_steps=2000000 rope=linear:2)
    says "!$linear" "!rope auto"
    cp -rL base chatty
    perl -pi -e 's/"rope_theta": *[0-9.]+/"rope_theta": 100000.0/' chatty/config.json
    grep -q 100000.0 chatty/config.json
    echo '{"chat_template":"{{ messages }}"}' > chatty/tokenizer_config.json
    settings=(attention=full max_steps=2000000 model_name_or_path=chatty quantization=none
        rope=linear:2)
    says "$linear a base with theta 100000: " "32.smp: plain text, and $chat"
    echo '{"input":"what is it?","output":"no"}' > chat.jsonl
    tokenize --quiet -m tok/tokenizer.model --format chat --template longqlora chat.jsonl | \
        pack --quiet --context 600 -o chat.smp
    settings=(attention=full model_name_or_path=chatty quantization=none train_file=chat.smp)
    says "!$chat"
    # The run also prints this line, once. With --quiet it does not.
    run --separate-stderr -0 lora out max_steps=1
    [ "$(grep -c "$s2" <<< "$stderr")" = 1 ]
    run --separate-stderr -0 lora quiet max_steps=1 --quiet
    [ -z "$stderr" ]
}

@test "train: a loss scale changes no bit; if gradients overflow, it is halved and the step is repeated" {
    make_base
    lora plain --quiet lora_dropout=0.1 max_grad_norm=0.1
    lora scaled --quiet lora_dropout=0.1 max_grad_norm=0.1 loss_scale=1048576
    cmp plain/adapter_model.safetensors scaled/adapter_model.safetensors
    # The gradients times 2^132 overflow even f32.
    run --separate-stderr -0 lora over lora_dropout=0.1 max_grad_norm=0 \
        loss_scale=5444517870735015415413993718908291383296
    [[ "$stderr" == *"step 1: gradients overflowed: loss scale "* ]]
    lora plain0 --quiet lora_dropout=0.1 max_grad_norm=0
    cmp plain0/adapter_model.safetensors over/adapter_model.safetensors
    run --separate-stderr -2 lora x loss_scale=3
    [[ "$stderr" == *"loss_scale must be a power of two"* ]]
    # A checkpoint contains the loss scale.
    lora broken --quiet max_steps=4 save_steps=2 loss_scale=5444517870735015415413993718908291383296
    lora whole --quiet max_steps=4 loss_scale=5444517870735015415413993718908291383296
    run --separate-stderr -0 lora broken max_steps=4 save_steps=2 \
        loss_scale=5444517870735015415413993718908291383296 resume_from_checkpoint=auto
    [[ "$stderr" != *"overflowed"* ]]
    cmp whole/adapter_model.safetensors broken/adapter_model.safetensors
}

@test "train: bf16 on a CPU changes the loss only within rounding, with the same bits for any threads" {
    whole_isa
    make_base
    common="lora_dropout=0 max_steps=12 logging_steps=1 --quiet --device cpu"
    if ! grep -q avx512_bf16 /proc/cpuinfo; then
        run --separate-stderr -0 lora x bf16=true max_steps=1
        [[ "$stderr" == *"bf16: true: device cpu-bf16: this CPU has no bf16 products"* ]]
        skip "this CPU has no bf16 products"
    fi
    lora f32 $common
    lora one $common bf16=true --threads 1
    lora two $common bf16=true --threads 3
    cmp one/adapter_model.safetensors two/adapter_model.safetensors
    run ! cmp -s f32/adapter_model.safetensors one/adapter_model.safetensors
    perl -e 'my @a = split " ", shift; my @b = split " ", shift; die unless @a == 12 && @b == 12;
        for (0 .. 11) { die "$a[$_] $b[$_]" if abs($a[$_] - $b[$_]) > 2 ** -9 * $a[$_] }' \
            "$(losses f32)" "$(losses one)"
    run --separate-stderr -0 lora named bf16=true max_steps=1 --device cpu
    [[ "$stderr" == *"device: cpu, f32, products in bf16"* ]]
}

@test "train: fp16 uses the f16 plug-in with a loss scale; bf16 is refused on a device without it" {
    plugin=$BUILD/emulation/f16/kernels-cuda.so
    [ -e "$plugin" ] || skip "no emulation here"
    make_base
    lora cpu --quiet max_steps=3 logging_steps=1
    LONGQLORA_CUDA=$plugin run --separate-stderr -0 lora f16 --device cuda fp16=true max_steps=3 \
        logging_steps=1
    [[ "$stderr" == *"device: cuda, f16"* ]]
    perl -MJSON::PP \
        -e 'my @l = map { my $f = $_; open my $in, "<", "$f/trainer_log.jsonl" or die; [ map { decode_json($_) } <$in> ] } "cpu", "f16";
        die "no scale" unless $l[1][0]{loss_scale} > 1;
        for my $i (0 .. 2) { my ($a, $b) = ($l[0][$i]{loss}, $l[1][$i]{loss}); die "$a $b" if abs($a - $b) > 2e-3 * $a }'
    LONGQLORA_CUDA=$plugin run --separate-stderr -2 lora x --device cuda bf16=true
    [[ "$stderr" == *"bf16: true, but device cuda computes in f16: write fp16: true"* ]]
    [ ! -e x ]
}

@test "train: an adapter that is trained further keeps its values, rank, targets and position scaling" {
    make_base
    echo 'method: lora' > bare.yaml
    lora first --quiet lora_alpha=12 target_modules=q_proj,down_proj train_norm=true \
        attention=full eval_file=32.smp rope=linear:2
    further() { # OUT KEY=VALUE...
        local out=$1
        shift
        train bare.yaml adapter_name_or_path=first output_dir="$out" model_name_or_path=base.nf4 \
            attention=full lora_dropout=0 max_steps=1 logging_steps=1 "$@"
    }
    # All samples are one batch, and the rate is too small to change anything. So the loss is the
    # last one of `first`, and the adapter's values are the same.
    samples=$(perl -MForeignStream -e 'print @{[ForeignStream::read_all("32.smp")]} - 2')
    run --separate-stderr -0 further same train_file=32.smp learning_rate=1e-30 \
        per_device_train_batch_size="$samples"
    [[ "$stderr" == *"rope: linear 2 (16 → 32), "*"; adapter: first; device: "* ]]
    perl -MJSON::PP \
        -e 'my ($first, $same) = map { open my $f, "<", "$_/trainer_log.jsonl"; [map { decode_json($_) } <$f>] } @ARGV;
        my $end = (grep { defined } map { $_->{eval_loss} } @$first)[-1]; print "$end $same->[0]{loss}\n"; die unless abs($end - $same->[0]{loss}) < 1e-6 * $end' \
            first same
    cmp first/adapter_model.safetensors same/adapter_model.safetensors
    diff <(grep -v dropout first/adapter_config.json) <(grep -v dropout same/adapter_config.json)
    perl -MJSON::PP \
        -e 'local $/; my $r = decode_json(<STDIN>)->{recipe}; print "@$r{qw(lora_rank lora_alpha target_modules train_norm adapter)}\n";
        die unless "@$r{qw(lora_rank lora_alpha target_modules train_norm)}" eq "4 12 q_proj,down_proj 1" && length $r->{adapter} == 32' \
            < same/longqlora.json
    # With short samples the adapter keeps its position scaling.
    further short train_file=16.smp --quiet
    grep -q '"factor": 2' short/longqlora.json
    [[ "$(further x train_file=16.smp --print-config)" == \
        *"lora_rank: 4 # the adapter"*"lora_alpha: 12 # the adapter"* ]]
    # Without a dropout of the recipe, the adapter's counts, and not the default of new adapters.
    perl -pi -e 's/("lora_dropout": )[0-9.]+/${1}0.25/' first/adapter_config.json
    train bare.yaml adapter_name_or_path=first output_dir=own model_name_or_path=base.nf4 \
        attention=full max_steps=1 train_file=16.smp --quiet
    grep -q '"lora_dropout": 0.25' own/adapter_config.json
    run --separate-stderr -0 further other train_file=16.smp lora_dropout=0.1
    [[ "$stderr" == \
        *"recipe: lora_dropout: 0.1, but the adapter has 0.25, which PEFT would take"* ]]
    perl -pi -e 's/("lora_dropout": )[0-9.]+/${1}0/' first/adapter_config.json
    # A resumed run ends with the bytes of the unbroken one. It must name the same adapter: without
    # one, or with another, it is refused.
    further whole train_file=32.smp max_steps=4 save_steps=2 --quiet
    cp -r whole cut
    rm -r cut/longqlora.json cut/adapter_model.safetensors cut/checkpoint-4
    further cut train_file=32.smp max_steps=4 save_steps=2 resume_from_checkpoint=auto --quiet
    cmp whole/adapter_model.safetensors cut/adapter_model.safetensors
    rm cut/adapter_model.safetensors
    run --separate-stderr -3 further cut train_file=32.smp max_steps=4 save_steps=2 \
        resume_from_checkpoint=auto adapter_name_or_path=short
    [[ "$stderr" == *"cut/checkpoint-4: the recipe changed since the run began: adapter was \""*"\", is \""* ]]
    run --separate-stderr -3 train bare.yaml output_dir=cut model_name_or_path=base.nf4 \
        attention=full lora_dropout=0 max_steps=4 train_file=32.smp resume_from_checkpoint=auto \
        lora_rank=4 lora_alpha=12 target_modules=q_proj,down_proj train_norm=true
    [[ "$stderr" == \
        *"cut/checkpoint-4: the recipe changed since the run began: adapter is not there any more; go on with that recipe, or "* ]]
}

@test "train: an adapter with a negative alpha is trained further, and its run is resumed and verified" {
    make_base
    lora first --quiet max_steps=1
    perl -pi -e 's/"lora_alpha": 16/"lora_alpha": -16/ and $n++; END { die unless $n }' \
        first/adapter_config.json
    for steps in 1 2; do
        lora on --quiet adapter_name_or_path=first max_steps=$steps save_steps=1 \
            resume_from_checkpoint=auto
    done
    grep -q '"lora_alpha": -16' on/adapter_config.json
    train --verify on --quiet
    lora x adapter_name_or_path=first --print-config > on.yaml
    train on.yaml --quiet max_steps=1 > /dev/null
    run --separate-stderr -2 lora y lora_alpha=-3
    [[ "$stderr" == *"lora_alpha: -3 is negative: choose a number above 0" ]]
}

@test "train: an adapter that cannot be trained further is refused by name" {
    make_base
    lora first --quiet
    refused() { # STATUS TEXT KEY=VALUE...
        local status=$1 text=$2
        shift 2
        run --separate-stderr "-$status" lora x adapter_name_or_path=first "$@"
        [[ "$stderr" == *"$text"* ]] || { echo "$stderr"; return 1; }
        [ ! -e x ]
    }
    refused 2 'lora_rank: 8, but the adapter has 4' lora_rank=8
    refused 2 'lora_alpha: 3, but the adapter has 16' lora_alpha=3
    refused 2 \
        'target_modules: q_proj, but the adapter has q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj' \
        target_modules=q_proj
    refused 2 'train_norm: true, but the adapter has none' train_norm=true
    # PEFT trains only A of a MiCA adapter.
    cp -r first mica
    perl -pi -e 's/"init_lora_weights": true/"init_lora_weights": "mica"/ and $n++; END { die unless $n }' \
        mica/adapter_config.json
    refused 2 'mica: MiCA (init_lora_weights: mica), of which PEFT trains only the matrices A, is not supported in training: merge it' \
        adapter_name_or_path=mica
    merge --quiet --base base.nf4 --adapter mica --tokenizer tok -o mica.one
    # Nor are these trained as plain LoRA is.
    local way
    for way in velora_config monteclora_config; do
        cp -r first $way
        perl -pi -e "s/^\{/{ \"$way\": {\"num_groups\": 4},/ and \$n++; END { die unless \$n }" \
            $way/adapter_config.json
        refused 2 "$way: $way, with which PEFT trains in another way, is not supported in training" \
            adapter_name_or_path=$way
    done
    refused 2 'adapter_name_or_path needs method: lora' method=full
    refused 1 'nowhere: No such file or directory' adapter_name_or_path=nowhere
    cp -rL base other
    printf '\x3c' | dd of=other/model.safetensors bs=1 seek=$(($(stat -c %s \
        other/model.safetensors) - 1)) conv=notrunc status=none
    refused 3 'first: trained on the base base.nf4 (digest ' model_name_or_path=other \
        quantization=none
    refused 3 "embed_tokens.weight is F32 [48, 32], but this base and the adapter's config need [400, 32]" \
        adapter_name_or_path="$golden/peft/adapter"
}

@test "train: rope auto chooses yarn, or linear if theta and tokens are the report's; a resumed run keeps its choice" {
    make_base
    chooses() { # TEXT KEY=VALUE...
        run --separate-stderr -0 lora out --dry-run --device cpu "${@:2}"
        [[ "$stderr" == *"train: rope auto: $1"* ]] || { echo "$stderr"; return 1; }
    }
    chooses "yarn:2 (0.00038 million tokens, where linear:2 needs 66 million); needle measures what the model then finds in a text"
    # A step has 64 tokens. As many tokens as the report's runs had are enough for a factor of four.
    chooses "linear:2 (141 million tokens, where linear:2 needs 66 million)" max_steps=2200000
    chooses "yarn:8 (141 million tokens, where linear:8 needs 262 million)" max_steps=2200000 \
        original_context=4
    cp -rL base large
    perl -pi -e 's/"rope_theta": *[0-9.]+/"rope_theta": 100000.0/' large/config.json
    chooses "yarn:2 (a base with theta 100000)" model_name_or_path=large quantization=none \
        max_steps=2200000
    # Nothing is chosen if the positions reach far enough, or if the recipe chooses. A kind alone
    # has the factor that the samples need, and a kind with a factor has that factor.
    while read -r samples rope described; do
        rm -rf kind
        run --separate-stderr -0 lora kind max_steps=1 train_file="$samples" rope="$rope"
        [[ "$stderr" != *"rope auto"* && "$stderr" == *"train: rope: $described"* ]] ||
            { echo "$samples $rope: $stderr"; false; }
    done << 'END'
16.smp auto none (16)
16.smp linear none (16)
16.smp yarn none (16)
16.smp linear:2 linear 2 (16 → 32)
32.smp linear linear 2 (16 → 32)
32.smp yarn yarn 2 (16 → 32)
32.smp ntk ntk 2 (16 → 32)
32.smp dynamic:4 dynamic 4 (16 → 64)
END
    run --separate-stderr -2 lora out --dry-run --device cpu rope=longrope
    [[ "$stderr" == \
        *"rope: 'longrope' is none of these: none, linear:F, "*"; or auto, or a name without its factor" ]]
    # An adapter that is trained further at a longer context keeps the kind of its scaling.
    pack --quiet --context 64 --strategy split docs.tok -o 64.smp
    for kind in linear yarn ntk; do
        lora $kind --quiet max_steps=1 rope=$kind
        echo 'method: lora' > bare.yaml
        run --separate-stderr -0 train bare.yaml adapter_name_or_path=$kind output_dir=$kind-64 \
            model_name_or_path=base.nf4 train_file=64.smp max_steps=1
        [[ "$stderr" == *"rope auto: $kind:4 (as the "*"positions were scaled before)"* ]]
        [[ "$stderr" == *"rope: $kind 4 (16 → 64)"* ]]
    done
    # A run that is lengthened keeps the scaling with which it began.
    lora out --quiet max_steps=2 save_steps=1
    grep -q '"yarn 2 (16' out/longqlora-run.json
    run --separate-stderr -0 lora out max_steps=3 learning_rate=0.01
    [[ "$stderr" == *"rope auto: yarn:2 (with which the run began)"* ]]
    # Earlier versions chose linear. Their runs are resumed with it, also if their record says auto.
    lora old --quiet max_steps=2 rope=linear:2
    perl -pi -e 's/"rope": ?"linear:2"/"rope": "auto"/' old/longqlora-run.json
    run --separate-stderr -0 lora old max_steps=3
    [[ "$stderr" == *"rope auto: linear:2 (with which the run began)"* ]]
    lora new --quiet max_steps=3 rope=linear:2
    cmp old/adapter_model.safetensors new/adapter_model.safetensors
}
