# Shared by the command-line tests: a scratch directory, paths, tiny inputs.
bats_require_minimum_version 1.5.0
root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
BIN=${BIN:-$root/bin}
BUILD=${BUILD:-$root/build/release}
golden=$root/tests/golden
PATH=$BIN:$PATH
export PERL5LIB=$root/tests/lib
# oneDNN generates its code in each process, which takes longer than the computations of most tests.
# For AVX2 it generates less. The unit and kernel tests use its code for this CPU, and so do all
# tests with LONG, and the tests of bf16, which call this function.
whole_isa() { unset ONEDNN_MAX_CPU_ISA; }
[ -n "${LONG:-}" ] || export ONEDNN_MAX_CPU_ISA=AVX2

# Repetitions in a loop show sanitizers nothing new, and take much longer with them. So they run
# fewer repetitions, if the test still proves the same. docs/tests.md lists these tests.
less() { # N FEWER: prints N, or FEWER with sanitizers
    case ${FLAVOUR:-release} in asan) echo "$2" ;; *) echo "$1" ;; esac
}

setup() {
    cd "$BATS_TEST_TMPDIR"
}

# Takes the place of bats' function of this name, which takes longer than most commands. bats calls
# it before every command, to note the line that a message shows if the command fails. This function
# notes no lines of this file or of bats. bats later expects its own file, tracing.bash, as the
# first of the noted files.
bats_debug_trap() { # FILE
    case $1 in "$BATS_ROOT"/lib* | */helper.bash) return 0 ;; esac
    BATS_DEBUG_LASTLAST_STACK_TRACE=(
        ${BATS_DEBUG_LAST_STACK_TRACE[@]+"${BATS_DEBUG_LAST_STACK_TRACE[@]}"})
    BATS_DEBUG_LAST_LINENO=("${BASH_LINENO[@]}")
    BATS_DEBUG_LAST_SOURCE=("$BATS_ROOT/lib/bats-core/tracing.bash" "${BASH_SOURCE[@]:1}")
    bats_capture_stack_trace
}

# Does what `run` of bats does, for the options that these tests use. bats' own function starts
# three more processes.
run() { # [-STATUS | !] [--separate-stderr] COMMAND...
    local run_status= run_stderr= IFS=$'\n' run_flags=$-
    while :; do
        case $1 in
        -[0-9]*) run_status=${1#-} ;;
        !) run_status=failure ;;
        --separate-stderr) run_stderr=$BATS_TEST_TMPDIR.stderr ;;
        -*)
            echo "run: unknown option $1" >&2
            return 1
            ;;
        *) break ;;
        esac
        shift
    done
    set +eE
    if [ -n "$run_stderr" ]; then
        output=$(IFS=$' \t\n' && "$@" 2> "$run_stderr") && status=0 || status=$?
        stderr=$(< "$run_stderr")
        set -f
        stderr_lines=($stderr)
    else
        output=$(IFS=$' \t\n' && "$@" 2>&1) && status=0 || status=$?
    fi
    set -f
    lines=($output)
    set +f "-$run_flags"
    IFS=' '
    case $run_status in
    "$status" | "") ;;
    failure) ((status)) ;;
    *)
        echo "status $status instead of $run_status: $*" >&2
        return 1
        ;;
    esac
}

# Data that many test files need are made once. tests/run names a folder for them; without it each
# test file has its own. If two tests need the data at the same time, one waits for the other. No
# test may write to the data; tests/run checks this.
made=${TEST_MADE:-$BATS_FILE_TMPDIR}
once() { # NAME COMMAND...: runs the command, which makes $made/NAME
    (
        flock 9
        [ -e "$made/$1" ] || "${@:2}"
    ) 9> "$made/lock"
}

# Makes a vocabulary like LLaMA's.
make_tokenizer() { once tok train_tokenizer; }
train_tokenizer() {
    perl -e 'srand 3; my @w = map { join "", map { ("a".."z")[rand 26] } 1..2 + rand 6 } 1..300;
        print join(" ", map { $w[rand(@w) ** 2 / @w] } 1..12), ".\n" for 1..2000' > "$made/text"
    mkdir -p "$made/tok.new"
    spm_train --input="$made/text" --model_prefix="$made/spm" --model_type=bpe \
        --vocab_size=400 --byte_fallback=true --character_coverage=0.9999 --split_digits=true \
        --normalization_rule_name=identity --remove_extra_whitespaces=false \
        --allow_whitespace_only_pieces=true --minloglevel=2 > /dev/null 2>&1
    mv "$made/spm.model" "$made/tok.new/tokenizer.model"
    mv "$made/tok.new" "$made/tok"
}

# Makes docs.jsonl, ten documents of two sources.
make_documents() {
    perl -e 'use strict; my @l = map { chomp; $_ } <STDIN>;
        for my $d (0..9) { my $t = join "\\n", @l[$d * 40 .. $d * 40 + 5 + 3 * $d];
            print qq({"text":"$t","meta":{"set":"m$d"},"source":"), $d % 2 ? "odd" : "even", qq("}\n) }' \
        < "$made/text" > docs.jsonl
}

