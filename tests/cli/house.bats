load helper

# Runs tests/house on the tree that small_tree made.
house() { BUILD="$PWD/built" "$root/tests/house" tree; }

# Copies a small part of the tree, with its objects. It keeps every rule.
small_tree() {
    mkdir -p tree/docs tree/lib tree/kernels/cpu tree/kernels/cuda built/lib
    cp -r "$root"/lib/{common,stream,cli,ranks} tree/lib
    cp "$root"/docs/architecture.md tree/docs
    cp -r "$BUILD"/lib/{common,stream,cli,ranks} built/lib
    run -0 house
    [ -z "$output" ]
}

# Plants a breach into a file and fails unless this breach is found. Then it restores the file.
found() { # PLACE RULE FILE TEXT: TEXT is added to the end of FILE, which may be new
    [ ! -e "tree/$3" ] || cp "tree/$3" before
    printf "$4" >> "tree/$3"
    run -1 house
    [[ "${lines[0]}" == "$1"*": $2: "* ]] || { echo "$output"; false; }
    [[ "$output" == *"house: 1 breach"* ]] || { echo "$output"; false; }
    rm "tree/$3"
    [ ! -e before ] || mv before "tree/$3"
}

@test "house: the source tree keeps its rules" {
    BUILD="$BUILD" run -0 "$root/tests/house" "$root"
}

@test "house: a file that uses a higher layer is found by its includes and by its symbols" {
    small_tree
    found lib/stream/wanted.c: rooms lib/stream/wanted.c '#include "lib/cli/opt.h"\n'
    found lib/stream/wanted.c: rooms lib/stream/wanted.c '#include "frames.h"\n'
    found lib/common/size.h: rooms lib/common/size.h '#include "lib/stream/frames.h"\n'
    # Only the symbol shows this breach, because the call needs no include.
    echo 'void note(const char *format, ...); void size_told(void) { note("x"); }' > size.c
    cp built/lib/common/size.o before.o
    gcc -c size.c -o built/lib/common/size.o
    run -1 house
    [[ "${lines[0]}" == "lib/common/size.c: rooms: uses note of lib/cli/die: "* ]]
    mv before.o built/lib/common/size.o
    # The arrows of this table form a cycle.
    sed -i 's/^| `lib\/common` | [^|]* |/| `lib\/common` | `lib\/stream` |/' \
        tree/docs/architecture.md
    run -1 house
    [[ "$output" == "docs/architecture.md: rooms: "*"lead back to it"* ]]
    rm tree/docs/architecture.md
    run -2 house
}

@test "house: a name that lacks its file's prefix, or that two layers define, is found" {
    small_tree
    found lib/common/fail.h: names lib/stream/frames.h 'struct fail { int status; };\n'
    found lib/common/fail.h: names lib/stream/frames.h 'enum { STATUS_FAILED };\n'
    cp built/lib/common/size.o before.o
    echo 'void told(void) {}' > size.c
    gcc -c size.c -o built/lib/common/size.o
    run -1 house
    [[ "${lines[0]}" == "lib/common/size.c: names: told begins neither with "* ]]
    echo 'void frames_next(void) {} struct size_text { int x; }; void size_text_of(void) {}' > \
        size.c
    gcc -c size.c -o built/lib/common/size.o
    run -1 house
    [[ "$output" == *"external name frames_next also stands in lib/stream/frames.c"* ]]
    [[ "$output" != *size_text_of* ]]
}

@test "house: lines, functions and files that are too long are found" {
    small_tree
    long=$(printf 'a%.0s ' {1..51})
    for file in lib/common/size.c lib/common/size.h kernels/cuda/head.cu Makefile tests.mk \
        report.pl page.md page.1; do
        found "$file" lengths "$file" "\n/* $long */\n"
    done
    found new.bats lengths new.bats "$long\n"
    found script lengths script "#!/bin/bash\n$long\n"
    # These are allowed: a line with fewer columns than bytes, a row of a table, text in quotes, one
    # long word.
    printf '/* %s */\n' "$(printf '→%.0s' {1..94})" > tree/lib/common/rows.h
    printf '| %s |\n%s\n' "$long" "$(printf 'a%.0s' {1..101})" > tree/rows.md
    printf 'says "%s"\n' "$long" > tree/rows.bats
    run -0 house
    body=$(printf '    size_text(1);\\n%.0s' {1..80})
    found lib/common/size.c: lengths lib/common/size.c "void size_told(void)\n{\n$body}\n"
    found lib/common/size.c lengths lib/common/size.c "$(printf '\\n%.0s' {1..520})"
}

@test "house: an operation that one backend lacks, or has in a file of another name, is found" {
    small_tree
    printf '/* ---- swiglu ---- */\nvoid swiglu_fwd(struct device *dev, struct mat y);\n' > \
        tree/kernels/ops.h
    for file in cpu/swiglu.c cuda/swiglu.cu; do
        printf 'void swiglu_fwd(struct device *dev, struct mat y)\n{\n}\n' > tree/kernels/$file
    done
    run -0 house
    mv tree/kernels/cuda/{swiglu,gate}.cu
    run -1 house
    [[ "${lines[0]}" == \
        "kernels/ops.h:2: operations: swiglu_fwd is not defined in kernels/cuda/swiglu.cu" ]]
}

