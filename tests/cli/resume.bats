load helper

# Tests what `train` promises about checkpoints: they are whole or absent, and a resumed run ends
# with the same bits.

run_args="max_steps=6 save_steps=2 save_total_limit=1 resume_from_checkpoint=auto"

# fault OF AT [BEGIN]: runs the training with one failing call after the second checkpoint, or
# BEGIN, was begun. Returns 1 if there was no such call.
fault() {
    local status=0 output
    rm -rf broken mark
    output=$(FAULT_OF=$1 FAULT_AT=$2 FAULT_BEGIN=${3:-.checkpoint-4} FAULT_MARK=mark \
        LD_PRELOAD=$BUILD/tests/fault.so \
        train lora.yaml output_dir=broken $run_args 2>&1) || status=$?
    [ -e mark ] || return 1
    if [ "$status" = 0 ] && ! cmp -s whole/adapter_model.safetensors \
        broken/adapter_model.safetensors; then
        echo "$1 $2: exit status 0 and another result: $output" >&2 && exit 1
    fi
    if [ "$status" != 0 ] && [ "$1" != kill ] && [ "$(grep -c '^train: ' <<< "$output")" = 0 ]; then
        echo "$1 $2: status $status and no word" >&2 && exit 1
    fi
    # The run is resumed from a checkpoint that remains: the last good one, the new one, or that of
    # step 5 if reading step 6 failed.
    output=$(train lora.yaml output_dir=broken $run_args 2>&1) ||
        { echo "$1 $2: does not go on: $output" >&2 && exit 1; }
    [ "$status" = 0 ] || [[ "$output" == *"resumed from broken/checkpoint-"[2456]": "* ]] ||
        { echo "$1 $2: lost: $output" >&2 && exit 1; }
    [[ "$output" != *"skipped"* ]] || { echo "$1 $2: a damaged checkpoint: $output" >&2 && exit 1; }
    cmp whole/adapter_model.safetensors broken/adapter_model.safetensors ||
        { echo "$1 $2: other bytes" >&2 && exit 1; }
    [ "$(ls -A broken | grep -c -e tmp -e '^\.')" = 0 ] || { echo "$1 $2: left something" >&2 &&
        exit 1; }
}

every() { # OF STRIDE [BEGIN]
    local at=$((RANDOM % $2 + 1)) count=0
    while fault "$1" "$at" "${3:-}"; do
        at=$((at + $2)) count=$((count + 1))
    done
    echo "$1: $count faults, each ${2}th"
    [ $count -gt 2 ]
}

make_run() {
    make_base
    printf '%s\n' 'method: lora' 'model_name_or_path: base.nf4' 'train_file: 32.smp' \
        'lora_rank: 4' 'logging_steps: 2' > lora.yaml
    train lora.yaml output_dir=whole $run_args --quiet
}

@test "resume: if any write, sync or rename of a checkpoint fails, the last good checkpoint stays" {
    [ -e "$BUILD/tests/fault.so" ] || skip "faults are injected into the release flavour only"
    make_run
    every write 1
    every fsync 1
    every rename 1
}

@test "resume: if any write, sync or rename of the result fails, the run can be resumed and then has the result" {
    [ -e "$BUILD/tests/fault.so" ] || skip "faults are injected into the release flavour only"
    make_run
    every write 1 .result
    every fsync 1 .result
    every rename 1 .result
}

@test "resume: if an allocation for a checkpoint fails, the last good checkpoint stays" {
    [ -e "$BUILD/tests/fault.so" ] || skip "faults are injected into the release flavour only"
    make_run
    every malloc "${LONG:+1}${LONG:-37}"
}

@test "resume: a run that is killed at any moment and resumed ends with the bytes of an uninterrupted run" {
    make_run
    seed=${SEED:-$RANDOM}
    echo "SEED=$seed"
    RANDOM=$seed
    tries=$((LONG ? 100 : 10))
    if [ -e "$BUILD/tests/fault.so" ]; then
        for try in $(seq $tries); do
            fault kill $((RANDOM % 24 + 1))
        done
    fi
    long="max_steps=40 save_steps=1 save_total_limit=2 resume_from_checkpoint=auto"
    train lora.yaml output_dir=long $long --quiet
    kills=0
    while [ $kills -lt $tries ]; do
        train lora.yaml output_dir=random $long logging_steps=1 --quiet &
        until_true eval "has_step random $((RANDOM % 40 + 1)) || ! kill -0 $!"
        sleep 0.0$((RANDOM % 10))
        kill -9 $! 2> /dev/null && kills=$((kills + 1))
        wait $! 2> /dev/null || true
        [ ! -e random/longqlora.json ] || rm -rf random
    done
    train lora.yaml output_dir=random $long --quiet
    cmp long/adapter_model.safetensors random/adapter_model.safetensors
}

