load helper

# Tests what differs between machines: libraries, packages, names of programs, places of
# installation, and missing GPUs.

# Skips the test if another build than the release is tested.
only_release() { [ "${FLAVOUR:-release}" = release ] || skip "of the release's programs"; }

@test "machines: each program is linked only with libraries that it uses" {
    only_release
    for tool in tokenize pack quantize train merge ppl generate needle; do
        # ldd -u names libraries of which nothing is used.
        [ -z "$(ldd -u "$BIN/$tool" | grep -v '^Unused')" ]
        readelf -d "$BIN/$tool" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' > "$tool"
        grep -q '^libzstd' "$tool"
    done
    grep -q '^libdnnl' train
    run ! grep -E '^lib(dnnl|gomp|edit|yaml)' tokenize pack needle
    run ! grep -E '^lib(edit|yaml)' quantize merge ppl
}

# ---- libraries and packages ----

# Makes substitutes for apt and dpkg, which answer from the files `have` and `installed`. So a test
# can choose the packages of a release.
stand_in_apt() {
    mkdir -p stand-in
    cat > stand-in/dpkg-query <<'SH'
#!/bin/bash
grep -qx "${@: -1}" "$FAKE/installed" && echo 'install ok installed'
SH
    cat > stand-in/apt-cache <<'SH'
#!/bin/bash
shift
for package; do
    if grep -qx "$package" "$FAKE/have"; then printf '%s:\n  Installed: (none)\n  Candidate: 1\n' "$package"
    elif [ "$package" = virtual ]; then printf 'virtual:\n  Installed: (none)\n  Candidate: (none)\n'; fi
done
SH
    cat > stand-in/apt-get <<'SH'
#!/bin/bash
echo "apt-get $*" >> "$FAKE/asked"
SH
    printf '#!/bin/bash\n"$@"\n' > stand-in/sudo
    chmod +x stand-in/*
    export FAKE=$PWD PATH=$PWD/stand-in:$PATH
    : > installed > asked
    mkdir -p tree/tests
    cp "$root/tests/install-deps" tree/tests/
}

@test "machines: make deps chooses packages that the release has, installs them, and names those that are missing" {
    only_release
    stand_in_apt
    printf '%s\n' '# comment' '[build] to build' 'gcc new-dev|old-dev virtual|real' \
        '[test] to test' 'bats gone' > tree/deps.txt
    printf '%s\n' gcc old-dev real bats > have
    run --separate-stderr -0 tree/tests/install-deps
    [ "$stderr" = "deps: this release has no package gone (to test)" ]
    grep -q '^apt-get install .* gcc old-dev real bats$' asked
    # If one of several alternatives is installed, no other one is requested, even if it comes first
    # and exists.
    printf 'new-dev\n' >> have
    printf 'gcc\nold-dev\n' > installed
    : > asked
    run --separate-stderr -0 tree/tests/install-deps build
    [ -z "$stderr" ]
    grep -q 'recommends real$' asked
    printf 'real\n' >> installed
    : > asked
    run --separate-stderr -0 tree/tests/install-deps build
    [ ! -s asked ]
    run --separate-stderr -2 tree/tests/install-deps bild
    [ "$stderr" = "deps: deps.txt has no list bild" ]
}

@test "machines: make deps installs the packages that the other targets need" {
    only_release
    # Prints the lists of packages that make with these targets would install.
    asked() { make -C "$root" --no-print-directory -n "$@" 2> /dev/null | \
        sed -n '/^tests\/install-deps/{s/^tests\/install-deps *//p;q}' | tr -s ' '; }
    [ "$(asked deps)" = "build reproduce test" ]
    [ "$(asked deps demo)" = "build reproduce" ]
    [ "$(asked deps test)" = "build reproduce test" ]
    [ "$(asked deps demo test)" = "build reproduce test" ]
    [ "$(asked deps lint)" = "build reproduce test" ]
    [ "$(asked deps all install)" = "build " ]
    [ "$(asked deps LISTS=test)" = "test" ]
}

