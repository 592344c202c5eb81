load helper

# Lists the sources that make would compile.
compiled() { make -n FLAVOUR=release test-programs 2> /dev/null | \
    grep -oE -- '-c [^ ]+\.(c|cu|cpp) ' | cut -d' ' -f2 | sort -u; }

@test "build: if a header changes, make compiles the files that include it, and no others" {
    [ "${FLAVOUR:-release}" = release ] || skip "of the release flavour"
    # This works in a copy of the tree, because other tests read the tree.
    (cd "$root" && git ls-files -co --exclude-standard -z | \
        xargs -0 cp -a --parents -t "$BATS_TEST_TMPDIR")
    # The built files are linked or copied too, because other tests may be using build/ now.
    mkdir build
    for part in "$root"/build/{release,libraries.*,small.cu} "$root/bin"; do
        [ -e "$part" ] || continue
        cp -al "$part" ".${part#"$root"}" 2> /dev/null || cp -a "$part" ".${part#"$root"}"
    done
    [ -z "$(compiled)" ] || skip "the programs are not up to date"
    touch -d 'next year' later
    for header in lib/common/rng.h lib/tensorfile/zip.h lib/llama/bnb.h lib/common/nf4.h \
        kernels/cpu/vec.h kernels/cuda/linear_lora.cuh kernels/cuda/intrinsics.cuh \
        tests/lib/small_shape.h tools/pack/spill.h tests/fuzz/fuzz.h; do
        # make test-programs compiles none of the benches' C files but measured.c, which the
        # emulated bench uses.
        (cd "$root" && tests/includes $header) | \
            grep -v '^tests/bench/[^m].*\.c$\|^tests/gpu' > wanted
        # profiler.cu names ranges for a profiler of GPUs. It is not emulated, and nvcc compiles it
        # in build/small.cu.
        sed -i '/profiler.cu$/d' wanted
        [ -s wanted ]
        touch -r $header before
        touch -r later $header
        compiled > all
        # The file that includes the small CUDA sources is made again with them.
        grep -v '^build/small.cu$' all > made
        [ $header != kernels/cuda/intrinsics.cuh ] || [ ! -e bin/kernels-cuda.so ] ||
            [ "$(grep -c '^build/small.cu$' all)" -gt 0 ]
        touch -r before $header
        diff wanted made || { echo "$header" && false; }
    done
    [ -z "$(compiled)" ]
}