@test "resume: a full disk ends the run with a message, if possible before the first step, and loses no checkpoint" {
    make_run
    mkdir small
    mount -t tmpfs -o size=700k none small 2> /dev/null || skip "no file system may be mounted here"
    run --separate-stderr -1 train lora.yaml output_dir=small/out $run_args
    umount small
    [[ "${stderr_lines[-1]}" == "train: small/out: needs "[1-9]*B" of disk, but only "*B" are free there: make room, or name another place" ]]
    # The disk becomes full during the run. Existing checkpoints stay whole.
    mount -t tmpfs -o size=6m none small
    run --separate-stderr -1 train lora.yaml output_dir=small/out max_steps=200 save_steps=2 \
        save_total_limit=0
    count=$(ls -d small/out/checkpoint-* | wc -l) temporary=$(ls small/out | grep -c tmp || true)
    newest=$(ls -d small/out/checkpoint-* | sort -t- -k2 -n | tail -n 1)
    cp -r "$newest" kept
    umount small
    [[ "$stderr" == *"train: small/out: needs "[1-9]*B" of disk, but only "*B" are free there: make room, or name another place"* ]]
    [ "$count" -gt 2 ] && [ "$temporary" = 0 ]
    train lora.yaml output_dir=on max_steps=200 resume_from_checkpoint=kept --quiet
    train lora.yaml output_dir=unbroken max_steps=200 --quiet
    cmp on/adapter_model.safetensors unbroken/adapter_model.safetensors
}

@test "resume: a change of the recipe, the samples or the base is named" {
    make_run
    rm whole/longqlora.json
    refused() { # WORDS... OVERRIDES
        local words=$1
        shift
        run --separate-stderr -3 train lora.yaml output_dir=whole $run_args "$@"
        [[ "$stderr" == *"$words"* ]] || { echo "$stderr" && false; }
    }
    refused "whole/checkpoint-6: the recipe changed since the run began: lora_rank was 4, is 8" lora_rank=8
    refused "the recipe changed since the run began: learning_rate was 0.0002, is 0.5" learning_rate=0.5
    refused "the recipe changed since the run began: rope was \"auto\", is \"linear:4\"" rope=linear:4
    pack --quiet --context 32 --strategy concat docs.tok -o other.smp
    refused "the samples changed since the run began: " train_file=other.smp
    # Concatenated samples count as a whole, not by the last of them.
    smp() {
        tokenize --quiet -m tok/tokenizer.model - |
            pack --quiet --context 32 --strategy split -o "$1"
    }
    head -n 5 docs.jsonl | smp a.smp
    sed -n 6,8p docs.jsonl | smp b.smp
    cat a.smp 32.smp > both.smp
    cat b.smp 32.smp > others.smp
    train lora.yaml $run_args train_file=both.smp output_dir=twice
    mv whole single && mv twice whole
    refused "the samples changed since the run began: " train_file=others.smp max_steps=12
    refused "the samples changed since the run began: " train_file=32.smp max_steps=12
    train lora.yaml $run_args train_file=both.smp output_dir=whole max_steps=12
    rm -r whole && mv single whole
    cp -rL base other && perl -pi -e 's/"rope_theta": 500/"rope_theta": 501/' other/config.json &&
        quantize --quiet other -o other.nf4
    refused "changed since the run began: " model_name_or_path=other.nf4
}

# Turns a checkpoint's state into that of another version, with other bytes in place of the field
# `sums` and its value. The run's record is changed accordingly.
other_sums() { # CHECKPOINT RECORD BYTES
    perl -MForeignStream -MJSON::PP -e 'my ($directory, $record, $sums) = @ARGV;
        my $state = "$directory/training_state";
        local $/;
        open my $zstd, "-|", "zstd", "-dcqf", $state or die;
        binmode $zstd;
        my $bytes = <$zstd>;
        $bytes =~ s/\xa4sums\x02/$sums/ or die;
        # The map has 16 to 65535 pairs. One of them may be missing now.
        $bytes =~ s/^\xde(..)/"\xde" . pack("n", unpack("n", $1) - !length $sums)/se or die;
        my $end = rindex($bytes, "\xa3end\xc3") - 1;
        my ($whole, $last) = (substr($bytes, 0, $end), substr $bytes, $end);
        my $digest = ForeignStream::digest($whole);
        $last =~ s/(?<=\xa6digest\xd9.)[0-9a-f]{32}/$digest/s or die;
        open my $out, "|-", "zstd -q -1 -c > $state.new" or die;
        binmode $out;
        print $out $whole, $last;
        close $out or die;
        rename "$state.new", $state or die;
        sub digest_of { my ($hex) = `xxhsum -H2 $_[0]` =~ /^([0-9a-f]{32})/ or die; $hex }
        sub rewrite { my ($path, $change) = @_; open my $in, "<", $path or die; local $_ = <$in>; $change->();
            open my $to, ">", $path or die; print $to $_; close $to or die }
        my $before = digest_of("$directory/manifest.json");
        my ($bytes_now, $digest_now) = (-s $state, digest_of($state));
        rewrite("$directory/manifest.json", sub { my $m = decode_json($_); $m->{files}{training_state} = { bytes => $bytes_now, digest => $digest_now }; $_ = encode_json($m) });
        my $after = digest_of("$directory/manifest.json");
        rewrite($record, sub { s/$before/$after/ or die })' "$@"
}