@test "machines: a missing library is reported with the name of its package before anything is compiled" {
    only_release
    mkdir -p pc few
    for tool in bash cat mkdir dirname cut sed grep gcc cc as ld; \
        do ln -s "$(command -v $tool)" few/; done
    # Without pkg-config a library is found by compiling a line with its usual flags.
    run --separate-stderr -0 env PATH="$PWD/few" "$root/packaging/requirements" build found
    [[ "$(cat found.libs)" == \
        *-ldnnl*-lzstd*"-lz "*-llzma*-lmsgpack*-ljansson*-lyaml*-lxxhash*-lpcre2-8* ]]
    # This compiler finds no library.
    printf '#!/bin/sh\nexit 1\n' > few/nothing
    chmod +x few/nothing
    run --separate-stderr -1 env PATH="$PWD/few" CC=nothing "$root/packaging/requirements" \
        build none
    [[ "$stderr" == *"make: the library jansson is not here: install libjansson-dev"* ]]
    [[ "$stderr" == \
        *"make: the library msgpack is not here: install libmsgpack-c-dev, or libmsgpack-dev before Debian 13"* ]]
    [[ "$stderr" == *"make deps"* && "$stderr" != *libedit* ]]
    [ ! -e none.libs ]
    run --separate-stderr -1 env CC=nocc "$root/packaging/requirements" build none
    [[ "$stderr" == "make: the program nocc is not here: install gcc"* ]]
    # The names of libraries differ between releases.
    printf 'Name: m\nDescription: m\nVersion: 6\nLibs: -lmsgpack-of-13\n' > pc/msgpack-c.pc
    PKG_CONFIG_PATH=$PWD/pc "$root/packaging/requirements" build found
    grep -q -- '-lmsgpack-of-13' found.libs
    run --separate-stderr -1 env PATH="$PWD/few" "$root/packaging/requirements" reproduce
    [[ "$stderr" == *"make: the program spm_train is not here: install sentencepiece"* ]]
}

# ---- names ----

@test "machines: messages and help call the programs by the names under which they were started" {
    make_base
    mkdir installed
    for tool in train generate pack tokenize quantize merge ppl needle; do
        ln -s "$BIN/$tool" installed/longqlora-$tool
        ln -s "$BIN/$tool" installed/x
        [ "$(installed/longqlora-$tool --help | sed 's,installed/,,g; s/longqlora-//g')" = \
            "$("$tool" --help)" ]
        [[ "$(installed/longqlora-$tool --help)" == \
            "longqlora-$tool - "*"Usage: installed/longqlora-$tool "* ]]
        [[ "$(PATH=installed:$PATH longqlora-$tool --help)" == *"Usage: longqlora-$tool "* ]]
        [ "$(installed/longqlora-$tool --version)" = \
            "longqlora-$tool (longqlora) $("$BIN/$tool" --version | sed 's/.* //')" ]
        run --separate-stderr -2 installed/longqlora-$tool --zzz
        [ "$stderr" = "longqlora-$tool: unknown option --zzz (see longqlora-$tool --help)" ]
        run --separate-stderr -2 installed/x --zzz
        [ "$stderr" = "x: unknown option --zzz (see x --help)" ]
        run --separate-stderr -2 bash -c "exec -a '' '$BIN/$tool' --zzz"
        [ "$stderr" = "$tool: unknown option --zzz (see $tool --help)" ]
        rm installed/x
    done
    echo 'method: lora' > l.yaml
    run --separate-stderr -2 installed/longqlora-train l.yaml model_name_or_path=base \
        train_file=32.smp output_dir=x
    [[ "$stderr" == *"run installed/longqlora-quantize base -o base.nf4"* ]]
    run --separate-stderr -2 installed/longqlora-train l.yaml model_name_or_path=base.nf4 \
        train_file=docs.jsonl output_dir=x
    [[ "$stderr" == \
        *": installed/longqlora-tokenize --model tokenizer.model docs.jsonl | installed/longqlora-pack --context "* ]]
    run --separate-stderr -3 installed/longqlora-ppl -m base.nf4 -d base/model.safetensors
    [[ "$stderr" == "longqlora-ppl: "*"a stream of tokens, which installed/longqlora-tokenize makes" ]]
    run --separate-stderr -3 ppl -m base.nf4 -d base/model.safetensors
    [[ "$stderr" == "ppl: "*"a stream of tokens, which tokenize makes" ]]
}

