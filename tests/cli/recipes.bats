load helper

# Makes eight samples. With two samples in an update, four updates are one pass over them.
make_eight() {
    make_base
    pack --quiet --context 32 --strategy truncate --samples 8 docs.tok -o eight.smp
    pack --quiet --context 32 --strategy truncate --samples 2 --seed 1 docs.tok -o two.smp
    printf '%s\n' 'method: lora' 'model_name_or_path: base.nf4' 'train_file: eight.smp' \
        'lora_rank: 2' 'learning_rate: 0.01' \
        'per_device_train_batch_size: 2' 'save_total_limit: null' 'lr_scheduler_type: constant' > \
        r.yaml
}

# steps_with prints the steps of those lines of a log that have the field. checkpoints prints the
# steps of a run's checkpoints.
steps_with() { perl -MJSON::PP \
    -e 'my $k = shift; print join " ", map { $_->{step} } grep { exists $_->{$k} } map { decode_json($_) } <STDIN>' \
    "$2" < "$1/trainer_log.jsonl"; }
checkpoints() { (cd "$1" && ls -d checkpoint-* 2> /dev/null | sed 's/checkpoint-//' | sort -n | \
    tr '\n' ' ' | sed 's/ $//'); }

@test "recipes: logs, evaluations and checkpoints come after the same updates as in Hugging Face's Trainer" {
    make_eight
    while IFS='|' read -r settings logs evaluations saved; do
        rm -rf out
        train r.yaml output_dir=out eval_file=two.smp eval_on_start=false $settings --quiet \
            2> said || { cat said; false; }
        last=$(steps_with out loss | sed 's/.* //')
        # Unlike the Trainer, train also logs the last update, unless logging_strategy is no.
        [[ "$settings" == *logging_strategy=no* || " $logs " == *" $last "* ]] || logs="$logs $last"
        [ "$(steps_with out loss)" = "${logs# }" ] ||
            { echo "$settings: logs $(steps_with out loss), not $logs"; false; }
        [ "$(steps_with out eval_loss)" = "$evaluations" ] ||
            { echo "$settings: evaluations $(steps_with out eval_loss), not $evaluations"; false; }
        [ "$(checkpoints out)" = "$saved" ] ||
            { echo "$settings: checkpoints $(checkpoints out), not $saved"; false; }
    done < <(tr '\t' '|' < "$golden/recipe/flow.tsv")
    [ "$(wc -l < "$golden/recipe/flow.tsv")" -ge 8 ]
}

@test "recipes: logging, evaluation and checkpoints change no bit of the training" {
    make_eight
    train r.yaml output_dir=a max_steps=6 --quiet
    train r.yaml output_dir=b max_steps=6 eval_file=two.smp eval_strategy=epoch \
        save_strategy=epoch logging_strategy=epoch logging_first_step=true --quiet
    train r.yaml output_dir=c num_train_epochs=1.5 eval_file=two.smp eval_strategy=steps \
        eval_steps=0.5 save_steps=0.2 report_to=[tensorboard] --quiet
    cmp a/adapter_model.safetensors b/adapter_model.safetensors
    cmp a/adapter_model.safetensors c/adapter_model.safetensors
}

@test "recipes: save_strategy best keeps the checkpoint of each evaluation that finds a better model" {
    make_eight
    train r.yaml output_dir=out max_steps=6 eval_file=two.smp eval_strategy=steps eval_steps=1 \
        save_strategy=best metric_for_best_model=loss --quiet
    perl -MJSON::PP \
        -e 'my @best; for (map { decode_json($_) } <STDIN>) { push @best, $_->{step} if $_->{step} && exists $_->{eval_loss} && $_->{best_step} == $_->{step} } print "@best"' \
        < out/trainer_log.jsonl > best
    [ "$(checkpoints out)" = "$(cat best)" ]
    [ -s best ]
}

