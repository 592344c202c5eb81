# rows.bash - for scripts that measure: table_row appends a row to the table of tests/bench/all. A
# script that runs by itself has no table, and only prints.
table_row() { # WORK OURS PEER RATIO
    [ -z "${BENCH_ROWS:-}" ] || printf '| %s | %s | %s | %s |\n' "$@" >> "$BENCH_ROWS"
}
ratio_of() { awk -v a="$1" -v b="$2" 'BEGIN { if (b + 0 > 0) printf "%.2f", a / b }'; }
# Prints the name and the version of a Python package.
version_of() { # PYTHON PACKAGE
    "$1" - "$2" 2> /dev/null << 'P' || echo "$2"
import importlib.metadata, sys
print(sys.argv[1], importlib.metadata.version(sys.argv[1]))
P
}
