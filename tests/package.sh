#!/usr/bin/env bash
# The packages as a user meets them: built, judged by lintian, installed into a fresh Debian with a systemd of
# its own, upgraded, removed, purged. Prints each check as tests/run.sh counts them. Needs root.
# usage: tests/package.sh [debug | release]    from which build; debug is the default
# Needs cargo-deb and cargo-generate-rpm (see packaging/build.sh) and Debian's debootstrap, lintian, rpm and
# systemd-container. Nothing of the host is touched but target/packages; the tree has a network of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d) machine=vp$$ failed=0
tree=$work/tree
mkdir "$tree"
cleanup() {
    [[ -z ${boot:-} ]] || { kill "$boot" 2>/dev/null || :; wait "$boot" 2>/dev/null || :; }
    rm -rf "$work"
}
trap cleanup EXIT

each() { # NAME COMMAND...
    local name=$1 result=ok passed=1; shift
    "$@" || { result=FAILED passed=0 failed=1; }
    echo "$name ... $result"
    echo "test result: $result. $passed passed; $((1 - passed)) failed"
}

inside() { nsenter -t "$leader" -m -u -i -n -p -C -- "$@"; }
active() { inside systemctl is-active -q vpnprobe; }

# get PATH: what the daemon says, asked from inside
get() {
    inside bash -c 'exec 3<>/dev/tcp/127.0.0.1/10069; printf "GET %s HTTP/1.0\r\nhost: localhost\r\n\r\n" "$0" >&3; cat <&3' "$1" 2>/dev/null
}

# until_ SECONDS COMMAND...: whether it succeeds in time
until_() {
    local left=$(($1 * 5)); shift
    until "$@"; do ((left-- > 0)) || return 1; sleep .2; done
}

files() { (cd "$tree" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./tmp -o -path ./var/log -o -path ./var/cache -o -path ./var/lib/systemd \) -prune -o -print | sort); }

# --- the packages ---------------------------------------------------------------------------------------

profile=${1:-debug}
packaging/build.sh "$profile" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
deb=$(echo target/packages/*.deb) rpm=$(echo target/packages/*.rpm)

lint() { lintian --allow-root --fail-on error,warning "$deb"; }

payload() { # the same files in both, but where the distributions differ
    diff <(dpkg-deb -c "$deb" | awk '$1 !~ /^d/ {print substr($6, 2)}' | sort) <(rpm -qlp "$rpm" | sort) >"$work/diff" && return
    ! grep -vE '^([0-9,acd]+|---|[<>] /usr/(lib/systemd/system|share/(doc|lintian|bash-completion|zsh|fish|man))/.*|[<>] /lib/systemd/system/.*)$' "$work/diff"
}

inside_() { # each crate that is built in, with its checksum and licence, and no place of this machine
    cargo tree --locked --offline -e normal --prefix none -p vpnprobe | python3 -c '
import gzip, json, sys
text = gzip.open("target/packages/share/vpnprobe.cdx.json.gz", "rt").read()
sbom = json.loads(text)
assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.5") and sys.argv[1] not in text
has = {(it["name"], it["version"]) for it in sbom["components"] if it["hashes"] and it["licenses"]}
crates = {tuple(line.replace(" v", " ").split()[:2]) for line in sys.stdin} - {("vpnprobe", sbom["metadata"]["component"]["version"])}
missing = crates - has
print(len(crates), "crates,", len(has), "in the list; missing:", *missing)
sys.exit(bool(missing))' "$PWD"
}

each lintian lint
each rpm-payload payload
each sbom inside_
rpm -qlp "$rpm"

# --- a fresh Debian -------------------------------------------------------------------------------------

debootstrap --variant=minbase --include=systemd,dbus,iproute2,procps bookworm "$tree" http://deb.debian.org/debian >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log"; exit 1; }
systemd-nspawn -q -D "$tree" -M "$machine" --register=no --keep-unit --private-network --console=pipe --capability=all \
    --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self bpf" -b </dev/null >/dev/null 2>&1 &
boot=$!
leader=
booted() { leader=$(pgrep -P "$boot") && { inside systemctl is-system-running 2>/dev/null || :; } | grep -E 'running|degraded' >/dev/null; }
each boot until_ 60 booted
files >"$work/before"

install_() { # /tmp is another one inside
    cp "$1" "$tree/srv/new.deb" && inside dpkg -i /srv/new.deb >"$work/log" 2>&1 || { cat "$work/log"; return 1; }
    rm "$tree/srv/new.deb"
}

fresh() { # enabled, not started; the man page and the completions are there
    install_ "$deb" && inside systemctl is-enabled -q vpnprobe && ! active &&
        [[ -s $tree/usr/share/man/man1/vpnprobe.1.gz && -s $tree/usr/share/bash-completion/completions/vpnprobe ]]
}

starts() {
    printf 'targets: {here: {address: 127.0.0.1, probes: {icmp: {interval: 500ms}}}}\n' >"$tree/etc/vpnprobe/vpnprobe.yml"
    inside systemctl start vpnprobe && active || { inside journalctl -u vpnprobe --no-pager -n 30; return 1; }
}

up() { get /metrics | grep '^vpnprobe_probe_up{.*} 1' >/dev/null; }
pings() { until_ 20 up || { inside journalctl -u vpnprobe --no-pager -n 30; return 1; }; }

rights() { # nothing left, in all threads, and locked in
    local pid
    pid=$(inside systemctl show -P MainPID vpnprobe)
    ! inside sh -c "cat /proc/$pid/task/*/status" | grep -E '^Cap(Inh|Prm|Eff|Amb)' | grep -v '0000000000000000' >/dev/null &&
        inside journalctl -u vpnprobe --no-pager | grep 'files: may read' >/dev/null &&
        inside journalctl -u vpnprobe --no-pager | grep 'system calls: filtered' >/dev/null
}