@test "recipes: resume_from_checkpoint: true resumes a run, and is refused if there is no checkpoint" {
    make_eight
    run --separate-stderr -2 train r.yaml output_dir=out max_steps=4 resume_from_checkpoint=True
    [[ "$stderr" == \
        *"out: resume_from_checkpoint: true, but no checkpoint there is complete: auto would begin at step 0" ]]
    train r.yaml output_dir=out max_steps=4 resume_from_checkpoint=auto --quiet
    train r.yaml output_dir=whole max_steps=6 --quiet
    echo 'resume_from_checkpoint: True' >> r.yaml
    run --separate-stderr -0 train r.yaml output_dir=out max_steps=6
    [[ "$stderr" == *"resumed from out/checkpoint-4: going on with step 5"* ]]
    cmp out/adapter_model.safetensors whole/adapter_model.safetensors
}

@test "recipes: a fraction as warmup_steps gives the same bits as warmup_ratio" {
    make_eight
    train r.yaml output_dir=a max_steps=6 lr_scheduler_type=cosine warmup_ratio=0.3 --quiet
    train r.yaml output_dir=b max_steps=6 lr_scheduler_type=cosine warmup_steps=0.3 --quiet
    train r.yaml output_dir=c max_steps=6 lr_scheduler_type=cosine warmup_steps=2 --quiet
    cmp a/adapter_model.safetensors b/adapter_model.safetensors
    cmp a/adapter_model.safetensors c/adapter_model.safetensors
    run --separate-stderr -0 train r.yaml --print-config output_dir=x warmup_steps=0.3
    [[ "$output" == *$'\nwarmup_steps: 0 # default\nwarmup_ratio: 0.3 # command line\n'* ]]
}

@test "recipes: the log counts all computed tokens as tokens, and learned ones as targets, also after a resume" {
    make_base
    perl -MForeignStream -e '
        my $s = ForeignStream->new(kind => "samples", tokenizer => { digest => "", vocab_size => 400, bos => 1, eos => 2 }, dtype => "u16",
            add_bos => ForeignStream::no(), add_eos => ForeignStream::no(), context => 16, strategy => "split", seed => 0);
        for my $n (1 .. 8) { $s->add(tokens => ForeignStream::u16(map { 3 + ($n * 31 + $_ * 7) % 397 } 1 .. 16), documents => ForeignStream::u32(16),
            targets => ForeignStream::u32(8, 12), source => "chat") }
        $s->close' > chat.smp
    echo 'method: full' > s.yaml
    all="model_name_or_path=base train_file=chat.smp eval_file=chat.smp attention=full learning_rate=0.001 per_device_train_batch_size=2 logging_steps=1 --quiet"
    train s.yaml output_dir=out $all max_steps=3
    train s.yaml output_dir=out $all max_steps=5
    perl -MJSON::PP -e 'for (map { decode_json($_) } <STDIN>) {
        die "$_->{tokens} $_->{targets}" if exists $_->{loss} && ($_->{tokens} != 32 * $_->{step} || $_->{targets} != 8 * $_->{step});
        die "$_->{eval_tokens}" if exists $_->{eval_loss} && ($_->{eval_tokens} != 128 || $_->{eval_targets} != 32) }' \
            < out/trainer_log.jsonl
    [ "$(steps_with out loss)" = "1 2 3 4 5" ]
}

@test "recipes: all faulty keys of a recipe and of the command line are reported at once" {
    cat > x <<'YAML'
method: lora
bogus: 1
learning_rate: fast
max_steps: 4
save_strategy: often
max_steps: 5
load_in_8bit: true
YAML
    run --separate-stderr -2 train x seed=-1 train_file=a lora_rnk=4
    faults=("x:2:1: unknown key 'bogus': --list-keys prints all keys"
        "x:3:16: learning_rate: 'fast' is not a number of at least 0"
        "x:5:16: save_strategy: 'often' is not one of steps|epoch|best|no"
        "x:6:1: key 'max_steps' occurs twice"
        "x:7:15: load_in_8bit: "
        "seed: '-1' is not a count"
        "unknown key 'lora_rnk': did you mean lora_rank?")
    [ "${#stderr_lines[@]}" = "${#faults[@]}" ]
    for i in "${!faults[@]}"; do
        [[ "${stderr_lines[i]}" == "train: ${faults[i]}"* ]]
    done
    # Without a fault in the recipe, one in the command line is enough; invalid YAML ends reading.
    echo 'method: lora' > y
    run --separate-stderr -2 train y seed=-1
    [ "$stderr" = "train: seed: '-1' is not a count" ]
    printf 'bogus: 1\nb: [\n' > y
    run --separate-stderr -2 train y seed=-1
    [ "${#stderr_lines[@]}" = 2 ]
    [[ "${stderr_lines[0]}" == "train: y:3:1: did not find expected node content"* ]]
    # A file that is no recipe gives twenty lines, and not hundreds.
    seq 100 | sed 's/^/k/; s/$/: 1/' > y
    run --separate-stderr -2 train y
    [ "${#stderr_lines[@]}" = 20 ]
    [ "${stderr_lines[19]}" = "train: y:20:1: unknown key 'k20': --list-keys prints all keys" ]
}