@test "machines: no message contains a fixed name of a program" {
    only_release
    found=$PWD/found
    cd "$root"
    # Searches string literals for the name of a program that is used as a command. It begins the
    # literal or follows "run", a colon, a pipe or "which"; and an option, %s, "makes" or a pipe
    # comes after it. A name that begins the literal and has a colon after it is found too. The
    # usage and the example of --help are left out.
    find lib tools kernels -name '*.c' -o -name '*.h' | \
        xargs perl -0777 -ne 'my $tools = qr/(?:tokenize|pack|quantize|train|merge|ppl|generate|needle)/;
        s/\.(?:usage|example)\s*=\s*(?:"(?:[^"\\]|\\.)*"\s*)+//g;
        while (/"((?:[^"\\\n]|\\.)*)"/g) { my $text = $1;
            print "$ARGV: $text\n" if $text =~ /^(?:.*(?:run |: |\| |which ))?$tools (?:-|%s|makes|\|)/ || $text =~ /^$tools: \S+ \S/ }' \
                > "$found"
    [ ! -s "$found" ] || { cat "$found"; return 1; }
}

# ---- installing ----

# Runs the installation directly, without make, which would check what must be built.
places() { (cd "$root" && DESTDIR=$1 PREFIX=$2 packaging/install "${@:3}"); }
all_tools=(generate merge needle pack ppl quantize tokenize train)

@test "machines: install and uninstall work under a DESTDIR with a space, and touch nothing else" {
    only_release
    make_base
    dest="$PWD/a stage"
    mkdir -p "$dest/usr/local/bin"
    echo mine > "$dest/usr/local/bin/mine"
    find "$dest" > before
    places "$dest" /usr/local "${all_tools[@]}"
    in="$dest/usr/local"
    PATH=$in/bin:/usr/bin:/bin
    longqlora-tokenize --quiet -m tok/tokenizer.model docs.jsonl | \
        longqlora-pack --quiet --context 32 --strategy split > new.smp
    cmp new.smp 32.smp
    longqlora-train "$in/share/longqlora/recipes/llama2-7b-longqlora.yaml" \
        model_name_or_path=base.nf4 train_file=new.smp \
        output_dir=run max_seq_length=32 max_steps=1 lora_rank=4 --quiet
    longqlora-train "$in/share/longqlora/recipes/llama2-7b-longqlora.yaml" --dry-run --device cuda \
        model_name_or_path="$in/share/longqlora/recipes/shapes/llama3-8b.json" > plan
    grep -q '^   16 GB   fits' plan
    longqlora-merge --quiet --base base --adapter run -o merged --force-base
    # The example of --help names recipes that exist.
    eval "set -- $(longqlora-train --help | sed -n 4p)"
    [ -f "$2" ]
    for tool in "${all_tools[@]}"; do
        page=$in/share/man/man1/longqlora-$tool.1
        [ -z "$(mandoc -T lint -W warning "$page")" ]
        mandoc -T ascii "$page" | sed 's/.\x08//g' | grep -q "longqlora-$tool - "
    done
    PATH=$BIN:/usr/bin:/bin
    DESTDIR=$dest PREFIX=/usr/local "$root/packaging/install" --uninstall
    find "$dest" | diff before -
    [ "$(cat "$dest/usr/local/bin/mine")" = mine ]
    run --separate-stderr -1 env DESTDIR="$dest" PREFIX=/usr/local "$root/packaging/install" \
        --uninstall
    [[ "$stderr" == *"nothing is installed under this PREFIX and DESTDIR" ]]
    # make install and make uninstall run these commands.
    run -0 make -C "$root" -n install uninstall FLAVOUR=release NVCC= DESTDIR="$dest"
    [[ "$output" == *"packaging/install ${all_tools[*]}"*"packaging/install --uninstall"* ]]
    run --separate-stderr -2 env PREFIX=relative "$root/packaging/install" train
    [[ "$stderr" == *"PREFIX=relative: must begin with a slash" ]]
}