config() {
    cat > "${1:-config.json}" <<JSON
{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":${2:-400},"hidden_size":32,
"intermediate_size":48,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,
"rms_norm_eps":1e-5,"rope_theta":500,"hidden_act":"silu","tie_word_embeddings":${3:-false},
"initializer_range":0.1,"max_position_embeddings":16,"bos_token_id":1,"eos_token_id":2}
JSON
}

# Makes tokens, samples of 16 and 32, a few samples for evaluations, and base/, a model that was
# trained for a few steps.
make_base() {
    make_tokenizer
    once base train_base
    ln -sf "$made"/{tok,base,base.nf4,docs.jsonl,docs.tok,16.smp,32.smp,few.smp,scratch.yaml} .
    cp "$made/config.json" .
}
train_base() {
    cd "$made"
    make_documents
    tokenize --quiet -m tok/tokenizer.model docs.jsonl -o docs.tok
    pack --quiet --context 16 --strategy split docs.tok -o 16.smp
    pack --quiet --context 32 --strategy split docs.tok -o 32.smp
    # A tenth of the samples, for evaluations.
    head -n 2 docs.jsonl | tokenize --quiet -m tok/tokenizer.model - | \
        pack --quiet --context 16 --strategy split -o few.smp
    config
    echo 'method: full' > scratch.yaml
    train scratch.yaml from_scratch=true attention=full model_name_or_path=config.json \
        tokenizer=tok train_file=16.smp output_dir=base.new max_steps=20 learning_rate=0.01 \
        per_device_train_batch_size=4 --quiet --device cpu
    quantize --quiet base.new -o base.nf4
    mv base.new base
    find . -type f ! -name lock ! -name sums | sort | xargs xxhsum -q -H2 > sums
}

# Makes wide/, a model with 8 query heads and 4 key heads, trained for two steps. Four ranks can
# share its attention. make_base comes first.
make_wide() {
    once wide train_wide
    ln -sf "$made"/wide .
}
train_wide() {
    config
    sed 's/_attention_heads":4/_attention_heads":8/; s/_value_heads":2/_value_heads":4/' \
        config.json > wide.json
    train scratch.yaml from_scratch=true attention=full model_name_or_path=wide.json tokenizer=tok \
        train_file=16.smp output_dir="$made/wide.new" max_steps=2 learning_rate=0.01 --quiet \
        --device cpu
    mv "$made/wide.new" "$made/wide"
}

lora() { # OUT KEY=VALUE...
    local out=$1
    shift
    echo 'method: lora' > lora.yaml
    train lora.yaml output_dir="$out" model_name_or_path=base.nf4 train_file=32.smp max_steps=6 \
        lora_rank=4 learning_rate=0.01 per_device_train_batch_size=2 logging_steps=2 "$@"
}

# Fails unless each merged directory has everything that llama.cpp's converter needs.
converts() { "$root/tests/lib/check_llamacpp.pl" "$golden/llamacpp-list.json" "$@"; }

# Repeats a command until it succeeds, at most for a minute. It waits for a program in the
# background.
until_true() { # COMMAND...
    local try
    for try in $(seq 1200); do
        "$@" 2> /dev/null && return
        sleep 0.05
    done
    echo "waited in vain: $*" >&2
    return 1
}

# True if a run's log has a line for this step or a later one.
has_step() { # RUN STEP
    # It is called twenty times a second, so it loads no module.
    perl -e 'my $n = shift; while (<STDIN>) { exit 0 if /^\{"step":(\d+),.*\}\n/ && $1 >= $n } exit 1' \
        "$2" < "$1/trainer_log.jsonl"
}

# Changes one bit of a file.
flip() { # FILE BYTE: a byte below 1 is a share of the file's length
    perl -e 'my ($path, $at) = @ARGV; my $size = -s $path; open my $f, "+<", $path or die;
        $at = int($size * $at) if $at < 1;
        seek $f, $at, 0; read $f, my $c, 1; seek $f, $at, 0; print $f chr(ord($c) ^ 4)' "$@"
}

# ---- several ranks ----

# Skips a test of several ranks where mpirun or the plug-in is missing.
needs_mpi() {
    command -v mpirun > /dev/null || skip "mpirun is not installed (openmpi-bin)"
    [ -e "$BIN/ranks-mpi.so" ] || skip "ranks-mpi.so is built only where mpicc is"
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    once mpirun try_mpirun
    [ -s "$made/mpirun" ] || skip "mpirun cannot start processes here"
    # Messages within one machine go through shared memory, without system calls that a container
    # may forbid. ob1 is what Open MPI takes for that; looking for another takes a quarter second.
    export OMPI_MCA_pml=ob1
    export OMPI_MCA_btl=self,vader OMPI_MCA_btl_vader_single_copy_mechanism=none
    # NCCL, where it is installed, would look for real GPUs. nccl.bats tests it.
    export LONGQLORA_NCCL=0
    # mpirun's own files go away with the test's.
    export OMPI_MCA_orte_tmpdir_base=$BATS_TEST_TMPDIR
    # Open MPI does not free all of its memory.
    export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
}
# Makes a file, which is empty if mpirun cannot start two processes.
try_mpirun() { mpirun --oversubscribe -n 2 echo works > "$made/mpirun" 2> /dev/null ||
    : > "$made/mpirun"; }

