load helper

# The sources that make would compile; -W HEADER: as if the header had just changed. Nothing is touched.
compiled() { make -n FLAVOUR=release "$@" test-programs 2> /dev/null | grep -oE -- '-c [^ ]+\.(c|cu|cpp) ' | cut -d' ' -f2 | sort -u; }

@test "build: a header that changes makes anew what includes it, and nothing else" {
    [ "${FLAVOUR:-release}" = release ] || skip "of the release flavour"
    cd "$root"
    [ -z "$(compiled)" ] || skip "the programs are not up to date"
    for header in lib/common/rng.h lib/common/zip.h lib/llama/bnb.h kernels/nf4.h kernels/cpu/vec.h kernels/cuda/thin.cuh kernels/cuda/device.cuh \
        tests/cuda-emulation/cublasLt.h tests/lib/small_shape.h tools/pack/spill.h tests/fuzz/fuzz.h; do
        tests/includes $header > "$BATS_TEST_TMPDIR/wanted"
        # Benches are made by make bench; CUDA objects where there is nvcc, and as host code.
        grep -v '^tests/bench/.*\.c$\|^tests/gpu' "$BATS_TEST_TMPDIR/wanted" > "$BATS_TEST_TMPDIR/built"
        [ -s "$BATS_TEST_TMPDIR/built" ]
        compiled -W $header > "$BATS_TEST_TMPDIR/made"
        diff "$BATS_TEST_TMPDIR/built" "$BATS_TEST_TMPDIR/made" || { echo "$header" && false; }
    done
}