@test "resume: a checkpoint of a version that adds gradients in another order is refused, and its adapter can be trained further" {
    make_run
    record=longqlora-run.json
    for sums in '' $'\xa4sums\x03'; do
        rm -rf old further
        cp -r whole old
        rm old/longqlora.json
        other_sums old/checkpoint-6 old/$record "$sums"
        run --separate-stderr -3 train lora.yaml output_dir=old max_steps=9 \
            resume_from_checkpoint=auto
        who='an earlier version' and='sums 0, here 2'
        [ -z "$sums" ] || who='a later version' and='sums 3, here 2'
        [ "${stderr_lines[-1]}" = \
            "train: old/checkpoint-6: $who began this run, and adds gradients in another order ($and): to train further, set adapter_name_or_path=old/checkpoint-6 and another output_dir; to begin anew, set resume_from_checkpoint=none and overwrite_output_dir=true" ]
        # The advice works.
        train lora.yaml output_dir=further max_steps=1 adapter_name_or_path=old/checkpoint-6 \
            --quiet
        [ -f further/adapter_model.safetensors ]
        train lora.yaml output_dir=old max_steps=1 resume_from_checkpoint=none \
            overwrite_output_dir=true --quiet
        [ ! -e old/checkpoint-6 ] && [ -f old/adapter_model.safetensors ]
    done
}

@test "resume: a run keeps its number of rows per chunk, even if another version would choose another" {
    make_run
    cat > chunk.pl <<'P'
use strict;
use warnings;
use ForeignStream;
use JSON::PP;
# Sets the rows of a chunk in a checkpoint, as if an older program had made it. Prints the old
# number.
my ($directory, $rows) = @ARGV;
my $state = "$directory/training_state";
open my $zstd, '-|', 'zstd', '-dcqf', $state or die;
binmode $zstd;
local $/;
my $bytes = <$zstd>;
$bytes =~ s/\xa5chunk(\xcd..|\xcc.|[\x00-\x7f])/"\xa5chunk" . chr($rows)/se or die;
my $had = Data::MessagePack->unpack($1);
my $end = rindex($bytes, "\xa3end\xc3") - 1;
my ($whole, $last) = (substr($bytes, 0, $end), substr $bytes, $end);
my $digest = ForeignStream::digest($whole);
$last =~ s/(?<=\xa6digest\xd9.)[0-9a-f]{32}/$digest/s or die;
open my $out, '|-', "zstd -q -1 -c > $state.new" or die;
binmode $out;
print $out $whole, $last;
close $out or die;
rename "$state.new", $state or die;
open my $in, '<', "$directory/manifest.json" or die;
my $manifest = decode_json(<$in>);
my ($hex) = `xxhsum -H2 $state` =~ /^([0-9a-f]{32})/ or die;
$manifest->{files}{training_state} = { bytes => -s $state, digest => $hex };
open $out, '>', "$directory/manifest.json" or die;
print $out encode_json($manifest);
print "$had\n";
P
    more="max_steps=6 save_steps=2 resume_from_checkpoint=auto"
    train lora.yaml output_dir=more $more --quiet
    [ "$(perl -MForeignStream chunk.pl more/checkpoint-2 16)" -gt 16 ]
    # The run's record contains the digest of the manifest, so the checkpoint counts as this run's.
    perl -MJSON::PP \
        -e 'local ($/, @ARGV) = (undef, "more/longqlora-run.json"); my $r = decode_json(<>);
        ($r->{folders}{"checkpoint-2"}[0]) = `xxhsum -H2 more/checkpoint-2/manifest.json` =~ /^([0-9a-f]{32})/; open my $f, ">", $ARGV; print $f encode_json($r)'
    rm -r more/checkpoint-4 more/checkpoint-6 more/longqlora.json
    run -0 train lora.yaml output_dir=more $more
    [[ "$output" == *"resumed from more/checkpoint-2: going on with step 3"* ]]
    [ "$(perl -MForeignStream chunk.pl more/checkpoint-4 16)" = 16 ]
    run --separate-stderr -3 train lora.yaml output_dir=more $more chunk_rows=32
    [[ "$stderr" == *"the recipe changed since the run began: chunk_rows was 0, is 32"* ]]
}

