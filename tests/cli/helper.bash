# Shared by the command-line tests: scratch directory, paths, tiny inputs.
bats_require_minimum_version 1.5.0
root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
BIN=${BIN:-$root/bin}
BUILD=${BUILD:-$root/build/release}
golden=$root/tests/golden
PATH=$BIN:$PATH
export PERL5LIB=$root/tests/lib
# oneDNN makes its code anew in each process, which takes longer than what most of these tests
# compute. For AVX2 it makes less. The unit and kernel tests run what it makes for this CPU, and so
# do the tests of bf16, which call this function, and the long loops.
whole_isa() { unset ONEDNN_MAX_CPU_ISA; }
[ -n "${LONG:-}" ] || export ONEDNN_MAX_CPU_ISA=AVX2

# What a loop does again shows sanitizers nothing new, and takes them many times as long: they do
# less of it, where the test would not state less without it. docs/tests.md lists the tests.
less() { # N FEWER: N, with sanitizers FEWER
    case ${FLAVOUR:-release} in asan) echo "$2" ;; *) echo "$1" ;; esac
}

setup() {
    cd "$BATS_TEST_TMPDIR"
}

# Data that many files of tests need are made once for all of them. tests/run names a folder for
# them; otherwise each file has its own. If two tests need them at once, one waits for the other. No
# test may write to them, which tests/run checks.
made=${TEST_MADE:-$BATS_FILE_TMPDIR}
once() { # NAME COMMAND...: runs the command, which makes $made/NAME
    (
        flock 9
        [ -e "$made/$1" ] || "${@:2}"
    ) 9> "$made/lock"
}

# A vocabulary like LLaMA's.
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

# Ten documents of two sources, docs.jsonl.
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

lora() { # OUT KEY=VALUE...
    local out=$1
    shift
    echo 'method: lora' > lora.yaml
    train lora.yaml output_dir="$out" model_name_or_path=base.nf4 train_file=32.smp max_steps=6 \
        lora_rank=4 learning_rate=0.01 per_device_train_batch_size=2 logging_steps=2 "$@"
}

# Fails unless each merged directory has what llama.cpp's converter demands.
converts() { "$root/tests/lib/check_llamacpp.pl" "$golden/llamacpp-list.json" "$@"; }

# Waits until a command succeeds, because a program in the background does its part. A minute at
# most.
until_true() { # COMMAND...
    local try
    for try in $(seq 1200); do
        "$@" 2> /dev/null && return
        sleep 0.05
    done
    echo "waited in vain: $*" >&2
    return 1
}

# True if a run's log has a line of that step or of a later one.
has_step() { # RUN STEP
    # It is asked twenty times a second, so it loads no module.
    perl -e 'my $n = shift; while (<STDIN>) { exit 0 if /^\{"step":(\d+),.*\}\n/ && $1 >= $n } exit 1' \
        "$2" < "$1/trainer_log.jsonl"
}
