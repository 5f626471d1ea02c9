#!/usr/bin/env bash
# Fuzzes every target of src/list.rs with libFuzzer.
# usage: tests/fuzz/fuzz.sh long SECONDS [ASAN]   each canary, SECONDS in all over the targets, ASAN more (a
#                                                 third of SECONDS) with the address sanitizer; then the table
#        tests/fuzz/fuzz.sh canaries | plain SECONDS | asan SECONDS      one part of it
#        tests/fuzz/fuzz.sh table                 table.md from all that was run here
#        tests/fuzz/fuzz.sh build MODE            plain, canary or asan; then target/fuzz/bin/MODE/NAME FILE
#                                                 runs one input again
# TARGETS="a b" takes only those; JOBS is how many at a time, one if not said; SEED is what canaries begin with.
# Coverage works with a stable compiler; the sanitizer asks for RUSTC_BOOTSTRAP, for its own build alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

CANARY_SECONDS=60             # of processor time, so that a busy machine finds as much as an idle one
out=$PWD/target/fuzz
results=$out/results.tsv
host=$(rustc -vV | sed -n 's/^host: //p')
# No target may take more memory than this, nor longer for one input.
# Short inputs first, also where a mutation of our own is used.
LIMITS=(-rss_limit_mb=1024 -malloc_limit_mb=64 -timeout=10 -len_control=100 -reload=0 -print_final_stats=1 -verbosity=1)
export ASAN_OPTIONS=detect_leaks=0

build() { # MODE
    local mode=$1 features=(--features libfuzzer) flags=()
    [[ $mode != canary ]] || features=(--features canary)
    [[ $mode != asan ]] || flags=(VPNPROBE_FUZZ_ASAN=1)
    local dir=$out/build
    [[ $mode != asan ]] || dir=$out/build-asan
    env "${flags[@]}" RUSTC_WRAPPER="$PWD/tests/fuzz/rustc.sh" \
        cargo build --locked --quiet -p vpnprobe-fuzz --bins --profile fuzz --target "$host" --target-dir "$dir" "${features[@]}"
    mkdir -p "$out/bin/$mode"
    rm -rf "$out/seeds"; mkdir -p "$out/seeds"
    VPNPROBE_FUZZ_SEEDS=$out/seeds "$dir/$host/fuzz/seeds" -runs=1 &>"$out/seeds.txt" || { cat "$out/seeds.txt"; return 1; }
    cp "$out/seeds/list.tsv" "$out/list.tsv"
    local name group
    while IFS=$'\t' read -r name _ group _; do
        [[ -e $out/bin/$mode/.$group.new ]] || cp "$dir/$host/fuzz/$group" "$out/bin/$mode/.$group.new"
        ln -f "$out/bin/$mode/.$group.new" "$out/bin/$mode/$name"
    done <"$out/list.tsv"
    rm -f "$out/bin/$mode"/.*.new
    # shellcheck disable=SC2086
    mapfile -t names < <(cut -f1 "$out/list.tsv" | grep -Fx -f <(printf '%s\n' ${TARGETS:-$(cut -f1 "$out/list.tsv")}))
}

# run MODE NAME OPTION...: sets log, code, and seconds of processor time
run() {
    local mode=$1 name=$2; shift 2
    local longest TIMEFORMAT='%U %S'
    longest=$(awk -F'\t' -v name="$name" '$1 == name {print $2}' "$out/list.tsv")
    log=$out/log/$mode-$name.txt
    mkdir -p "$out/log" "$out/artifacts"
    code=0
    # To count how rare each feature is takes nearly half of the time where there are so many.
    [[ $name != config ]] || set -- -entropic=0 "$@"
    { time prlimit --cpu="${CPU:-unlimited}" "$out/bin/$mode/$name" "${LIMITS[@]}" -max_len="$longest" \
        -dict="$out/seeds/$name.dict" -artifact_prefix="$out/artifacts/$name-" "$@" &>"$log"; } 2>"$log.time" || code=$?
    seconds=$(awk 'END {printf "%.1f", $1 + $2}' "$log.time")
}

