load helper

# A rule that nothing breaks: the command finds no line. (bats does not see that `! command` fails, but at a test's end.)
none() { # COMMAND, as a shell reads it
    local found
    found=$(bash -c "$1" || true)
    [ -z "$found" ] || { echo "$found"; false; }
}

@test "house: a rule that is broken is seen" {
    none "echo | grep x"
    run ! none "echo x | grep x"
    [ "$output" = x ]
    # No other guard of the tests is one that cannot fail: `! command`, but at a test's end.
    perl -ne 'print "$ARGV: $before" if $before && !/^\}/; $before = /^\s*! / ? $_ : ""; close ARGV if eof' "$root"/tests/cli/*.bats > guards
    [ ! -s guards ] || { cat guards; false; }
}

@test "house: arrows point down only" {
    cd "$root"
    none "grep -nE '#include \"[^\"]*(llama|tools|kernels)/' lib/common/*.[ch]"
    none "grep -nE '#include \"[^\"]*tools/' lib/llama/*.[ch]"
    none "grep -nE '#include \"[^\"]*(llama|tools)/' kernels/*.[ch] kernels/cpu/*.[ch]"
    none "grep -nE '#include \"[^\"]*lib/common/' kernels/*.[ch] kernels/cpu/*.[ch] | grep -vE 'common/(fail|dtype|bf16|pool|philox|free_memory)\.h'"
    none "grep -nE '#include \"[^\"]*(die|opt|progress)\.h\"' lib/llama/*.[ch] kernels/*.[ch] kernels/cpu/*.[ch]"
    none "grep -nE '#include \"[^\"]*cpu/' lib tools -r"
}

@test "house: only programs print and exit" {
    cd "$root"
    none "grep -nE '\b(exit|abort|printf|puts|fprintf)\(|\bstderr\b' lib/llama/*.c kernels/*.c kernels/cpu/*.c"
    none "grep -nE '\b(exit|printf|puts|fprintf)\(|\bstderr\b' lib/common/*.c | grep -vE '^lib/common/(die|opt|progress)\.c:'"
    none "grep -nE '\b(strcpy|strcat|sprintf|strtok|atoi|atof|gets|rand)\(' lib kernels tools tests -r --include='*.[ch]'"
}

@test "house: handlers of signals have a stack of their own" {
    cd "$root"
    none "grep -nE '\b(sigaction|signal)\(' lib tools kernels -r --include='*.[ch]' | grep -vE 'SIG_DFL|lib/common/signals\.c'"
}

@test "house: every header compiles alone" {
    cd "$root"
    for header in lib/*/*.h kernels/*.h tools/*/*.h; do
        echo "#include \"$header\"" | gcc -std=gnu11 -D_GNU_SOURCE -I. -Wall -Werror -Wno-unused -fsyntax-only -x c -
    done
}

@test "house: manual pages have the options that the programs print, and no lint" {
    cd "$root"
    for tool in tokenize pack quantize train merge ppl generate; do
        "$BIN/$tool" --help-man > "$BATS_TEST_TMPDIR/printed"
        sed -n '/^\.Sh OPTIONS/,/^\.Sh STREAMS/p' tools/$tool/$tool.1 | sed '1d;$d' | diff - "$BATS_TEST_TMPDIR/printed"
        [ -z "$(mandoc -T lint -W warning tools/$tool/$tool.1)" ]
        [ "$("$BIN/$tool" --help | sed -n 3p)" = Example: ]
    done
}

@test "house: the manual pages' examples run" {
    make_base
    lora run --quiet
    for tool in tokenize pack quantize train merge ppl generate; do
        sed -n '/^\.Sh EXAMPLES/,/^\.Ed/p' "$root/tools/$tool/$tool.1" | grep -v '^\.' > example.sh
        [ -s example.sh ]
        mkdir "in-$tool"
        (cd "in-$tool" && cp -r ../run . && rm -f run/trainer_log.jsonl && for f in base docs.jsonl docs.tok tokenizer.model docs.smp; do
            case $f in tokenizer.model) ln -s ../tok/tokenizer.model . ;; docs.smp) ln -s ../32.smp docs.smp ;; *) ln -s ../$f . ;; esac; done
            cp ../lora.yaml . ; [ $tool = quantize ] || ln -s ../base.nf4 .
            [ $tool != tokenize ] || rm docs.tok
            [ $tool != pack ] || rm docs.smp
            [ $tool != train ] || rm -r run
            [ $tool != merge ] || { rm -r run; (cd .. && lora run-base --quiet model_name_or_path=base quantization=none); cp -r ../run-base run; }
            bash -euo pipefail ../example.sh > /dev/null)
    done
}

@test "house: no file is left behind, none is too long" {
    cd "$root"
    for f in lib/*/*.c kernels/*.c kernels/cpu/*.c tools/*/*.c; do
        [ "$(wc -l < "$f")" -le 520 ] || { echo "$f"; false; }
    done
    for f in tools/*/main.c; do [ "$(wc -l < "$f")" -le 130 ] || { echo "$f"; false; }; done
}