@test "recipes: keys of other programs are understood or answered, in files and on the command line" {
    make_base
    printf '%s\n' 'base_model: base.nf4' 'train_file: 32.smp' 'adapter: qlora' \
        'load_in_4bit: true' 'lora_r: 2' 'lora_alpha: 4' 'lora_target_linear: true' \
        'sequence_len: 32' 'micro_batch_size: 2' 'num_epochs: 1' 'max_steps: 2' \
        'optimizer: adamw_torch' 'lr_scheduler: constant' 'learning_rate: 2e-4' \
        's2_attention: true' 'bf16: false' 'wandb_project: mine' 'wandb_entity:' \
        'gradient_checkpointing: true' > axolotl.yaml
    run --separate-stderr -0 train axolotl.yaml output_dir=a
    [[ "$stderr" == \
        *"train: recipe: wandb_project has no meaning here: ignored (nothing is uploaded: see report_to)"* \
        && "$stderr" != *wandb_entity* ]]
    printf '%s\n' 'method: lora' 'quantization: nf4' > ours.yaml
    train ours.yaml output_dir=b model_name_or_path=base.nf4 train_file=32.smp lora_rank=2 \
        lora_alpha=4 target_modules=all-linear \
        max_seq_length=32 per_device_train_batch_size=2 max_steps=2 lr_scheduler_type=constant \
        learning_rate=2e-4 attention=s2 report_to=[none] --quiet
    cmp a/adapter_model.safetensors b/adapter_model.safetensors
    run --separate-stderr -2 train axolotl.yaml output_dir=c dataset=alpaca
    [ "${stderr_lines[-1]}" = \
        "train: dataset (of QLoRA, LLaMA-Factory) is not a key here: train_file: samples, which tokenize and pack make" ]
    ln -s "$BIN/train" longqlora-train
    run --separate-stderr -2 ./longqlora-train axolotl.yaml output_dir=c dataset=alpaca
    [[ "${stderr_lines[-1]}" == *": samples, which ./longqlora-tokenize and ./longqlora-pack make" ]]
    run --separate-stderr -2 train axolotl.yaml output_dir=c --lora_r 8
    [[ "$stderr" == "train: --lora_r is a key of recipes: write lora_rank=8"* ]]
    run --separate-stderr -2 train axolotl.yaml learning_rate 0.1
    [[ "${stderr_lines[-1]}" == \
        "train: 'learning_rate' is not KEY=VALUE: write learning_rate=0.1, without spaces"* ]]
    for value in '= 0.1' '=0.1'; do
        # shellcheck disable=SC2086
        run --separate-stderr -2 train axolotl.yaml learning_rate $value
        [[ "${stderr_lines[-1]}" == *": write learning_rate=0.1, without spaces"* ]]
    done
    run --separate-stderr -2 train axolotl.yaml learning_rate lora_rank=8
    [[ "${stderr_lines[-1]}" == *": write learning_rate=VALUE, without spaces"* ]]
    run --separate-stderr -2 train axolotl.yaml learning_rate =
    [[ "${stderr_lines[-1]}" == *": write learning_rate=VALUE, without spaces"* ]]
    run --separate-stderr -2 train learning_rate=0.1 axolotl.yaml
    [[ "$stderr" == "train: no recipe is given: name a recipe.yaml first"* ]]
    for key in lr:learning_rate rank:lora_rank epochs:num_train_epochs; do
        run --separate-stderr -2 train axolotl.yaml "${key%:*}=1"
        [[ "${stderr_lines[-1]}" == \
            "train: unknown key '${key%:*}': did you mean ${key#*:}?"* ]]
    done
    run --separate-stderr -2 train axolotl.yaml output_dir=c --dataset alpaca
    [[ "$stderr" == \
        "train: --dataset is a key of QLoRA, LLaMA-Factory: train_file: samples, which tokenize and pack make"* ]]
    run --separate-stderr -0 train axolotl.yaml output_dir=c learning_rate=0 --dry-run
    [[ "$stderr" == *"learning_rate is 0: nothing is learned"* ]]
    run --separate-stderr -2 train axolotl.yaml output_dir=c lora_alpha=0
    [[ "${stderr_lines[-1]}" == "train: lora_alpha: 0 makes adapters that change nothing: "* ]]
    [ ! -e c ]
}

