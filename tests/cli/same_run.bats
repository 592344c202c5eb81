load helper

# Compares 100 steps of LongQLoRA in the original's software (tests/golden/same_run.py) and in ours.

@test "train: every loss and every adapter matrix equals those of the original LongQLoRA" {
    quantize --quiet "$golden/same-run/base" -o base.nf4
    pack --quiet --from jsonl --context 64 "$golden/same-run/samples.jsonl" -o samples
    echo 'method: lora' > r.yaml
    train r.yaml model_name_or_path=base.nf4 train_file=samples output_dir=out max_steps=100 \
        rope=linear attention=s2 group=16 lora_rank=8 lora_alpha=16 \
        lora_dropout=0 seed=5 learning_rate=2e-3 lr_scheduler_type=constant_with_warmup \
        warmup_steps=20 max_grad_norm=0.3 \
        per_device_train_batch_size=1 gradient_accumulation_steps=8 logging_steps=1 --quiet
    perl -MJSON::PP -e '
        sub slurp { local $/; open my $f, "<:raw", $_[0] or die "$_[0]: $!"; <$f> }
        sub tensors {
            my $raw = slurp($_[0]); my $n = unpack "Q<", $raw; my $head = decode_json(substr $raw, 8, $n); my %t;
            for my $name (grep { $_ ne "__metadata__" } keys %$head) {
                my ($a, $b) = @{ $head->{$name}{data_offsets} };
                $t{$name} = [unpack "f<*", substr $raw, 8 + $n + $a, $b - $a];
            }
            return \%t;
        }
        my $golden = shift;
        my @theirs = @{ decode_json(slurp("$golden/losses.json")) };
        my @ours = map { decode_json($_)->{loss} } split /\n/, slurp("out/trainer_log.jsonl");
        die "steps" unless @ours == 100 && @theirs == 100;
        my $worst = 0;
        for (0 .. 99) { my $d = abs($ours[$_] - $theirs[$_]); $worst = $d if $d > $worst }
        my ($a, $b) = (tensors("out/adapter_model.safetensors"), tensors("$golden/adapter_model.safetensors"));
        die "tensors" unless join(" ", sort keys %$a) eq join(" ", sort keys %$b) && keys %$a == 28;
        my $far = 0;
        for my $name (sort keys %$b) {
            my ($d, $s) = (0, 0);
            for (0 .. $#{ $b->{$name} }) { $d += ($a->{$name}[$_] - $b->{$name}[$_]) ** 2; $s += $b->{$name}[$_] ** 2 }
            my $relative = sqrt($d / $s); $far = $relative if $relative > $far;
        }
        printf "# loss: from %.4f to %.4f, within %.2g; matrices within %.2g\n", $ours[0], $ours[99], $worst, $far;
        die "loss differs by $worst" unless $worst <= 1e-4;
        die "a matrix differs by $far" unless $far <= 1e-3' "$golden/same-run" >&3
}
