#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Usage: check/run.sh DIR. Runs the examples in DIR on 1 to 4 ranks with small sizes and looks at
# exit code, last line and progress lines; then with bad arguments, and the deliberately corrupted
# builds in DIR/check, which must say WRONG.

set -u
folder=$1
mpiexec=${MPIEXEC:-mpiexec}
output=$(mktemp)
trap 'rm -f "$output"' EXIT
failures=0
checks=0

# Names the failed expectation and shows what the program said.
fail() {
    failures=$((failures + 1))
    printf 'FAILED: %s\n' "$*"
    sed 's/^/    /' "$output"
}

# run RANKS PROGRAM ARGUMENT...: leaves the output in $output and the exit code in $code. The time
# limit is far above what any run takes; it turns a hang into a failure (exit code 124).
run() {
    ranks=$1
    shift
    program=$1
    shift
    checks=$((checks + 1))
    what="$program $* on $ranks ranks"
    timeout 120 "$mpiexec" -n "$ranks" "$folder/$program" "$@" >"$output" 2>&1
    code=$?
}

# expect CODE LAST_LINE_START
expect() {
    [ "$code" -eq "$1" ] || fail "$what: exit code $code instead of $1"
    case $(tail -n 1 "$output") in
    "$2"*) ;;
    *) fail "$what: the last line does not start with '$2'" ;;
    esac
}

# Progress lines start at 0%, end at 100% and never fall.
expect_progress() {
    sed -n 's/^progress: \([0-9]*\)%$/\1/p' "$output" | awk '
        NR == 1 && $1 != 0 { wrong = 1 }
        NR > 1 && $1 <= last { wrong = 1 }
        { last = $1 }
        END { exit wrong || last != 100 }' || fail "$what: progress lines"
}

# The value of KEY=VALUE in the last line.
value_of() {
    tail -n 1 "$output" | sed -n "s/.* $1=\([^ ]*\).*/\1/p"
}

# good RANKS PROGRAM ARGUMENT...
good() {
    run "$@"
    expect 0 "$2: ok ranks=$1 "
    expect_progress
}

# bad PROGRAM ARGUMENT...: a usage error, said once though two ranks see it.
bad() {
    run 2 "$@"
    # mpiexec adds lines of its own, so that the last line is not the program's.
    [ "$code" -eq 2 ] || fail "$what: exit code $code instead of 2"
    [ "$(grep -c "^$1: --help lists" "$output")" -eq 1 ] || fail "$what: no usage error"
}

# wrong PROGRAM ARGUMENT...: a corrupted build must notice.
wrong() {
    run 2 "$@"
    [ "$code" -eq 1 ] || fail "$what: exit code $code instead of 1"
    grep -q "^${1#check/}: WRONG " "$output" || fail "$what: did not say WRONG"
}

for ranks in 1 2 3 4; do
    good "$ranks" sor --rows 40 --columns 31 --iterations 200
    # After that many sweeps the grid has converged to the known solution.
    value_of largest_error | awk '{ exit !($1 < 1e-9) }' || fail "$what: did not converge"
    good "$ranks" sor --rows 6 --columns 3 --iterations 1
    good "$ranks" sor --rows 64 --columns 64 --seconds 0.1
    good "$ranks" sor --rows 64 --columns 64 --iterations 10 --no-check
    good "$ranks" quicksort --values 100000 --rounds 3
    good "$ranks" quicksort --values 1 --rounds 3
    good "$ranks" quicksort --values 7 --rounds 20
    good "$ranks" quicksort --values 1000 --seconds 0.1
    good "$ranks" tsp --cities 5 --instances 20
    good "$ranks" tsp --cities 12 --instances 5 --seed 7
    good "$ranks" tsp --cities 11 --seconds 0.1
    good "$ranks" grain --grain-us 50 --iterations 200
    good "$ranks" grain --grain-us 0 --iterations 10
    good "$ranks" grain --grain-us 100 --seconds 0.05 --loops-per-us 500
    [ "$(value_of iterations)" = 500 ] || fail "$what: 0.05 s of 100 us are 500 iterations"
    [ "$(value_of loops_per_us)" = 500.000 ] || fail "$what: --loops-per-us is not kept"
done

bad sor --rows 2
bad sor --rows 3
bad sor --rows 12x
bad sor --rows ''
bad sor --rows
bad sor --iterations 0
bad sor --seconds nan
bad sor rows
bad quicksort --values 0
bad quicksort --values 999999999999999999999
bad tsp --cities 4
bad tsp --cities 21
bad grain --grain-us -1
bad grain --grain-us 0 --seconds 1
run 2 sor --help
[ "$code" -eq 0 ] && grep -q '^usage: sor ' "$output" || fail "$what: no help"

wrong check/sor --rows 32 --columns 32 --iterations 10
wrong check/quicksort --values 1000 --rounds 2
wrong check/tsp --cities 8 --instances 2
wrong check/grain --grain-us 10 --iterations 10

if [ "$failures" -ne 0 ]; then
    printf 'examples: %d failures in %d runs\n' "$failures" "$checks"
    exit 1
fi
printf 'examples: all %d runs ok\n' "$checks"
