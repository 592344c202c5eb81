load helper

nll() { perl -MJSON::PP \
    -e 'local $/; print join " ", map { sprintf "%.7f", $_->{nll} } @{ decode_json(<STDIN>)->{scores} }'; }
same_loss() { perl \
    -e 'my @a = split " ", shift; my @b = split " ", shift; die unless @a && @a == @b; for (0..$#a) { die "@a / @b" if abs($a[$_] - $b[$_]) > 1e-5 }' \
    "$1" "$2"; }

@test "pipeline: tokenize | pack | train - trains on a pipe, and keeps the samples so that it can be resumed" {
    make_base
    bash -o pipefail \
        -c 'tokenize --quiet -m tok/tokenizer.model docs.jsonl | pack --quiet --context 32 --strategy split |
        train lora.yaml method=lora train_file=- model_name_or_path=base.nf4 output_dir=piped max_steps=4 save_steps=2 lora_rank=4 --quiet' \
            2> err || {
        echo 'method: lora' > lora.yaml
        bash -o pipefail \
            -c 'tokenize --quiet -m tok/tokenizer.model docs.jsonl | pack --quiet --context 32 --strategy split |
            train lora.yaml train_file=- model_name_or_path=base.nf4 output_dir=piped max_steps=4 save_steps=2 lora_rank=4 --quiet'
    }
    [ -f piped/longqlora.json ]
    [ -f piped/train.samples ]
    echo 'method: lora' > lora.yaml
    train lora.yaml train_file=32.smp model_name_or_path=base.nf4 output_dir=filed max_steps=4 \
        lora_rank=4 --quiet
    cmp piped/adapter_model.safetensors filed/adapter_model.safetensors
    # The input is cut in the middle. It is refused, and no run begins.
    run --separate-stderr -3 bash -o pipefail \
        -c 'head -c 200 32.smp | train lora.yaml train_file=- model_name_or_path=base.nf4 output_dir=half max_steps=4 lora_rank=4'
}

@test "pipeline: quantize DIR | ppl --model - --data <(tokenize ...) equals the result with files" {
    make_base
    bash -o pipefail \
        -c 'quantize --quiet base | ppl --model - --data <(tokenize --quiet -m tok/tokenizer.model docs.jsonl) --context 8,16 --to json --quiet' \
        > a.json
    ppl --quiet --model base.nf4 --data docs.tok --context 8,16 --to json > b.json
    [ "$(nll < a.json)" = "$(nll < b.json)" ]
    [ "$(nll < a.json | wc -w)" -eq 2 ]
}

@test "merge: the merged model's loss equals that of the base with the adapter" {
    make_base
    lora ad --quiet model_name_or_path=base quantization=none train_embedding=true train_norm=true \
        rope=linear:2
    run --separate-stderr -0 merge --base base --adapter ad -o merged
    [[ "$stderr" == *"14 linear layers merged, 7 tensors replaced, |change| / |weight| = "* ]]
    a=$(ppl --quiet --model base --adapter ad --data docs.tok --context 16,32 --to json | nll)
    b=$(ppl --quiet --model merged --data docs.tok --context 16,32 --to json | nll)
    same_loss "$a" "$b"
    converts merged
    grep -q '"type": "linear"' merged/config.json
    grep -q '"factor": 2' merged/config.json
    grep -q '"max_position_embeddings": 16' merged/config.json
    cmp merged/tokenizer.model tok/tokenizer.model
    # An adapter that was trained on NF4 fits the NF4 base, and the unquantized base from which that
    # was made.
    lora q --quiet
    merge --quiet --base base --adapter q -o merged-q
    run --separate-stderr -0 merge --base base.nf4 --adapter q -o merged-nf4
    [[ "$stderr" == \
        *"merged-nf4: no tokenizer in it: other programs will want one (--tokenizer DIR)"* ]]
    merge --quiet --base base.nf4 --adapter q --tokenizer tok -o merged-nf4
    converts merged-nf4
    converts merged-q
    a=$(ppl --quiet --model base.nf4 --adapter q --data docs.tok --context 16,32 --to json | nll)
    b=$(ppl --quiet --model merged-nf4 --data docs.tok --context 16,32 --to json | nll)
    same_loss "$a" "$b"
}

