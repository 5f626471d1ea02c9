#!/usr/bin/env bash
# Installs what the tests need (Debian packages; no service is started) and runs all of them.
# usage: tests/run.sh [--long] [--only KIND]
#   --long    the soaks of two hours in place of ten minutes, half an hour of fuzzing, a century of
#             simulated targets, 200 kills, 50 pairs of faults, a million probes of an overloaded host, the
#             cuts around the edges of real sessions, and the packages
#   KIND      style | unit | suite | promtool | grafana | lab | fuzz | package
# Nothing skips itself: what cannot run has failed. As another user than root it asks sudo for the
# packages and for the lab, whose servers live in network namespaces of their own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

KINDS=(style unit suite promtool grafana lab fuzz)
PACKAGES=(
    gcc libc6-dev                                                       # linker
    g++ ca-certificates                                                 # libFuzzer; certificates to start from
    tshark python3-scapy                                                # codecs that are not ours
    iproute2 nftables conntrack iputils-ping procps util-linux openssl  # the lab's network
    charon-systemd strongswan-swanctl libcharon-extra-plugins libstrongswan-extra-plugins
    libstrongswan-standard-plugins openvpn xl2tpd ocserv nginx-light unbound
    wireguard-go wireguard-tools softether-vpnserver xrdp coturn        # what is behind a concentrator
    python3-venv python3-dev                                            # a server from PyPI
    ike-scan bind9-dnsutils                                             # clients that are not ours
    strace faketime                                                     # faults of this host
    prometheus prometheus-alertmanager systemd                          # promtool, amtool, systemd-analyze
    jsonnet                                                             # the dashboards' source
)
command -v npm >/dev/null || PACKAGES+=(nodejs npm)                     # the schema of the dashboards

only=
while (($#)); do
    case $1 in
        --long) export VPNPROBE_LONG=1 ;;
        --only) only=${2:?a kind}; shift ;;
        *) sed -n '2,10s/^# //p' "$0"; exit 2 ;;
    esac
    shift
done
[[ -z $only || " ${KINDS[*]} package " == *" $only "* ]] || { echo "run.sh: kinds are ${KINDS[*]} package" >&2; exit 2; }

# The packages take a release of Debian, a boot and three crates of tools: only when asked for.
if [[ $only == package ]] || [[ -z $only && -n ${VPNPROBE_LONG:-} ]]; then
    KINDS+=(package)
    PACKAGES+=(debootstrap systemd-container lintian rpm)
fi

export PATH=$PATH:/usr/sbin:/sbin CARGO_TERM_COLOR=never RUST_BACKTRACE=${RUST_BACKTRACE:-0}
# The same random cases in every short run; others in each long one.
[[ -n ${VPNPROBE_LONG:-} ]] || export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-20261122}
SUDO=
((EUID == 0)) || SUDO=sudo
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# shellcheck disable=SC2016
INSTALL='
set -euo pipefail
# Tells the packages not to start their services; what was there before comes back.
policy=/usr/sbin/policy-rc.d kept=$(mktemp -d)
[[ ! -e $policy ]] || mv "$policy" "$kept/policy"
trap "rm -f $policy; [[ ! -e $kept/policy ]] || mv $kept/policy $policy; rmdir $kept" EXIT
printf "#!/bin/sh\nexit 101\n" >"$policy"
chmod 755 "$policy"
export DEBIAN_FRONTEND=noninteractive
apt-get -q update </dev/null
apt-get -q install -y --no-install-recommends "$@" </dev/null
'

