# rows.bash - for scripts that measure: medians, ratios, and the table of tests/bench/all, to which
# table_row appends a row. A script that runs by itself has no table, and only prints.
runs=${RUNS:-5} # how often everything is measured
table_row() { # WORK OURS PEER RATIO
    [ -z "${BENCH_ROWS:-}" ] || printf '| %s | %s | %s | %s |\n' "$@" >> "$BENCH_ROWS"
}
# Prints the median of the numbers on standard input, one a line.
median() { sort -g | awk '{ value[NR] = $1 } END { if (NR) print value[int((NR + 1) / 2)] }'; }
ratio_of() { awk -v a="$1" -v b="$2" 'BEGIN { if (b + 0 > 0) printf "%.2f", a / b }'; }
# Prints the name and the version of a Python package.
version_of() { # PYTHON PACKAGE
    "$1" - "$2" 2> /dev/null << 'P' || echo "$2"
import importlib.metadata, sys
print(sys.argv[1], importlib.metadata.version(sys.argv[1]))
P
}
processor() { sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1; }