@test "machines: a file that somebody changed or put there is neither replaced nor removed" {
    only_release
    dest="$PWD/stage"
    mkdir -p "$dest/bin"
    echo mine > "$dest/bin/longqlora-pack"
    run --separate-stderr -1 places "$dest" / pack tokenize
    [[ "$stderr" == \
        "install: $dest/bin/longqlora-pack: not installed by make install, or changed since: "* ]]
    [ "$(find "$dest" -type f)" = "$dest/bin/longqlora-pack" ]
    rm "$dest/bin/longqlora-pack"
    # make install makes no links. So a link is somebody else's, wherever it leads, and stays.
    for to in /etc/passwd "$BIN/pack"; do
        ln -sf "$to" "$dest/bin/longqlora-pack"
        run ! places "$dest" / pack tokenize
        [ "$(readlink "$dest/bin/longqlora-pack")" = "$to" ]
    done
    rm "$dest/bin/longqlora-pack"
    places "$dest" / pack tokenize
    # Another installation has fewer programs. Files that are no longer part of it are removed, and
    # changed files stay.
    places "$dest" / pack
    [ ! -e "$dest/bin/longqlora-tokenize" ]
    echo '# mine' >> "$dest/share/longqlora/recipes/scratch.yaml"
    run ! places "$dest" / pack
    run --separate-stderr -0 env DESTDIR="$dest" PREFIX=/ "$root/packaging/install" --uninstall
    [ "$stderr" = \
        "install: $dest/share/longqlora/recipes/scratch.yaml: was changed since it was installed, so it is not removed" ]
    [ "$(find "$dest" -type f)" = "$dest/share/longqlora/recipes/scratch.yaml" ]
}

@test "machines: an equal file that was there before is kept by uninstall; folders that install made are removed" {
    only_release
    dest="$PWD/stage"
    mkdir -p "$dest/usr/bin"
    cp "$BIN/pack" "$dest/usr/bin/longqlora-pack"
    run --separate-stderr -0 places "$dest" /usr pack tokenize
    [ "$stderr" = \
        "install: $dest/usr/bin/longqlora-pack: was there already with the same content: it stays yours" ]
    run --separate-stderr -0 places "$dest" /usr pack tokenize # a second time
    DESTDIR=$dest PREFIX=/usr "$root/packaging/install" --uninstall
    [ "$(find "$dest" -type f)" = "$dest/usr/bin/longqlora-pack" ]
    # Three cases: a file where a folder must be, a folder where a file must be, an invalid list.
    echo mine > "$dest/usr/share"
    run --separate-stderr -1 places "$dest" /usr pack
    [ "$stderr" = \
        "install: $dest/usr/bin/longqlora-pack: was there already with the same content: it stays yours
install: $dest/usr/share: this is not a folder, but one is needed there: move it away" ]
    rm -r "$dest"
    mkdir -p "$dest/usr/bin/longqlora-pack"
    run --separate-stderr -1 places "$dest" /usr pack
    [ "$stderr" = \
        "install: $dest/usr/bin/longqlora-pack: this is a folder, but a file must be installed there: move it away" ]
    mkdir -p "$dest/usr/share/longqlora"
    echo 'my list' > "$dest/usr/share/longqlora/installed"
    run --separate-stderr -1 places "$dest" /usr tokenize
    [ "$stderr" = \
        "install: $dest/usr/share/longqlora/installed: this is not a list of installed files: move it away" ]
    run -1 env DESTDIR="$dest" PREFIX=/usr "$root/packaging/install" --uninstall
    [ "$(cat "$dest/usr/share/longqlora/installed")" = "my list" ]
    # A DESTDIR may be relative. Uninstall also removes the folders above it that install made.
    for dest in one/two/three "$PWD/four/five" ./six/; do
        (DESTDIR=$dest PREFIX=/usr "$root/packaging/install" pack > /dev/null)
        [ -x "$dest/usr/bin/longqlora-pack" ]
        (DESTDIR=$dest PREFIX=/usr "$root/packaging/install" --uninstall)
    done
    [ ! -e one ] && [ ! -e four ] && [ ! -e six ]
    # If the installation of a new version is interrupted, it can be repeated.
    cp -r "$root/packaging" "$root/tools" "$root/recipes" "$root/docs" "$root"/*.md .
    mkdir bin stand-in
    cp "$BIN/pack" "$BIN/tokenize" bin
    cp -r "$root/examples" .
    packages() { DESTDIR=$PWD/dest PREFIX=/usr packaging/install pack tokenize; }
    packages
    for tool in pack tokenize; do printf '#!/bin/sh\n' > bin/$tool; done
    printf '#!/bin/sh\ncase $* in *longqlora-tokenize) exit 1; esac\nexec /usr/bin/install "$@"\n' \
        > stand-in/install
    chmod +x stand-in/install
    run -1 env PATH="$PWD/stand-in:$PATH" DESTDIR="$PWD/dest" PREFIX=/usr packaging/install pack \
        tokenize
    packages
    DESTDIR=$PWD/dest PREFIX=/usr packaging/install --uninstall
    [ ! -e dest ]
}

# Prints the first command line of a page that has this beginning, with its continuation lines.
first_command() { # BEGINNING PAGE
    sed -n "\\,^    $1,{s/^ *//;:more;/\\\\\$/{N;s/\\\\\n */ /;bmore};p;q}" "$2"
}