@test "resume: a run does not overwrite another one" {
    make_run
    rm whole/longqlora.json
    run --separate-stderr -2 train lora.yaml output_dir=whole max_steps=6
    [[ "$stderr" == \
        *"whole holds checkpoint-6: to go on with it, set resume_from_checkpoint=auto; to remove it, set overwrite_output_dir=true"* ]]
    train lora.yaml output_dir=plain max_steps=1 --quiet
    run --separate-stderr -3 train lora.yaml output_dir=plain max_steps=1 seed=7
    [[ "$stderr" == \
        *"plain: the recipe changed since the run began: seed was 42, is 7; the run is finished"* ]]
    train lora.yaml output_dir=whole max_steps=3 overwrite_output_dir=true --quiet
    [ ! -e whole/checkpoint-6 ] && [ -e whole/checkpoint-3 ]
}

@test "resume: a run is resumed only if its model's config computes what it computed before" {
    make_base
    cp -rL base own
    cat config.json > own/config.json
    printf '%s\n' 'method: lora' 'model_name_or_path: own' 'quantization: none' \
        'train_file: 32.smp' 'lora_rank: 4' > lora.yaml
    args="output_dir=out save_steps=2 resume_from_checkpoint=auto"
    train lora.yaml $args max_steps=2 --quiet
    cp own/config.json was
    sed 's/_attention_heads":4/_attention_heads":8/; s/_value_heads":2/_value_heads":4/' was \
        > own/config.json
    run -1 cmp -s was own/config.json
    # A finished run, one that is to be lengthened, and one that was interrupted.
    told="the model's config changed since the run began: num_attention_heads was 4, is 8: restore it; "
    for steps in 2 4; do
        run --separate-stderr -3 train lora.yaml $args max_steps=$steps
        [[ "$stderr" == "train: out: $told"* ]] ||
            [[ "$stderr" == "train: out/checkpoint-2: $told"* ]]
    done
    rm out/longqlora.json
    run --separate-stderr -3 train lora.yaml $args max_steps=4
    [[ "$stderr" == "train: out/checkpoint-2: $told"* ]]
    # A key that changes no result may change.
    sed 's/"eos_token_id":2/"eos_token_id":[1,2]/' was > own/config.json
    run -1 cmp -s was own/config.json
    train lora.yaml $args max_steps=4 --quiet
    # So it is with a model that is trained from scratch.
    cp config.json was
    args="scratch.yaml from_scratch=true model_name_or_path=config.json tokenizer=tok
        attention=full train_file=16.smp output_dir=new save_steps=2 resume_from_checkpoint=auto"
    train $args max_steps=2 --quiet
    while read -r key then now; do
        sed "s/\"$key\":[0-9e-]*/\"$key\":$now/" was > config.json
        run --separate-stderr -3 train $args max_steps=4
        [[ "$stderr" == *"the model's config changed since the run began: $key was $then, is $now: restore it; "* ]]
    done << 'END'
rms_norm_eps 1e-05 0.001
hidden_size 32 64
intermediate_size 48 64
num_hidden_layers 2 3
END
    cp was config.json
    train $args max_steps=4 --quiet
}

@test "resume: evaluations of other samples than before are said not to be comparable" {
    make_base
    cp few.smp held.smp
    echo 'method: lora' > r.yaml
    go() { # STEPS KEY=VALUE...
        train r.yaml output_dir=out model_name_or_path=base.nf4 train_file=32.smp lora_rank=2 \
            learning_rate=0.01 lr_scheduler_type=constant eval_steps=1 max_steps="$1" "${@:2}"
    }
    go 2 eval_file=held.smp --quiet
    run --separate-stderr -0 go 3 eval_file=held.smp
    [[ "$stderr" == *"resumed from out/checkpoint-2"* && "$stderr" != *"other samples"* ]]
    cp -f 16.smp held.smp
    run --separate-stderr -0 go 4 eval_file=held.smp
    [[ "$stderr" == *$'\n'"train: eval_file has other samples than before: losses of evaluations are not comparable with those up to step 3"$'\n'* ]]
    run --separate-stderr -0 go 5 eval_file=held.smp,few.smp
    [[ "$stderr" == *"with those up to step 4"* ]]
    # A run that evaluates nothing any more, and one that begins to, have nothing to compare.
    run --separate-stderr -0 go 6
    [[ "$stderr" != *"other samples"* ]]
    run --separate-stderr -0 go 7 eval_file=held.smp
    [[ "$stderr" != *"other samples"* ]]
}