@test "house: printing, bare numbers, guards that cannot fail and calls that cannot report are found" {
    small_tree
    for call in 'exit(1)' 'printf("x")' 'puts("x")' 'perror("x")'; do
        found lib/common/size.c: speech lib/common/size.c "static void tell(void) { $call; }\n"
    done
    for number in 'n / 64' '(n + 63) / 64' 'n / 256' '16384'; do
        found lib/common/size.c: numbers lib/common/size.c "static int n = absmax + $number;\n"
    done
    for call in 'strcpy(a, b)' 'atoi(a)' 'signal(SIGINT, stop)' 'sigaction(SIGINT, &a, NULL)' \
        'a = realloc(a, 2)' 'a = reallocarray(a, 2, 8)'; do
        found lib/common/size.c: calls lib/common/size.c "static void use(void) { $call; }\n"
    done
    found new.bats:1 guards new.bats '! grep x y\n'
    # These are no breaches: comments, texts, absmax without a number.
    printf '/* exit(1), 64 absmax */\nstatic const char *text = "printf(64 absmax)";\n' >> \
        tree/lib/common/size.c
    run -0 house
}

@test "house: every header compiles alone" {
    cd "$root"
    # A header that a source file includes first is compiled alone in every build.
    first=$'\n'$(grep -m 1 '^#include' lib/*/*.c model/*.c tools/*/*.c)$'\n'
    for header in lib/*/*.h kernels/*.h model/*.h tools/*/*.h; do
        [[ "$first" != *$'\n'"${header%.h}.c:#include \"$header\""$'\n'* ]] || continue
        echo "#include \"$header\"" | gcc -std=gnu11 -D_GNU_SOURCE -I. -Wall -Werror -Wno-unused \
            -fsyntax-only -x c -
    done
}

@test "house: manual pages have the options that the programs print, and mandoc finds no fault in them" {
    cd "$root"
    for tool in tokenize pack quantize train merge ppl generate needle; do
        "$BIN/$tool" --help-man > "$BATS_TEST_TMPDIR/printed"
        sed -n '/^\.Sh OPTIONS/,/^\.Sh STREAMS/p' tools/$tool/$tool.1 | sed '1d;$d' | \
            diff - "$BATS_TEST_TMPDIR/printed"
        # The text of an option begins with a word that may have a capital letter, so not with
        # "auto, cpu".
        sed -n '/^\.It Fl .-help , /d;/^\.It Fl/{n;p}' "$BATS_TEST_TMPDIR/printed" \
            > "$BATS_TEST_TMPDIR/texts"
        run ! grep -vE "^[A-Z][A-Za-z']*[ ;]" "$BATS_TEST_TMPDIR/texts"
        [ -z "$(mandoc -T lint -W warning tools/$tool/$tool.1)" ]
        [ "$("$BIN/$tool" --help | sed -n 3p)" = Example: ]
        # --help prints the same text in lines of 80 columns, except for single long words.
        "$BIN/$tool" --help | sed '1,/^Options/d' > "$BATS_TEST_TMPDIR/help"
        [ -z "$(awk 'length > 80 && NF > 1' "$BATS_TEST_TMPDIR/help")" ]
        tr -s ' \n' ' ' < "$BATS_TEST_TMPDIR/help" > "$BATS_TEST_TMPDIR/joined"
        while IFS= read -r text; do
            grep -qF -- "${text:1:-1}" "$BATS_TEST_TMPDIR/joined" || { echo "$text"; false; }
        done < "$BATS_TEST_TMPDIR/texts"
    done
}

@test "house: the manual pages' examples run" {
    make_base
    lora run --quiet
    for tool in tokenize pack quantize train merge ppl generate needle; do
        sed -n '/^\.Sh EXAMPLES/,/^\.Ed/p' "$root/tools/$tool/$tool.1" | grep -v '^\.' > example.sh
        [ -s example.sh ]
        mkdir "in-$tool"
        (cd "in-$tool" && cp -r ../run . && rm -f run/trainer_log.jsonl &&
            for f in base docs.jsonl docs.tok tokenizer.model docs.smp; do
            case $f in tokenizer.model) ln -s ../tok/tokenizer.model . ;; \
                docs.smp) ln -s ../32.smp docs.smp ;; *) ln -s ../$f . ;; esac; done
            cp ../lora.yaml . ; [ $tool = quantize ] || ln -s ../base.nf4 .
            [ $tool != tokenize ] || rm docs.tok
            [ $tool != pack ] || rm docs.smp
            [ $tool != train ] || rm -r run
            [ $tool != merge ] || { rm -r run; (cd .. &&
                lora run-base --quiet model_name_or_path=base quantization=none); \
                cp -r ../run-base run; }
            bash -euo pipefail ../example.sh > /dev/null)
    done
}

@test "house: a command of a test that fails ends the test, and its line is shown" {
    cat > failing.bats <<TESTS
load $root/tests/cli/helper
both() { echo "a *"; echo; echo b >&2; return 3; }
TESTS
    # bats would take a line that begins with @test for a test of this file.
    sed 's/^test /@&/' >> failing.bats <<'TESTS'
test "parts" {
    run -3 --separate-stderr both
    [[ "$output" == "a *" && "$stderr" == b && "${#stderr_lines[@]}" == 1 && $status == 3 ]]
    run both
    [[ "${#lines[@]}" == 2 && "${lines[0]}" == "a *" && "$output" == $'a *\n\nb' ]]
    run ! false
}
test "status" { run -2 both; }
test "no failure" { run ! true; }
test "condition" {
    [[ a == a ]]
    [[ a == b ]]
    true
}
test "function" {
    run false
    both
}
test "option" { run --no-such-option true; }
TESTS
    run -1 bats --tap failing.bats
    [ "$(grep -c '^ok ' <<< "$output")" = 1 ]
    [[ "$output" == *"ok 1 parts"*"line 10)"*"status 3 instead of 2: both"*"line 11)"* ]]
    [[ "$output" == *"line 14)"*'[[ a == b ]]'*"line 2,"*"line 19)"*"unknown option --no-such"* ]]
}