@test "machines: if PREFIX has a space, the commands in installed pages can still be typed" {
    only_release
    places "$PWD/stage" "/opt/my tools" train
    in="$PWD/stage/opt/my tools"
    PATH=$in/bin:$PATH
    eval "set -- $(longqlora-train --help | sed -n 4p)"
    [ -f "$2" ]
    line=$(first_command longqlora-train "$in/share/doc/longqlora/README.md")
    eval "set -- $line"
    [ -f "$PWD/stage$2" ]
    last=${*: -1}
    [ -f "$PWD/stage${last#*=}" ]
    DESTDIR="$PWD/stage" PREFIX="/opt/my tools" "$root/packaging/install" --uninstall
    [ ! -e stage ]
}

@test "machines: installed pages, documents and recipes differ from the source only in the installed names" {
    only_release
    dest="$PWD/stage"
    places "$dest" /usr "${all_tools[@]}"
    tools='(tokenize|pack|quantize|train|merge|ppl|generate|needle)'
    bare() { sed \
        -E "s#man longqlora-$tools#man tools/\1/\1.1#g
        s/longqlora-$tools/\1/g; s#bin/$tools#\1#g; s|/usr/share/longqlora/||g; s|/usr/share/doc/longqlora/||g
        s|/usr/lib/longqlora/|bin/|g" "$1" | \
            grep -v '^Installed, each program\|^begins with .make. wants'; }
    same() { diff -B <(bare "$1") <(bare "$2"); }
    for tool in "${all_tools[@]}"; do
        page=$dest/usr/share/man/man1/longqlora-$tool.1
        same "$root/tools/$tool/$tool.1" "$page"
        grep -qx ".Nm longqlora-$tool" "$page"
        sed -n '/^\.Bd/,/^\.Ed/p' "$page" > examples
        grep -q "longqlora-$tool" examples
        run ! grep -E "(^|\| )$tools " examples
    done
    while IFS= read -r file; do
        same "$root/$file" "$dest/usr/share/doc/longqlora/$file"
    done < <(cd "$root" && find README.md CHANGELOG.md CONTRIBUTING.md docs -name '*.md')
    # No command has its short name in code lines, in backquotes, or in the comments of recipes.
    run ! grep -rnE "^    (\\$ )?$tools |^    .*\\| $tools |bin/$tools|\`$tools[ \`]" \
        "$dest/usr/share/doc/longqlora" --include=*.md
    run ! grep -rn 'man tools/' "$dest/usr/share/doc/longqlora" --include=*.md
    grep -q '/usr/share/longqlora/recipes/\*-yarn\.yaml' "$dest/usr/share/doc/longqlora/README.md"
    for recipe in "$root"/recipes/*.yaml; \
        do same "$recipe" "$dest/usr/share/longqlora/recipes/${recipe##*/}"; done
    for example in "$root"/examples/*.sh; do
        installed=$dest/usr/share/doc/longqlora/examples/${example##*/}
        diff <(bare "$example") <(bare "$installed") > changed || true
        [ "$(grep -c '^[<>]' changed)" = 2 ]
        grep -q 'Run it where your files are\.' changed
    done
    run ! grep -rnE '(^|[^/a-z-])(bin|recipes|examples)/' "$dest/usr/share/doc/longqlora/examples"
    run ! grep -rnE "(made by|\\||:) $tools( --|\\)| \\|)" "$dest/usr/share/longqlora/recipes"
    # Each recipe and document that is named exists.
    while IFS= read -r path; do [ -e "$dest$path" ]; \
        done < <(grep -rhoE '/usr/share/(doc/)?longqlora/[a-z0-9./_-]+[a-z0-9]' "$dest/usr/share")
}