@test "merge: 16 bits and shards work, and an adapter of zeros changes nothing" {
    make_base
    lora zero --quiet max_steps=1 lr_scheduler_type=constant_with_warmup warmup_steps=5 \
        model_name_or_path=base quantization=none
    run --separate-stderr -0 merge --base base --adapter zero -o same
    [[ "$stderr" == *"every change is zero, the result is the base: an untrained adapter, or a weight of 0?"* ]]
    perl \
        -e 'for (@ARGV) { open my $f, "<", $_; binmode $f; read $f, my $n, 8; seek $f, 8 + unpack("Q<", $n), 0; local $/; print length(my $d = <$f>), " "; require Digest::MD5; print Digest::MD5::md5_hex($d), "\n" }' \
        base/model.safetensors same/model.safetensors > sums
    [ "$(sort -u sums | wc -l)" -eq 1 ]
    merge --quiet --base base --adapter zero --dtype bf16 --max-shard-size 1 -o half
    converts same half
    ppl --quiet --model half --data docs.tok --context 16 --to json > /dev/null
    grep -q bfloat16 half/config.json
}

@test "merge, ppl: an adapter is refused with another base than it was trained on" {
    make_base
    lora ad --quiet rope=linear:2
    train scratch.yaml from_scratch=true attention=full model_name_or_path=config.json \
        tokenizer=tok train_file=16.smp output_dir=otherbase max_steps=1 seed=9 --quiet
    run --separate-stderr -3 merge --base otherbase --adapter ad -o x
    [[ "$stderr" =~ \
        "merge: ad: trained on the base base.nf4 (digest "[0-9a-f]{32}"), not on otherbase (digest "[0-9a-f]{32}"): take that base, or --resize-vocab DIR if that is this base with added tokens, or --force-base"$ ]]
    [ ! -e x ]
    run --separate-stderr -3 ppl --model otherbase --adapter ad --data docs.tok --context 16
    [[ "$stderr" == \
        "ppl: ad: trained on the base base.nf4 (digest "*"), not on otherbase (digest "*"): take that base, or --force-base" ]]
    # train has no such option, and its message does not name one.
    run --separate-stderr -3 lora on model_name_or_path=otherbase quantization=none \
        adapter_name_or_path=ad
    [[ "$stderr" == \
        "train: ad: trained on the base base.nf4 (digest "*"), not on otherbase (digest "*"): take that base" ]]
    run --separate-stderr -0 ppl --model otherbase --adapter ad --data docs.tok --context 16 \
        --force-base --to table
    run --separate-stderr -2 ppl --model base.nf4 --adapter ad --rope linear:4 --data docs.tok \
        --context 16
    [[ "$stderr" == \
        *"--rope linear:4: leave it out, because the adapter brings its own position scaling, linear:2"* ]]
    # The adapter brings its position scaling. An adapter of another program needs an option.
    run --separate-stderr -2 merge --base base --adapter ad --rope linear:4 -o x
    [[ "$stderr" == \
        *"--rope linear:4: leave it out, because the adapter brings its own position scaling, linear:2"* ]]
    merge --quiet --base base --adapter ad -o by-adapter
    lora none --quiet rope=none train_file=16.smp
    for tool in "ppl --data docs.tok --context 16" "generate --tokenizer tok -p a"; do
        run --separate-stderr -2 $tool -m base.nf4 --adapter none --rope linear:2
        [[ "$stderr" == *"--rope linear:2: leave it out, because the adapter was trained without position scaling (none)"* ]]
    done
    rm ad/longqlora.json
    run --separate-stderr -0 merge --base base --adapter ad -o without
    [[ "$stderr" == \
        *"ad: no longqlora.json: its base and position scaling are unknown (--rope sets the scaling)"* ]]
    run --separate-stderr -0 merge --base base --adapter ad --rope linear:2 -o by-option
    [[ "$stderr" != *longqlora.json* ]]
    cmp by-adapter/config.json by-option/config.json
    [ -z "$(grep factor without/config.json)" ]
    rm -f ad/adapter_model.safetensors
    run --separate-stderr -1 merge --base base --adapter ad -o x
    run --separate-stderr -2 merge --base base
    run --separate-stderr -1 merge --base nowhere --adapter nowhere -o x
}

