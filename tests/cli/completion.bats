load helper

tools="generate merge needle pack ppl quantize tokenize train"

# Prints what bash offers for the last word of a command line, one completion on each line. The
# arguments are the words as bash splits them: --a=b is three words.
offers() { # TOOL WORD...
    "$1" --help-completion | "$root/packaging/completion" "longqlora-$1" > completion
    bash -c 'set -uo pipefail
        source ./completion
        read -r _ _ _ _ function name < <(complete -p "$1")
        [ "$name" = "$1" ]
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        "$function" "$1" "${@: -1}" ""
        printf "%s\n" "${COMPREPLY[@]}"' bash "longqlora-$1" "${@:2}" 2> /dev/null | grep . || true
}
listed() { "$1" --help | sed -nE 's/^  (-[a-z], |    )(--[a-z-]*).*/\2/p'; }

@test "completion: each program's options are completed as its --help lists them" {
    for tool in $tools; do
        for begun in -- --d --m --to --h; do
            listed "$tool" | grep -e "^$begun" | sort > there || true
            offers "$tool" "$begun" | sort | diff there - || { echo "$tool $begun"; return 1; }
        done
        [ "$(listed "$tool" | wc -l)" -ge 7 ]
    done
    diff <(printf '%s\n' --dry-run --device | sort) <(offers train --d | sort)
    offers generate - | grep -qx -e -m
}

@test "completion: the possible values of an option are offered, after a space or after =" {
    [ "$(offers pack --strategy '' | tr '\n' ' ')" = "truncate split concat best-fit " ]
    [ "$(offers pack --strategy = s)" = split ]
    [ "$(offers pack --strategy =  | wc -l)" = 4 ]
    [ "$(offers pack a.tok --progress b)" = bar ]
    [ -z "$(offers pack --output '')" ]
    [ -z "$(offers pack -o s)" ]
    [ -z "$(offers pack --context 1)" ]
    # Values that an option suggests, although others are possible too.
    for tool in generate ppl train; do
        [ "$(offers $tool --device '' | tr '\n' ' ')" = "auto cpu cpu-bf16 cuda cuda-bf16 cuda-f16 " ]
        [ "$(offers $tool --device = cuda-f)" = cuda-f16 ]
    done
    for tool in generate merge ppl; do
        [ "$(offers $tool --rope '' | tr '\n' ' ')" = "none linear: ntk: dynamic: yarn: llama3: " ]
        [ "$(offers $tool --rope = y)" = yarn: ]
    done
    # After a value, and after an option without a value, options are offered again.
    [ "$(offers pack --context 16 --strat)" = --strategy ]
    [ "$(offers pack --quiet --strat)" = --strategy ]
}

@test "completion: the keys of recipes and their possible values are completed" {
    train --list-keys | awk '/^$/ { exit } 1' | grep -v '(ignored)' \
        | sed -n 's/^| `\([a-z_0-9]*\)`.*/\1=/p' | sort > there
    [ "$(wc -l < there)" -gt 50 ]
    offers train r.yaml '' | sort | diff there -
    [ "$(offers train r.yaml learning_)" = learning_rate= ]
    [ "$(offers train r.yaml save_strategy = e)" = epoch ]
    [ "$(offers train r.yaml bf16 = '' | tr '\n' ' ')" = "true false " ]
    [ "$(offers train r.yaml max_steps=3 gradient_checkpointing = a)" = auto ]
    [ "$(offers train r.yaml rope = '' | tr '\n' ' ')" = "auto none linear ntk dynamic yarn llama3 " ]
    # Files are offered for the recipe, and for a key whose value is a file.
    [ -z "$(offers train lear)" ]
    [ -z "$(offers train r.yaml train_file = s)" ]
}

@test "completion: no space follows what a value must follow" {
    # A compopt that prints takes the place of bash's, which works only while bash completes.
    spaced() { # TOOL WORD...
        "$1" --help-completion | "$root/packaging/completion" "longqlora-$1" > completion
        bash -c 'source ./completion
            compopt() { [ "$1 $2" != "-o nospace" ] || echo no; }
            read -r _ _ _ _ function name < <(complete -p "$1")
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            "$function" "$1" "${@: -1}" ""' bash "longqlora-$1" "${@:2}"
    }
    [ "$(spaced ppl --rope li)" = no ]
    [ "$(spaced train r.yaml learning_)" = no ]
    [ -z "$(spaced ppl --rope non)" ]
    [ -z "$(spaced ppl --device cu)" ]
    [ -z "$(spaced train r.yaml rope = li)" ]
}

@test "completion: make install writes a script for longqlora-TOOL; an invalid table is refused" {
    DESTDIR=$PWD/stage PREFIX=/usr "$root/packaging/install" pack train > /dev/null
    for tool in pack train; do
        "$tool" --help-completion | "$root/packaging/completion" "longqlora-$tool" > made
        cmp made "stage/usr/share/bash-completion/completions/longqlora-$tool"
    done
    echo 'no table' > table
    run ! "$root/packaging/completion" longqlora-pack < table
    [ "$output" = "completion: line 1: not a line that --help-completion prints" ]
}