@test "recipes: what a recipe of another program leaves out or empty means what it means there" {
    make_base
    printf '%s\n' 'base_model: base' 'train_file: 32.smp' 'max_steps: 2' 'learning_rate: 1e-3' \
        > short.yaml
    cp short.yaml empty.yaml
    printf '%s\n' 'adapter:' 's2_attention:' 'lora_r:' 'lora_alpha:' 'lora_dropout:' \
        'lora_target_linear:' >> empty.yaml
    printf 'seed: 42\n' > ours.yaml
    train ours.yaml output_dir=whole model_name_or_path=base train_file=32.smp max_steps=2 \
        learning_rate=1e-3 method=full attention=full --quiet
    run --separate-stderr -0 train short.yaml output_dir=a
    [[ "$stderr" == \
        *"train: recipe: method: full, as in Axolotl without the key adapter (base_model is its key)"$'\n'* ]]
    [[ "$stderr" == \
        *"train: recipe: attention: full, as in Axolotl without a key for it (base_model is its key)"$'\n'* ]]
    train empty.yaml output_dir=b --quiet
    cmp whole/model.safetensors a/model.safetensors
    cmp whole/model.safetensors b/model.safetensors
    run --separate-stderr -2 train short.yaml output_dir=c lora_rank=2
    [[ "$stderr" == "train: method is missing: base_model is a key of Axolotl, which trains every"* ]]
    run --separate-stderr -2 train empty.yaml output_dir=c adapter=lora lora_target_linear=true \
        lora_dropout=0
    [ "${stderr_lines[-1]}" = \
        "train: empty.yaml:7: lora_rank has no value: write one, or leave the key out" ]
    # The printed recipe has the same meaning, and --verify understands the recipe in the same way.
    train short.yaml output_dir=a --print-config > printed.yaml
    grep -qx 'method: full # default of Axolotl' printed.yaml
    train printed.yaml output_dir=d --quiet
    cmp whole/model.safetensors d/model.safetensors
    train --verify a short.yaml > verified
}