@test "ppl: windows and predictions are as many as defined, with the same bits for any threads, in each format" {
    make_base
    ppl --quiet --model base --data docs.tok --context 8,16 --to json --threads 1 > a.json
    ppl --quiet --model base --data docs.tok --context 8,16 --to json --threads 3 > b.json
    cmp a.json b.json
    # The windows begin at Python's range(0, N - L, L), without its last number. All L - 1
    # predictions of a window count.
    n=$(perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("docs.tok"); my $n; $n += length($_->{tokens}) / 2 for @o[1..$#o-1]; print $n')
    run perl -MJSON::PP \
        -e 'my $n = shift; local $/; for my $s (@{ decode_json(<STDIN>)->{scores} }) { my $L = $s->{context};
        my $w = int(($n - $L + $L - 1) / $L) - 1; die "$s->{windows} $w" unless $s->{windows} == $w && $s->{scored} == $w * ($L - 1);
        die unless abs(exp($s->{nll}) - $s->{perplexity}) < 1e-6 * $s->{perplexity} }' "$n" < a.json
    [ "$status" -eq 0 ]
    run --separate-stderr -0 ppl --model base --data docs.tok --context 16 --to table
    [[ "${lines[0]}" == *context*windows*scored*loss*perplexity*stderr*bits/byte ]]
    ppl --quiet --model base --data docs.tok --context 16 -o s.scores
    run perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("s.scores"); print "$o[0]{kind} $o[0]{protocol} $o[1]{context}"'
    [ "$output" = "scores longqlora 16" ]
    for p in longlora sliding huggingface; do
        run --separate-stderr -0 ppl --model base --data docs.tok --context 16 --stride 4 \
            --protocol $p --to json
    done
    odd=$(ppl --quiet --model base --data docs.tok --source odd --context 16 --to json | nll)
    [ "$odd" != "$(nll < a.json | cut -d' ' -f2)" ]
}

@test "ppl: position scaling, and contexts longer than it allows, are reported" {
    make_base
    run --separate-stderr -0 ppl --model base --rope linear:2 --data docs.tok --context 64 --to \
        table
    [[ "$stderr" == \
        *"rope: linear 2 (16 → 32), theta 500; attention: full; base: unquantized, "*"B/s; device: cpu, f32"* ]]
    [[ "$stderr" == *"context 64 is beyond the 32 that the model's positions allow"* ]]
    run --separate-stderr -3 ppl --model base --data docs.tok --context 16,100000 --to table
    [[ "$stderr" == \
        "ppl: docs.tok: "*" tokens, too few for --context 100000 by --protocol longqlora, which needs 200001: measure at --context 16" ]]
    run --separate-stderr -2 ppl --model base --data docs.tok --context 1
    run --separate-stderr -2 ppl --model base --data docs.tok --context 16,x
    run --separate-stderr -2 ppl --model base --data docs.tok --rope longrope:2 --context 16
    run --separate-stderr -2 ppl --data docs.tok
    run --separate-stderr -2 ppl --model -
}

@test "quantize: the stream has the whole model; damaged and wrong inputs are refused" {
    make_base
    run --separate-stderr -0 quantize base -o q.nf4
    cmp q.nf4 base.nf4
    [[ "$stderr" == *"all linear layers: relative error 0.0"* ]]
    run perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("q.nf4"); my %d; $d{$_->{dtype}}++ for @o[1..$#o-1]; print "$o[0]{quantization} $d{nf4} $d{f32}"'
    [ "$output" = "nf4 14 7" ]
    head -c 20000 q.nf4 > cut.nf4
    run --separate-stderr -3 ppl --model cut.nf4 --data docs.tok --context 16
    run --separate-stderr -1 quantize nowhere -o x
    run --separate-stderr -2 quantize
    head -c 20000 "$(readlink -f base)/model.safetensors" > cut.safetensors
    mkdir cutdir && cp base/config.json cutdir && mv cut.safetensors cutdir/model.safetensors
    run --separate-stderr -3 quantize cutdir -o x
    [[ "$stderr" == *"cutdir/model.safetensors: "*"(truncated? fetch it again)" ]]
    [ ! -e x ]
}

@test "pipeline: S2-Attn in groups that are longer than the samples equals full attention" {
    make_base
    train scratch.yaml from_scratch=true attention=full model_name_or_path=config.json \
        train_file=16.smp output_dir=a max_steps=3 --quiet
    train scratch.yaml from_scratch=true attention=s2 group=64 model_name_or_path=config.json \
        train_file=16.smp output_dir=b max_steps=3 --quiet
    cmp a/model.safetensors b/model.safetensors
}

@test "pipeline: a model with tied embeddings is trained, quantized, merged and measured" {
    make_base
    config tied.json 400 true
    train scratch.yaml from_scratch=true attention=full model_name_or_path=tied.json \
        train_file=16.smp output_dir=tied max_steps=5 learning_rate=0.01 --quiet
    quantize --quiet tied -o tied.nf4
    lora tl --quiet model_name_or_path=tied.nf4
    merge --quiet --base tied --adapter tl --tokenizer tok -o tied-merged
    converts tied-merged
    ppl --quiet --model tied-merged --data docs.tok --context 32 --to json > /dev/null
}

@test "pipeline: if a file of another kind is given, the message says what is expected" {
    make_base
    lora ad --quiet
    echo 'In the beginning' > plain.txt
    says() { # MESSAGE STATUS COMMAND...
        run --separate-stderr -"$2" "${@:3}"
        [ "$stderr" = "$1" ] || { echo "$stderr"; false; }
    }
    says 'pack: plain.txt: byte 0: not a zstd frame: not a stream of tokens, which tokenize makes' \
        3 pack --context 16 plain.txt -o x
    says 'ppl: plain.txt: byte 0: not a zstd frame: not a stream of tokens, which tokenize makes' \
        3 ppl --model base --data plain.txt
    says 'train: plain.txt: byte 0: not a zstd frame: not a stream of samples, which pack makes' 3 \
        lora x train_file=plain.txt
    says \
        'generate: plain.txt: byte 0: not a zstd frame: not a stream of weights, which quantize makes' \
        3 generate -m plain.txt -p x
    # A stream that was compressed again, and a zstd file of something else.
    for stream in docs.tok 32.smp; do zstd -q < $stream > $stream.zst; done
    zstd -q < plain.txt > plain.txt.zst; echo '{"text":"a"}' | zstd -q > lines.zst
    again=' (compressed again? zstd -dc gives what was compressed)'
    says "pack: docs.tok.zst: a zstd file of zstd: not a stream of tokens, which tokenize makes$again" \
        3 pack --context 16 docs.tok.zst -o x
    says "ppl: docs.tok.zst: a zstd file of zstd: not a stream of tokens, which tokenize makes$again" \
        3 ppl --model base --data docs.tok.zst
    says "train: 32.smp.zst: a zstd file of zstd: not a stream of samples, which pack makes$again" \
        3 lora x train_file=32.smp.zst
    says 'pack: lines.zst: a zstd file of JSON lines, not a stream of tokens, which tokenize makes' \
        3 pack --context 16 lines.zst -o x
    says 'pack: plain.txt.zst: a zstd file of something else: not a stream of tokens, which tokenize makes' \
        3 pack --context 16 plain.txt.zst -o x
    says 'pack: 32.smp: a stream of samples, not a stream of tokens, which tokenize makes' 3 pack --context 16 32.smp -o x
    says 'tokenize: plain.txt:1: byte 1: not a JSON object (plain text? --format text)' 3 tokenize \
        -m tok/tokenizer.model plain.txt -o x
    says 'quantize: base/model.safetensors: a file: a model is named by its directory, base' 3 \
        quantize base/model.safetensors -o x
    says 'quantize: nowhere: No such file or directory' 1 quantize nowhere -o x
    says \
        'generate: ad: an adapter, not a model: name its base base.nf4 here instead, and the adapter with --adapter' \
        3 generate -m ad -p x
    says 'train: ad: an adapter, not a model: name its base base.nf4 here instead' 3 lora x \
        model_name_or_path=ad
    [ ! -e x ]
}

@test "merge: a message warns about an NF4 base if the adapter was trained on unquantized weights" {
    make_base
    lora q --quiet
    lora plain --quiet model_name_or_path=base quantization=none
    merge="merge --tokenizer tok -o out --adapter"
    run --separate-stderr -0 $merge q --base base.nf4
    [[ "$stderr" != *"whose rounding"* ]]
    run --separate-stderr -0 $merge plain --base base
    [[ "$stderr" != *"whose rounding"* ]]
    run --separate-stderr -0 $merge plain --base base.nf4
    [[ "$stderr" == *"merge: base.nf4: an NF4 base, whose rounding stays in the result, but plain was trained on the unquantized weights: name these with --base"* ]]
    # An adapter of another program does not say on what base it was trained.
    rm plain/longqlora.json
    run --separate-stderr -0 $merge plain --base - < base.nf4
    [[ "$stderr" == *"merge: standard input: an NF4 base, whose rounding stays in the result: if plain was not trained on NF4 (QLoRA), name the unquantized weights with --base"* ]]
}