@test "machines: the Debian package has what make install installs, and depends on the right libraries" {
    only_release
    command -v dpkg-shlibdeps > /dev/null || skip "no dpkg-dev here"
    mkdir tree
    cp -r "$root"/{packaging,recipes,docs,README.md,CHANGELOG.md,CONTRIBUTING.md} tree/
    mkdir -p tree/bin tree/tools
    cp -r "$root/examples" tree/
    for tool in pack tokenize; do
        cp "$BIN/$tool" tree/bin/
        cp -r "$root/tools/$tool" tree/tools/
    done
    run -0 tree/packaging/deb 0.1 pack tokenize
    package=tree/${lines[-1]}
    dpkg-deb -f "$package" Depends > depends
    grep -q 'libc6 .*libzstd1' depends
    run ! grep -q dnnl depends
    dpkg-deb -x "$package" out
    [ -x out/usr/bin/longqlora-pack ]
    [ -f out/usr/share/man/man1/longqlora-tokenize.1.gz ]
    [ -f out/usr/share/bash-completion/completions/longqlora-tokenize ]
    [ -x out/usr/share/doc/longqlora/examples/extend-7b.sh ]
    # lintian is slow and not always installed, so it runs only with the long loops.
    if [ "${LONG:-}" = 1 ] && command -v lintian > /dev/null; then
        run lintian --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog "$package"
        [ -z "$(grep -E '^[EW]:' <<< "$output")" ] || { echo "$output"; false; }
    fi
    grep -q 'No licence has been chosen yet' out/usr/share/doc/longqlora/copyright
    [ ! -e out/usr/share/longqlora/installed ]
    [ "$(out/usr/bin/longqlora-pack --version | cut -d ' ' -f 1)" = longqlora-pack ]
}

# ---- a GPU that is not here ----

plan() { train "$root/recipes/llama2-7b-longqlora.yaml" --dry-run --device cuda "$@"; }