# What a log says: how many inputs were run, edges and features reached.
told() { # LOG
    awk '/stat::number_of_executed_units/ {runs = $2}
         /^#[0-9]+/ {if (!runs) last = substr($1, 2); for (i = 1; i < NF; i++) {if ($i == "cov:") cov = $(i + 1); if ($i == "ft:") ft = $(i + 1)}}
         END {print (runs ? runs : last + 0) "\t" cov + 0 "\t" ft + 0}' "$1"
}

record() { # MODE NAME CRASHES
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$(date -u +%FT%TZ)" "$1" "$2" "$seconds" "$3" "$(told "$log")" >>"$results"
}

# Most of its time by coverage alone, which is faster; the last third with the values that were compared, which
# climb to what coverage does not see.
canary() { # NAME
    local corpus values CPU all=0 third=$((CANARY_SECONDS / 3))
    corpus=$(mktemp -d -p /dev/shm)
    for values in 0 1; do
        CPU=$((values ? third : CANARY_SECONDS - third))
        run canary "$1" -seed="${SEED:-1}" -use_value_profile=$values "$corpus" "$out/seeds/$1"
        all=$(awk '{print $1 + $2}' <<<"$all $seconds")
        ((code == 0)) || ! grep -q 'the canary was found' "$log" || break
    done
    seconds=$all
    rm -rf "$corpus"
    if ((code)) && grep -q 'the canary was found' "$log"; then
        record canary "$1" 1
        rm -f "$(sed -n 's/.*Test unit written to //p' "$log")"
        echo "canary $1 ... ok ($seconds s)"
    else
        record canary "$1" 0
        echo "canary $1 ... FAILED (not found in $seconds s; $log)"
        return 1
    fi
}

# fuzz MODE NAME OPTION...
fuzz() {
    local mode=$1 name=$2; shift 2
    mkdir -p "$out/corpus/$name"
    run "$mode" "$name" "$@" "$out/corpus/$name" "$out/seeds/$name"
    if ((code)); then
        record "$mode" "$name" 1
        echo "$mode $name ... FAILED"
        grep -aE 'panicked|ERROR|assert|Test unit written|left:|right:' "$log" | tail -8
        return 1
    fi
    record "$mode" "$name" 0
    echo "$mode $name ... ok ($(told "$log" | cut -f1) runs, $seconds s)"
}

# all COMMAND...: for each name, JOBS at a time; then a closing line as cargo's
all() {
    local name
    export -f run told record canary fuzz
    # shellcheck disable=SC2016
    for name in "${names[@]}"; do printf '%s\0' "$name"; done |
        out=$out results=$results CANARY_SECONDS=$CANARY_SECONDS LIMITS_="${LIMITS[*]}" \
            xargs -0 -P "${JOBS:-1}" -I{} bash -c 'read -ra LIMITS <<<"$LIMITS_"; "$@" || echo {} >>"$out/failed"' _ "$@"
}

begin() { mkdir -p "$out"; rm -f "$out/failed"; touch "$out/failed"; done_=0; }
end() {
    local failed
    failed=$(wc -l <"$out/failed")
    echo "test result: $( ((failed)) && echo FAILED || echo ok). $((done_ - failed)) passed; $failed failed"
    ((failed == 0))
}

canaries() { build canary; all canary {}; done_=$((done_ + ${#names[@]})); }
timed() { # MODE SECONDS
    build "$1"
    all fuzz "$1" {} -max_total_time=$(($2 / ${#names[@]} + 1))
    done_=$((done_ + ${#names[@]}))
}

table() { tests/fuzz/table.awk "$out/list.tsv" "$results" >tests/fuzz/table.md; echo "tests/fuzz/table.md"; }

case ${1:-} in
    long)
        begin
        canaries; timed plain "${2:?seconds}"; timed asan "${3:-$(($2 / 3))}"
        table; end ;;
    canaries) begin; canaries; end ;;
    plain | asan) begin; timed "$1" "${2:?seconds}"; end ;;
    build) mkdir -p "$out"; build "${2:?mode}"; echo "$out/bin/$2" ;;
    table) table ;;
    *) sed -n '2,11s/^# //p' "$0"; exit 2 ;;
esac