@test "recipes: what Axolotl rounds and clips in another way is said at the start" {
    make_base
    printf '%s\n' 'base_model: base.nf4' 'train_file: 32.smp' 'adapter: qlora' 'lora_r: 2' \
        'lora_target_linear: true' 'lr_scheduler: cosine' 'learning_rate: 2e-4' \
        'num_epochs: 1000' > axolotl.yaml
    says() { # KEYS: what the run says about the warm-up and the clipping
        # shellcheck disable=SC2086
        run --separate-stderr -0 train axolotl.yaml --dry-run $1
        grep -v ' recipe: ' <<< "$stderr" | grep -e warm-up -e max_grad_norm || true
    }
    # After the keys: the steps of the warm-up, all steps, and the warm-up in Axolotl.
    while read -r steps keys here there; do
        said=$(says "max_steps=$steps $keys")
        [ "$said" = "train: the warm-up has $here of $steps steps, in Axolotl $there:$(
            ) warmup_steps=$there warmup_ratio=0 does as Axolotl" ] || { echo "$said"; false; }
        [ -z "$(says "max_steps=$steps warmup_steps=$there warmup_ratio=0")" ]
    done << 'END'
35 warmup_ratio=0.1 4 3
19 warmup_ratio=0.05 1 0
20 warmup_ratio=0.05 1 2
20 warmup_steps=1 1 2
END
    for keys in 'max_steps=40 warmup_ratio=0.1' 'max_steps=15 warmup_ratio=0.1' \
        'max_steps=20 warmup_steps=2'; do
        [ -z "$(says "$keys")" ]
    done
    [ "$(says 'max_steps=20 max_grad_norm=0')" = "train: max_grad_norm: 0 means no clipping here;$(
        ) some versions of Axolotl clip to 1 then: max_grad_norm: 1 does as these" ]
    # Axolotl takes warmup_ratio of the steps of num_epochs if max_steps has more of them, and with
    # sample_packing an epoch has only whole steps. Ten samples are two and a half steps.
    pack --quiet --context 32 --strategy truncate --samples 10 docs.tok -o ten.smp
    echo 'gradient_accumulation_steps: 4' >> axolotl.yaml
    ten() { # KEYS: what the run of ten samples says about the steps and the warm-up
        # shellcheck disable=SC2086
        run --separate-stderr -0 train axolotl.yaml --dry-run train_file=ten.smp $1
        grep -e 'the run has' -e 'the warm-up has' <<< "$stderr" || true
    }
    [ "$(ten 'num_epochs=3 max_steps=200 warmup_ratio=0.5')" = "train: the warm-up has 100 of 200$(
        ) steps, in Axolotl 4: warmup_steps=4 warmup_ratio=0 does as Axolotl" ]
    [ -z "$(ten 'num_epochs=3 warmup_ratio=0.5')" ]
    [ -z "$(ten 'num_epochs=3 warmup_ratio=0.5 sample_packing=false')" ]
    [ "$(ten 'num_epochs=3 warmup_ratio=0.5 sample_packing=true')" = \
        "train: the run has 8 steps, in Axolotl 6, because an epoch has only whole steps there$(
            ) with sample_packing: max_steps=6 does as Axolotl"$'\n'"train: the warm-up has 4 of 8$(
            ) steps, in Axolotl 3: warmup_steps=3 warmup_ratio=0 does as Axolotl" ]
    [ -z "$(ten 'num_epochs=3 max_steps=6 warmup_ratio=0.5 sample_packing=true')" ]
    [ -z "$(ten 'num_epochs=0.4 warmup_ratio=0.5 sample_packing=true')" ]
    # A recipe of no other program gets none of these lines.
    echo 'warmup_ratio: 0.1' > ours.yaml
    run --separate-stderr -0 train ours.yaml --dry-run model_name_or_path=base.nf4 \
        train_file=32.smp max_steps=35 max_grad_norm=0
    [[ "$stderr" != *Axolotl* ]]
}

@test "recipes: in a recipe of another program that is silent on packing, documents see each other only where they do there" {
    make_base
    pack --quiet --context 32 --strategy concat docs.tok -o joined.smp
    printf '%s\n' 'model_name_or_path: base.nf4' 'train_file: joined.smp' 'max_steps: 2' \
        'learning_rate: 1e-2' 'lora_rank: 2' 'lora_alpha: 2' 'finetuning_type: lora' > lf.yaml
    train lf.yaml output_dir=apart document_mask=yes --quiet
    train lf.yaml output_dir=together document_mask=no --quiet
    run -1 cmp -s apart/adapter_model.safetensors together/adapter_model.safetensors
    while IFS='|' read -r keys same line; do
        rm -rf out
        # shellcheck disable=SC2086
        run --separate-stderr -0 train lf.yaml output_dir=out $keys
        cmp $same/adapter_model.safetensors out/adapter_model.safetensors
        [[ "$stderr" == *"train: recipe: document_mask: $line"* ]]
    done << 'END'
stage=sft|apart|yes, as in LLaMA-Factory without packing (finetuning_type is its key)
stage=pt|together|no, as in LLaMA-Factory, whose stage pt packs documents that see each other
neat_packing=false|apart|yes, as in LLaMA-Factory without packing (finetuning_type is its key)
stage=pt neat_packing=false|together|no, as in LLaMA-Factory, whose stage pt packs
END
}