@test "machines: a plan for a GPU needs no nvcc, plug-in, driver or GPU" {
    export LONGQLORA_CUDA=/nonexistent/kernels-cuda.so
    for shape in llama2-7b llama2-13b llama3-8b; do
        plan model_name_or_path="$root/recipes/shapes/$shape.json" > $shape
        grep -qE '^total +[0-9]+ bytes +[0-9]+\.[0-9]{2} GiB$' $shape
        for size in 8 12 16 24 32 40 48 80; \
            do grep -qE "^ +$size GB   (fits|does not fit)" $shape; done
    done
    grep -qE '^    8 GB   (fits with|does not fit)' llama2-7b
    grep -qE '^   12 GB   fits  ' llama2-7b
    grep -qE '^   12 GB   (fits with|does not fit)' llama2-13b
    # A line gives the longest context that fits, and the longest with host memory. The verdict is
    # "fits" if the first has 8192 tokens or more, and "fits with" if only the second has.
    perl -ne 'next unless /^ +(\d+) GB +(.*?)  +(\d+) tokens(?:, (\d+) with)?/; my $most = $4 // $3;
        die $_ if ($2 eq "fits") != ($3 >= 8192) || ($2 =~ /^fits/ ? 1 : 0) != ($most >= 8192 ? 1 : 0); $n++;
        END { die "$n lines" unless $n == 8 }' llama2-7b
    plan model_name_or_path="$root/recipes/shapes/llama2-13b.json" max_seq_length=32768 \
        offload_optimizer=false offload_activations=false > long
    grep -qE '^   16 GB   does not fit +[0-9]+ tokens' long
    generate -m "$root/recipes/shapes/llama3-8b.json" --dry-run --device cuda > text
    grep -qE '^total ' text
    # A model with a window can be planned for contexts beyond the window.
    sed \
        's/"model_type": "llama"/"model_type": "mistral", "sliding_window": 4096/; s/LlamaFor/MistralFor/' \
        "$root/recipes/shapes/llama2-7b.json" > window.json
    plan model_name_or_path=window.json max_seq_length=4096 > window
    grep -qE '^   80 GB   fits +[0-9]{5,} tokens' window
    make_base
    generate -m base --dry-run --device cuda -p abc > text
    grep -qE '^total ' text
    # A run needs the plug-in, and says so before it does anything else.
    run --separate-stderr -1 lora x --device cuda
    [[ "$stderr" == "train: device cuda: there is no usable kernels-cuda.so, which make builds where nvcc is installed; "* ]]
    [ ! -e x ]
    run --separate-stderr -2 plan model_name_or_path=window.json --device cuba
    [[ "$stderr" == *"device 'cuba' is not one of "* ]]
}

@test "machines: the README's first command prints a plan and needs only the built programs and the source tree" {
    export LONGQLORA_CUDA=/nonexistent/kernels-cuda.so
    command=$(first_command bin/ "$root/README.md")
    command=${command#bin/}
    [[ "$command" == "train "*" --dry-run --device cuda "* ]]
    cd "$root"
    run -0 bash -c "$command"
    [[ "$output" == *"   24 GB   fits "* ]]
}

@test "machines: a plan made without a plug-in equals the plug-in's plan" {
    [ -e "$BUILD/emulation/bf16/kernels-cuda.so" ] || skip "no emulation here"
    export EMULATION_MEMORY=0 # unknown
    make_base
    compare() { # PLUG-IN COMMAND...
        LONGQLORA_CUDA=$BUILD/emulation/$1/kernels-cuda.so "${@:2}" > with
        LONGQLORA_CUDA=/nonexistent "${@:2}" > without
        [ -s with ]
        diff with without
    }
    for shape in llama2-7b llama2-13b llama3-8b; do
        shape=$root/recipes/shapes/$shape.json
        compare bf16 plan model_name_or_path="$shape"
        compare f16 plan model_name_or_path="$shape" fp16=true lora_dropout=0 max_seq_length=1000
        compare bf16 plan model_name_or_path="$shape" method=full quantization=none attention=full
        compare bf16 plan model_name_or_path="$shape" lora_rank=200 per_device_train_batch_size=3 \
            offload_optimizer=true
        compare f16 generate -m "$shape" --dry-run --device cuda-f16 --context 5000
    done
    compare bf16 lora x --dry-run --device cuda train_embedding=true train_norm=true
    compare bf16 plan model_name_or_path="$root/recipes/shapes/llama3-8b.json" fp8=true
    compare bf16 generate -m base --dry-run --device cuda --exact-cache
}