packages() {
    local missing
    mapfile -t missing < <(
        comm -23 <(printf '%s\n' "${PACKAGES[@]}" | sort) \
            <(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${PACKAGES[@]}" 2>/dev/null | awk '$2 == "installed" {print $1}' | sort)
    )
    ((${#missing[@]})) || return 0
    if [[ -n $SUDO ]] && ! command -v sudo >/dev/null; then
        echo "run.sh: as root: apt-get install --no-install-recommends ${missing[*]}" >&2
        return 1
    fi
    echo "run.sh: installing ${missing[*]}"
    $SUDO bash -c "$INSTALL" install "${missing[@]}" >"$logs/apt" 2>&1 || { cat "$logs/apt"; return 1; }
}

# A server that no distribution has, from PyPI, in an environment of its own.
sstpd() {
    [[ ! -x target/venv/bin/sstpd ]] || return 0
    { python3 -m venv target/venv && target/venv/bin/pip -q install sstp-server==0.6.0; } &>"$logs/pip" ||
        { cat "$logs/pip"; return 1; }
}

# --- the kinds: each prints what it does, and closing lines as cargo does ------------------------------

# each NAME COMMAND...: one check, counted as one test
each() {
    local name=$1 result=ok; shift
    "$@" || result=FAILED
    echo "$name ... $result"
    if [[ $result == ok ]]; then echo "test result: ok. 1 passed; 0 failed"; else echo "test result: FAILED. 0 passed; 1 failed"; fi
    [[ $result == ok ]]
}

style() {
    local failed=0
    each format cargo fmt --check || failed=1
    each clippy cargo clippy --locked --quiet --all-targets -- -D warnings || failed=1
    # No target of a plain `cargo test`, and a crate of its own: --all-targets leaves them out.
    each clippy-lab cargo clippy --locked --quiet --test lab -- -D warnings || failed=1
    each clippy-fuzz cargo clippy --locked --quiet -p vpnprobe-fuzz --all-targets --features libfuzzer -- -D warnings || failed=1
    return "$failed"
}

# tests ARGUMENT...: by nextest where it is installed
tests() {
    if cargo nextest --version &>/dev/null; then
        cargo nextest run --locked --no-fail-fast "$@"
    else
        cargo test --locked --no-fail-fast "$@"
    fi
}

unit() {
    local failed=0
    tests --lib --bins || failed=1
    cargo test --locked --quiet --doc || failed=1
    return "$failed"
}

# The simulation of the detectors is short here; --long runs the whole of it.
suite() {
    local failed=0
    VPNPROBE_LONG=${VPNPROBE_LONG:-} tests --test suite || failed=1
    VPNPROBE_LONG='' tests --test simulation || failed=1
    [[ -z ${VPNPROBE_LONG:-} ]] || cargo test --locked --release --test simulation -- --nocapture || failed=1
    return "$failed"
}

# So many mutated inputs for each target; --long also fuzzes for half an hour, guided by coverage and with the
# sanitizer as well, once every planted bug is found, and writes tests/fuzz/table.md.
fuzz() {
    local failed=0
    cargo test --locked -p vpnprobe-fuzz || failed=1
    [[ -z ${VPNPROBE_LONG:-} ]] || tests/fuzz/fuzz.sh long 1350 450 || failed=1
    return "$failed"
}

promtool_() {
    local failed=0 file rules tests
    mapfile -t rules < <(find dashboards -name '*.yml' -exec grep -l '^groups:' {} + 2>/dev/null | sort)
    mapfile -t tests < <(find tests/promtool -name '*.yml' 2>/dev/null | sort)
    ((${#rules[@]} && ${#tests[@]})) || { echo "no rules in dashboards, or no tests in tests/promtool"; return 1; }
    for file in "${rules[@]}"; do each "$file" promtool check rules "$file" || failed=1; done
    for file in "${tests[@]}"; do each "$file" promtool test rules "$file" || failed=1; done
    each prometheus.yml promtool check config dashboards/prometheus.yml || failed=1
    each alertmanager.yml amtool check-config dashboards/alertmanager.yml || failed=1
    return "$failed"
}

# The dashboards are what their source makes, and valid against Grafana's own schema. That every query of
# theirs gives data is for the lab.
grafana() {
    local failed=0
    each npm npm_ci || return 1
    each made made || failed=1
    each mixin mixin || failed=1
    each schema node tests/grafana/schema.mjs dashboards/*.json || failed=1
    return "$failed"
}

npm_ci() { # only if what is installed is not what the lock says
    (cd tests/grafana && { npm ls --silent &>/dev/null || npm ci --no-audit --no-fund --ignore-scripts; })
}

made() {
    mkdir "$logs/made"
    jsonnet -m "$logs/made" -e '(import "dashboards/mixin.libsonnet").grafanaDashboards' >/dev/null
    diff <(cd "$logs/made" && ls ./*.json) <(cd dashboards && ls ./*.json) || return 1
    local file
    for file in "$logs/made"/*.json; do
        diff -q "$file" "dashboards/${file##*/}" && continue
        echo "make it anew: jsonnet -m dashboards -e '(import \"dashboards/mixin.libsonnet\").grafanaDashboards'"
        return 1
    done
}

mixin() { # the rules as a mixin hands them on, with a job of another name
    jsonnet -S -e 'std.manifestYamlDoc(((import "dashboards/mixin.libsonnet") + {_config+:: {selector: "job=\"probers\""}}).prometheusAlerts)' >"$logs/alerts.yml"
    jsonnet -S -e 'std.manifestYamlDoc((import "dashboards/mixin.libsonnet").prometheusRules)' >"$logs/recording.yml"
    promtool check rules "$logs/alerts.yml" "$logs/recording.yml"
    grep -q 'job=\\"probers\\"' "$logs/alerts.yml"
}

# Two labs at a time, as root. `calm` comes first by its name and runs beside all the others.
lab() {
    local runner failed=0
    runner=CARGO_TARGET_$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')_RUNNER
    [[ -z $SUDO ]] || export "$runner=sudo -E env PATH=$PATH"
    sstpd
    $SUDO tests/lab/lab.sh sweep
    # The cuts around the edges of real sessions keep four labs busy for five minutes: in a long run. The
    # table of the last one is in tests/lab/dpd-table.txt.
    local leave_out=(--skip dpd::)
    [[ -z ${VPNPROBE_LONG:-} ]] || leave_out=()
    RUST_TEST_THREADS=2 tests --test lab -- "${leave_out[@]}" || failed=1
    $SUDO tests/lab/lab.sh sweep
    return "$failed"
}

# What goes into the packages, and the packages themselves in a fresh Debian. The tools stay in target/tools.
package() {
    local failed=0
    export PATH=$PATH:$PWD/target/tools/bin
    for tool in cargo-deny@0.20.2 cargo-deb@3.8.0 cargo-generate-rpm@0.21.1 cargo-cyclonedx@0.5.9; do
        command -v "${tool%@*}" >/dev/null || cargo install --quiet --locked --root target/tools "$tool" || return 1
    done
    each deny cargo deny --offline --locked check licenses bans sources || failed=1
    $SUDO env "PATH=$PATH" "HOME=$HOME" tests/package.sh || failed=1
    return "$failed"
}

# --- one table of all --------------------------------------------------------------------------------

# count LOG WORD: the sum of "N WORD" over the closing lines of cargo test and nextest
count() {
    { grep -E '^(test result:|[[:space:]]*Summary \[)' "$1" || true; } | { grep -oE "[0-9]+ ($2)" || true; } |
        awk '{sum += $1} END {print sum + 0}'
}

packages
table=() all_passed=0 all_failed=0
for kind in "${KINDS[@]}"; do
    [[ -n $kind ]] || continue
    [[ -z $only || $kind == "$only" ]] || continue
    printf '\n== %s\n' "$kind"
    start=$SECONDS command=$kind
    [[ $kind != promtool ]] || command=promtool_
    set +e
    "$command" 2>&1 | tee "$logs/$kind"
    code=${PIPESTATUS[0]}
    set -e
    passed=$(count "$logs/$kind" passed)
    failed=$(count "$logs/$kind" 'failed|timed out')
    # A run that broke before it could count, or that ran nothing, has failed.
    ((code == 0 && passed > 0)) || ((failed)) || failed=1
    table+=("$(printf '%-9s %5d passed %4d failed %5d s' "$kind" "$passed" "$failed" $((SECONDS - start)))")
    all_passed=$((all_passed + passed)) all_failed=$((all_failed + failed))
done
printf '\n'
printf '%s\n' "${table[@]}"
echo "$all_passed passed, $all_failed failed"
((all_failed == 0))