confined() { # of the host's files, only what the unit names
    local pid
    pid=$(inside systemctl show -P MainPID vpnprobe)
    [[ -z $(inside sh -c "ls /proc/$pid/root" | grep -vxE 'bin|dev|etc|lib|lib64|proc|root|run|sys|tmp|usr|var') &&
        $(inside sh -c "cd /proc/$pid/root && ls var/lib") == vpnprobe ]]
}

status() { inside systemctl show -P StatusText vpnprobe | grep '1 targets' >/dev/null; }

reloads() {
    sed -i 's/here/there/' "$tree/etc/vpnprobe/vpnprobe.yml"
    there() { get /metrics | grep 'target="there"' >/dev/null; }
    inside systemctl reload vpnprobe && until_ 20 there
}

credentials() {
    mkdir -p "$tree/etc/systemd/system/vpnprobe.service.d"
    printf '[Service]\nLoadCredential=hq.psk:/srv/hq.psk\nWatchdogSec=2s\n' >"$tree/etc/systemd/system/vpnprobe.service.d/test.conf"
    (umask 077 && echo 'of no worth' >"$tree/srv/hq.psk")
    printf 'targets: {there: {address: 127.0.0.1, vpn: [ipsec], session: {psk_file: /run/credentials/vpnprobe.service/hq.psk, local_id: a}}}\n' >"$tree/etc/vpnprobe/vpnprobe.yml"
    inside systemctl daemon-reload && inside systemctl restart vpnprobe && until_ 20 up
}

watchdog() { # a daemon that no longer probes is started again
    inside sh -c 'kill -STOP "$(systemctl show -P MainPID vpnprobe)"'
    again() { inside journalctl -u vpnprobe --no-pager | grep "Failed with result 'watchdog'" >/dev/null && active; }
    until_ 30 again
}

namespace() { # the drop-in does what it says
    rm -r "$tree/etc/systemd/system/vpnprobe.service.d"
    mkdir "$tree/etc/systemd/system/vpnprobe.service.d"
    cp "$tree/usr/share/doc/vpnprobe/examples/namespace.conf" "$tree/etc/systemd/system/vpnprobe.service.d"
    printf 'egress: {inner: {namespace: inner}}\ntargets: {there: {address: 127.0.0.1, egress: [inner], probes: {icmp: {interval: 500ms}}}}\n' >"$tree/etc/vpnprobe/vpnprobe.yml"
    inside sh -c 'ip netns add inner && ip -n inner link set lo up && systemctl daemon-reload && systemctl restart vpnprobe' && until_ 20 up
}

denied() { # without the drop-in the start is refused, by name, with the command that would allow it
    rm -r "$tree/etc/systemd/system/vpnprobe.service.d"
    inside systemctl daemon-reload
    ! inside systemctl restart vpnprobe 2>/dev/null || return 1
    inside journalctl -u vpnprobe --no-pager | grep 'namespace needs CAP_SYS_ADMIN; allow it with the drop-in' >/dev/null
}

upgrades() { # the configuration stays as it was changed, and what runs is the new one
    local next=$work/next
    printf 'targets: {kept: {address: 127.0.0.1, probes: {icmp: {interval: 500ms}}}}\n' >"$tree/etc/vpnprobe/vpnprobe.yml"
    inside systemctl reset-failed vpnprobe && inside systemctl restart vpnprobe && active || return 1
    local before
    before=$(inside systemctl show -P MainPID vpnprobe)
    dpkg-deb -R "$deb" "$next" && sed -i 's/^Version: .*/Version: 99.0/' "$next/DEBIAN/control" &&
        dpkg-deb --root-owner-group -b "$next" "$next.deb" >/dev/null && rm -r "$next" && install_ "$next.deb" &&
        grep -q kept "$tree/etc/vpnprobe/vpnprobe.yml" && active && [[ $(inside systemctl show -P MainPID vpnprobe) != "$before" ]] && pings
}

removes() { # stopped and gone, the configuration stays
    inside dpkg -r vpnprobe >/dev/null 2>&1 && ! active && [[ ! -e $tree/usr/bin/vpnprobe && -e $tree/etc/vpnprobe/vpnprobe.yml ]]
}

purges() { # nothing is left
    inside dpkg -P vpnprobe >/dev/null 2>&1
    rm -f "$tree/srv/hq.psk"
    inside ip netns del inner
    # But the lists of dpkg, and where systemd keeps what any DynamicUser= keeps.
    local own='^\./var/lib/(dpkg|private$)'
    diff <(grep -vE "$own" "$work/before") <(files | grep -vE "$own")
}

each fresh fresh
each starts starts
each pings pings
each rights rights
each confined confined
each status status
each reloads reloads
each credentials credentials
each watchdog watchdog
each namespace namespace
each denied denied
each upgrades upgrades
each removes removes
each purges purges
inside systemctl poweroff 2>/dev/null || :
wait "$boot" || :
exit "$failed"