# Prints the processes of the ranks that mpirun started in this subshell.
ranks_of() { # SUBSHELL
    pgrep -P "$(pgrep -P "$1")"
}

# Prints what a log says of losses and norms.
losses_of() { perl -MJSON::PP \
    -ne 'my $l = decode_json($_); print join(" ", map { $l->{$_} // "" } qw(step loss grad_norm eval_loss tokens targets)), "\n"' \
    "$1/trainer_log.jsonl"; }

ids_of() { # FILE OPTIONS...: prints the ids that tokenize gives for a text
    local file=$1
    shift
    tokenize --quiet --format text --to jsonl "$@" "$file" | \
        sed -n 's/.*"tokens":\[\([0-9,]*\)\].*/\1/p'
}

with_faults() { [ -e "$BUILD/tests/fault.so" ] ||
    skip "faults are injected into the release flavour only"; }

# Makes ./one, which runs train. One rank gets other variables or arguments.
one_rank() { # RANK VARIABLES ARGUMENT...
    cat > one <<S
#!/bin/bash
[ "\$OMPI_COMM_WORLD_RANK" != $1 ] || exec env $2 train "\$@" ${*:3}
exec train "\$@"
S
    chmod +x one
}

# Stops a run of two ranks by SIGUSR1, which mpirun passes on to them. They must save, and one
# process must go on from there to the adapter of a run that was not stopped.
saves_after_signal() { # COMMAND KEY=VALUE...: COMMAND N OUT KEY=VALUE... starts a run of N ranks
    local steps start=$1
    shift
    "$start" 2 out max_steps=100000 "$@" > said 2>&1 &
    until_true has_step out 2
    kill -USR1 "$(pgrep -P $!)"
    wait $! || true
    cat said
    steps=$(($(ls -d out/checkpoint-* | sed 's/.*-//') + 1))
    grep -q "^train: stopped by signal 10 after step $((steps - 1)): saved" said
    [ "$steps" -gt 2 ]
    "$start" 1 out max_steps=$steps "$@" resume_from_checkpoint=auto
    "$start" 1 whole max_steps=$steps "$@"
    cmp whole/adapter_model.safetensors out/adapter_model.safetensors
}

# Fails unless both runs have the same result, checkpoints and losses.
same_run() { # ONE OTHER
    local file
    for file in $(cd "$1" && find . -name '*.safetensors' -o -name training_state); do
        cmp "$1/$file" "$2/$file"
    done
    diff <(losses_of "$1") <(losses_of "$2")
}

# Starts two ranks of ./one, which write their numbers to pid0 and pid1, stops rank 1 when the
# output has this text, and fails unless all end with status 1. The output is in the file said.
stop_rank_1_at() { # TEXT
    mpirun --oversubscribe -n 2 ./one > said 2>&1 &
    until_true grep -q "$1" said
    kill -STOP "$(cat pid1)"
    local status=0
    wait $! || status=$?
    cat said
    [ "$status" = 1 ]
}

# Makes gemma.json, a small Gemma 3 with two key heads and with windows in every second layer, whose
# layers have norms of heads.
gemma_config() { # HEADS WINDOW POSITIONS
    cat > gemma.json << JSON
{"architectures":["Gemma3ForCausalLM"],"model_type":"gemma3_text","vocab_size":400,
"hidden_size":32,"intermediate_size":48,"num_hidden_layers":4,"num_attention_heads":$1,
"num_key_value_heads":2,"head_dim":8,"query_pre_attn_scalar":8,"sliding_window":$2,
"sliding_window_pattern":2,"rms_norm_eps":1e-5,"max_position_embeddings":$3,
"initializer_range":0.1,"bos_token_id":1,"eos_token_id":2,"pad_token_id":0}
JSON
    echo 'method: full' > full.yaml
}

# Makes ./one, with which rank 1 trains on other.smp under this key. When rank 0 prints its line of
# step 4, that file is cut to an eighth.
cut_file_of_rank_1() { # KEY
    cp many.smp other.smp
    cat > one << S
#!/bin/bash
[ "\$OMPI_COMM_WORLD_RANK" = 0 ] || exec train "\$@" $1=other.smp
exec env LD_PRELOAD="$BUILD/tests/shrink.so" SHRINK=other.smp SHRINK_WHEN='step 4 of' \
    SHRINK_TO=$(($(stat -c %s other.smp) / 8)) train "\$@"
S
}

# Fails unless only rank 1 says, in the file said, that its file changed, and the run has saved.
# Sets step to the saved step.
said_cut_and_saved() {
    cat said
    [ "$(grep -c '^train: rank 1: ' said)" = 1 ]
    grep -q '^train: rank 1: other.smp: changed while it was read' said
    step=$(sed -n 's/^train: step \([0-9]*\) is saved: once the cause is removed, resume_from_checkpoint=auto goes on$/\1/p' said)
    [ -d "out/checkpoint-$step" ]
}