@test "recipes: the documents' tables of keys are those that train prints" {
    train --list-keys > keys
    awk '/^$/ { exit } 1' keys > ours
    awk '/^$/ { part++; next } part == 1' keys > others
    awk '/^$/ { part++; next } part == 2' keys > defaults
    awk '/^\| key \| default/,0' "$root/docs/recipe.md" | diff ours -
    awk '/^\| key \| of/,0' "$root/docs/recipe-keys.md" | diff others -
    awk '/^\| key \| here/ { out = 1 } /^$/ { out = 0 } out' "$root/docs/coming-from.md" | \
        diff defaults -
    [ "$(wc -l < others)" -gt 200 ]
    [ "$(wc -l < defaults)" -gt 15 ]
    # What the table has of this program is what it does without a recipe. group_by_length is no key
    # of this program.
    : > none.yaml
    train none.yaml model_name_or_path=m train_file=t output_dir=o --print-config | \
        awk -F': | # ' '/# default$/ { gsub(/"/, "", $2); print $1 "=" $2 }' > values
    tail -n +3 defaults | grep -v '^| .group_by_length. | false |' | awk -F ' [|] ' \
        '{ gsub(/[|` ]/, "", $1); print $1 "=" $2 }' > listed
    [ -s listed ]
    sort values listed | uniq -d | diff - <(sort listed)
}

@test "recipes: a file of another kind is named as that kind, and UTF-16 with a byte order mark is read" {
    says() { # MESSAGE: what train says about the file x
        run --separate-stderr -2 train x
        [ "${stderr_lines[-1]}" = "train: $1" ] || { echo "$stderr" >&2; return 1; }
    }
    printf '{"text":"a"}\n{"text":"b"}\n' > x
    says \
        'x: JSON lines, where a recipe is needed: tokenize and pack make samples of them, for train_file'
    printf '<!DOCTYPE html>\n<html>' > x
    says 'x: a web page (HTML), where a recipe is needed: a download that failed may have left it'
    printf 'PAR1\x15\x04\x15\x00aaaaaaaaaa' > x
    says "x: a parquet file, where a recipe is needed: lines of 'key: value'"
    echo abc | zstd -qc > x
    says 'x: zstd, where a recipe is needed: samples are named by train_file'
    echo abc | gzip -c > x
    says 'x: gzip, where a recipe is needed: gzip -dc gives its content'
    printf 'model_name_or_path: a\n' | iconv -t UTF-16LE > x
    says 'x: text in UTF-16, where a recipe is needed: iconv -f UTF-16 -t UTF-8 makes UTF-8 of it'
    echo 'max_steps=4' > x
    says "x: not a list of 'key: value' lines (key=value is for the command line)"
    printf 'method: lora\nbogus: 1\n' | iconv -t UTF-16 > x
    says "x:2:1: unknown key 'bogus': --list-keys prints all keys"
}

@test "recipes: each recipe for YaRN doubles its model's context, fits a card of 24 GB, and trains" {
    make_base
    [ "$(echo "$root"/recipes/*-yarn.yaml | wc -w)" -eq 3 ]
    for recipe in "$root"/recipes/*-yarn.yaml; do
        shape=$(basename "$recipe" -yarn.yaml)
        train "$recipe" --dry-run --device cuda \
            model_name_or_path="$root/recipes/shapes/$shape.json" > plan
        grep -q '^   24 GB   fits ' plan
        # Two steps, as the first has rate 0.
        train "$recipe" model_name_or_path=base.nf4 train_file=16.smp output_dir="out-$shape" \
            max_seq_length=16 max_steps=2 lora_rank=2 gradient_accumulation_steps=1 --quiet
        tr -d ' \n' < "out-$shape/longqlora.json" | grep -q '"rope":{"type":"yarn","factor":2\.0,'
    done
}
