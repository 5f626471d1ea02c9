#!/usr/bin/env bash
# A network of namespaces with real VPN servers in it, for the lab tests and for a look by hand.
#
#   client ---- r1 ==== r2 ---- conc            void (a loopback device and nothing else)
#   client ---- r1 ==== r2 ==== … ==== rN ---- conc      the same with N routers (up N)
#
#   client  192.0.2.10     2001:db8:1::10       where vpnprobe runs
#   r1      192.0.2.1      2001:db8:1::1        first hop; all faults are made here
#   r2      203.0.113.1    2001:db8:3::1        second hop; in a chain all the same the last one, rN
#   rK wan  198.51.100.4K-3 to rK+1 at 4K-2, in a chain; rK+1 calls that link its "back"
#   conc    203.0.113.10   2001:db8:3::10       the concentrator; .11 to .14 (::11 to ::14) are also its own
#
# No interface of the host is linked to them: no packet leaves the machine, no port of the host is taken.
# Each lab has a name of its own and so its own namespaces; two at a time suit two cores.
#
# usage: LAB=NAME lab.sh up [ROUTERS [wired]] | down | status
#        LAB=NAME lab.sh start [inside/]SERVER [OPTION...]     servers and options: see servers.sh
#        LAB=NAME lab.sh stop | freeze | thaw SERVER
#        LAB=NAME lab.sh fault drop | reset | port | admin MATCH...    e.g. fault drop udp dport 500
#        LAB=NAME lab.sh diamond K                    a router rKb beside rK, and balancing by flow over both
#        LAB=NAME lab.sh office                       a namespace `inside` behind conc, where inside/SERVERs run:
#                                                     10.20.0.80 (web), .53 (resolver), .33 (desktop), fd00:20::/64
#        LAB=NAME lab.sh nat FIRST-LAST               r1 hides 192.0.2.10 behind 198.51.100.1 and these UDP ports; what
#                                                     it had translated before is forgotten
#        LAB=NAME lab.sh clear                        takes all faults away
#        LAB=NAME lab.sh wire MILLISECONDS...         one way, of each cable from the client on; the last figure
#                                                     is for all that follow (a lab that is wired; see wire.py)
#        LAB=NAME lab.sh resolver ADDRESS             what commands run in the client find as resolv.conf
#        LAB=NAME lab.sh exec ROLE COMMAND...
#        lab.sh sweep                                 removes labs of tests that were killed
# Invariant: only what was started in the lab's own namespaces is ever signalled, and by pid.
set -euo pipefail

ROLES=(client r1 r2 conc void) # a chain has more, see roles
# shellcheck disable=SC2034
CONC=203.0.113.10 CONC6=2001:db8:3::10 FQDN=vpn.example.test
PLACE=conc NAMED='' # where a server runs, and what its name begins with
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

die() { echo "lab: $*" >&2; exit 1; }

in_ns() { local role=$1; shift; ip netns exec "$LAB-$role" "$@"; }

# until_ok SECONDS COMMAND...: tries until the command succeeds
until_ok() {
    local deadline=$((SECONDS + $1)); shift
    until "$@" &>/dev/null; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# --- the network ---------------------------------------------------------------------------------

# roles: the roles of this lab, as its state says
roles() {
    local k last
    last=$(cat "$STATE/routers" 2>/dev/null || echo 2)
    ROLES=(client conc void)
    for ((k = 1; k <= last; k++)); do ROLES+=("r$k"); done
    [[ ! -e $STATE/office ]] || ROLES+=(inside)
    [[ ! -e $STATE/wires ]] || ROLES+=(wire)
    [[ ! -e $STATE/diamonds ]] || while read -r k; do ROLES+=("r${k}b"); done <"$STATE/diamonds"
}

up() {
    local role n last=${1:-2}
    ((${#LAB} <= 10)) || die "a lab's name has at most 10 characters"
    mkdir -p "$STATE"
    echo "$last" >"$STATE/routers"
    [[ ${2:-} != wired ]] || : >"$STATE/wires"
    roles
    chmod 755 "$STATE" # servers that drop their rights must get in
    for role in "${ROLES[@]}"; do
        ip netns add "$LAB-$role"
        # No wait for duplicate addresses; no limit on ICMP errors, which would look like loss.
        in_ns "$role" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
            net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
        ip -n "$LAB-$role" link set lo up
    done
    for ((n = 1; n <= last; n++)); do forwards "r$n"; done
    cable client eth0 192.0.2.10/24 2001:db8:1::10/64 r1 lan 192.0.2.1/24 2001:db8:1::1/64
    if ((last == 2)); then
        cable r1 wan 198.51.100.1/30 2001:db8:2::1/64 r2 wan 198.51.100.2/30 2001:db8:2::2/64
    else
        chain "$last"
    fi
    cable "r$last" lan 203.0.113.1/24 2001:db8:3::1/64 conc eth0 "$CONC/24" "$CONC6/64"
    for n in 11 12 13 14; do
        ip -n "$LAB-conc" addr add "203.0.113.$n/24" dev eth0
        # Deprecated: never the source of what a server sends on its own account.
        ip -n "$LAB-conc" addr add "2001:db8:3::$n/64" dev eth0 preferred_lft 0
    done
    route client default 192.0.2.1 2001:db8:1::1
    route conc default 203.0.113.1 2001:db8:3::1
    if ((last == 2)); then
        route r1 203.0.113.0/24 198.51.100.2
        route r1 2001:db8:3::/64 2001:db8:2::2
        route r2 192.0.2.0/24 198.51.100.1
        route r2 2001:db8:1::/64 2001:db8:2::1
    fi
    if [[ -e $STATE/wires ]]; then
        spawn wire wire python3 "$HERE/wire.py" "$STATE/wires" "$STATE/stamps"
        ready wire grep -q carrying "$STATE/wire.log"
    fi
    # IPv6 waits for the carrier, which the kernel reports up to a second late.
    until_ok 5 in_ns client ping -qc1 -W1 "$CONC6" || die "the network does not come up"
}

forwards() { in_ns "$1" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; }

# chain N: r1 to rN in a row, with routes both ways; every address answers from anywhere
chain() {
    local k next last=$1 near far
    for ((k = 1; k < last; k++)); do
        next=$((k + 1))
        near=198.51.100.$((4 * k - 3)) far=198.51.100.$((4 * k - 2))
        cable "r$k" wan "$near/30" "2001:db8:2:$k::1/64" "r$next" back "$far/30" "2001:db8:2:$k::2/64"
        route "r$k" 203.0.113.0/24 "$far"
        route "r$k" 2001:db8:3::/64 "2001:db8:2:$k::2"
        route "r$next" default "$near" "2001:db8:2:$k::1"
    done
}

# diamond K: between its neighbours rK gets a twin, rKb, that answers as 198.51.100.(130 + 8K); rK-1
# spreads flows over both by addresses and ports
diamond() {
    local k=$1 near far before after
    before=$((k - 1)) after=$((k + 1))
    ip netns add "$LAB-r${k}b"
    echo "$k" >>"$STATE/diamonds"
    in_ns "r${k}b" sysctl -qw net.ipv4.icmp_ratelimit=0
    ip -n "$LAB-r${k}b" link set lo up
    forwards "r${k}b"
    near=198.51.100.$((128 + 8 * k)) far=198.51.100.$((132 + 8 * k))
    cable "r$before" twin "${near%.*}.$((${near##*.} + 1))/30" "2001:db8:4:$k::1/64" \
        "r${k}b" back "${near%.*}.$((${near##*.} + 2))/30" "2001:db8:4:$k::2/64"
    cable "r${k}b" wan "${far%.*}.$((${far##*.} + 1))/30" "2001:db8:5:$k::1/64" \
        "r$after" twin "${far%.*}.$((${far##*.} + 2))/30" "2001:db8:5:$k::2/64"
    route "r${k}b" 203.0.113.0/24 "${far%.*}.$((${far##*.} + 2))"
    route "r${k}b" default "${near%.*}.$((${near##*.} + 1))"
    in_ns "r$before" sysctl -qw net.ipv4.fib_multipath_hash_policy=1
    ip -n "$LAB-r$before" route replace 203.0.113.0/24 \
        nexthop via "198.51.100.$((4 * before - 2))" nexthop via "${near%.*}.$((${near##*.} + 2))"
}

# office: what is behind the concentrator, and not reached from anywhere else
office() {
    ip netns add "$LAB-inside"
    touch "$STATE/office"
    ip -n "$LAB-inside" link set lo up
    in_ns inside sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    forwards conc
    cable conc lan 10.20.0.1/16 fd00:20::1/64 inside eth0 10.20.0.80/16 fd00:20::80/64
    ip -n "$LAB-inside" addr add 10.20.0.53/16 dev eth0
    ip -n "$LAB-inside" addr add 10.20.0.33/16 dev eth0
    ip -n "$LAB-inside" addr add fd00:20::53/64 dev eth0
    route inside default 10.20.0.1 fd00:20::1
}

# cable ROLE DEVICE ADDRESS4 ADDRESS6 ROLE DEVICE ADDRESS4 ADDRESS6: a link, made inside the namespaces
cable() {
    if [[ -e $STATE/wires ]]; then
        # In two pieces, and what joins them is wire.py.
        local wire
        wire=w$(($(wc -l <"$STATE/wires") + 1))
        echo "$wire 0" >>"$STATE/wires"
        ip -n "$LAB-$1" link add "$2" type veth peer name "${wire}a" netns "$LAB-wire"
        ip -n "$LAB-$5" link add "$6" type veth peer name "${wire}b" netns "$LAB-wire"
        in_ns wire sysctl -qw "net.ipv6.conf.${wire}a.disable_ipv6=1" "net.ipv6.conf.${wire}b.disable_ipv6=1"
        ip -n "$LAB-wire" link set "${wire}a" up
        ip -n "$LAB-wire" link set "${wire}b" up
    else
        ip -n "$LAB-$1" link add "$2" type veth peer name "$6" netns "$LAB-$5"
    fi
    plug "$1" "$2" "$3" "$4"
    plug "$5" "$6" "$7" "$8"
}

# wire MILLISECONDS...: how long each cable is, from the client on
wire() {
    local n=0 count delay=0
    count=$(wc -l <"$STATE/wires")
    for ((n = 1; n <= count; n++)); do
        delay=${1:-$delay}
        shift || true
        echo "w$n $delay"
    done >"$STATE/wires.new"
    mv "$STATE/wires.new" "$STATE/wires"
    kill -HUP "$(pid wire)"
    sleep 0.2 # it looks at the signal at least this often
}

plug() { # ROLE DEVICE ADDRESS...
    local role=$1 device=$2 address; shift 2
    for address in "$@"; do ip -n "$LAB-$role" addr add "$address" dev "$device"; done
    ip -n "$LAB-$role" link set "$device" up
}

route() { # ROLE DESTINATION GATEWAY...
    local role=$1 to=$2 via; shift 2
    for via in "$@"; do ip -n "$LAB-$role" route add "$to" via "$via"; done
}

down() {
    local role signal
    roles
    for signal in TERM KILL; do
        for role in "${ROLES[@]}"; do
            [[ -e /run/netns/$LAB-$role ]] || continue
            # shellcheck disable=SC2046
            kill -CONT $(ip netns pids "$LAB-$role") 2>/dev/null || true
            # shellcheck disable=SC2046
            kill "-$signal" $(ip netns pids "$LAB-$role") 2>/dev/null || true
        done
        until_ok 1 empty || true
    done
    for role in "${ROLES[@]}"; do
        [[ ! -e /run/netns/$LAB-$role ]] || ip netns del "$LAB-$role"
        rm -rf "/etc/netns/$LAB-$role"
    done
    rmdir /etc/netns 2>/dev/null || true
    rm -rf "${STATE:?}"
}

empty() { # nothing runs in any namespace of the lab
    local role
    for role in "${ROLES[@]}"; do
        [[ ! -e /run/netns/$LAB-$role || ! $(ip netns pids "$LAB-$role") ]] || return 1
    done
}

# The tests name their labs v<pid><letters>: a lab whose test is gone was left behind.
sweep() {
    local name
    for name in $(ip netns list | sed -nE 's/^(v[0-9]+[a-z]+)-client( .*)?$/\1/p'); do
        [[ -d /proc/${name//[a-z]/} ]] || LAB=$name "$0" down
    done
}

status() {
    local role
    roles
    for role in "${ROLES[@]}"; do
        echo "$LAB-$role:"
        in_ns "$role" ss -Hlnutp | awk '{print "  " $1, $5, $7}'
    done
}

# --- faults --------------------------------------------------------------------------------------

fault() {
    local verdict=$1; shift
    case $verdict in
        drop) verdict=drop ;;
        port) verdict="reject with icmpx port-unreachable" ;;
        admin) verdict="reject with icmpx admin-prohibited" ;;
        reset) verdict="reject with tcp reset" ;;
        *) die "a fault is drop, port, admin or reset" ;;
    esac
    in_ns r1 nft -f - <<NFT
add table inet fault
add chain inet fault forward { type filter hook forward priority 0; }
add rule inet fault forward $* counter $verdict
NFT
}

nat() {
    in_ns r1 nft -f - <<NFT
add table ip nat
delete table ip nat
add table ip nat
add chain ip nat out { type nat hook postrouting priority srcnat; }
add rule ip nat out oifname wan ip saddr 192.0.2.10 meta l4proto udp snat to 198.51.100.1:$1
NFT
    in_ns r1 conntrack -F 2>/dev/null
}

clear_faults() { in_ns r1 nft "add table inet fault; delete table inet fault"; }

resolver() {
    mkdir -p "/etc/netns/$LAB-client"
    printf 'nameserver %s\noptions timeout:1 attempts:1\n' "$1" >"/etc/netns/$LAB-client/resolv.conf"
}

# --- processes -----------------------------------------------------------------------------------

# pid NAME: its pid if it still runs in this lab, so that a reused pid is never taken for it
pid() {
    local p
    p=$(cat "$STATE/$1.pid" 2>/dev/null) && [[ $(ip netns identify "$p" 2>/dev/null) == "$LAB-"* ]] && echo "$p"
}

# spawn NAME ROLE COMMAND...: in the background, in a session of its own; output in NAME.log
spawn() {
    local name=$1 role=$2; shift 2
    : >"$STATE/$name.log"
    setsid ip netns exec "$LAB-$role" "$@" >>"$STATE/$name.log" 2>&1 </dev/null &
    echo $! >"$STATE/$name.pid"
    until [[ $(pid "$name") ]] || ! kill -0 $! 2>/dev/null; do sleep 0.01; done
    disown
}

# ready NAME COMMAND...: waits until the command succeeds; the process must live
ready() {
    local name=$1 deadline=$((SECONDS + 15)); shift
    until "$@" &>/dev/null; do
        [[ $(pid "$name") ]] || die "$name died: $(tail -n 3 "$STATE/$name.log")"
        ((SECONDS < deadline)) || die "$name is not ready: $(tail -n 3 "$STATE/$name.log")"
        sleep 0.05
    done
}

listening() { [[ $(in_ns "$1" ss -Hln "--$2" "sport = :$3") ]]; } # ROLE tcp|udp PORT

# session NAME: the pids of a server with all its children
session() { local p; p=$(pid "$1") && ps -o pid= -s "$p"; }

freeze() {
    # shellcheck disable=SC2046
    kill "-$2" $(session "$1") || die "$1 does not run"
}

stop() {
    local pids
    pids=$(session "$1") || return 0
    # shellcheck disable=SC2086
    kill -TERM $pids 2>/dev/null || true
    # shellcheck disable=SC2086
    until_ok 5 gone $pids || kill -KILL $pids 2>/dev/null || true
    rm -f "$STATE/$1.pid"
}

gone() { # PID...: all have ended (a zombie has)
    # shellcheck disable=SC2046
    ! grep -qs '^State:[[:space:]][^ZX]' $(printf '/proc/%s/status ' "$@")
}

# shellcheck source=tests/lab/servers.sh
source "$HERE/servers.sh"

verb=${1:-}; shift || true
[[ $verb == sweep ]] || : "${LAB:?the name of the lab}"
STATE=${LAB_STATE:-${TMPDIR:-/tmp}/vpnprobe-lab/${LAB:-}}
case $verb in
    up | diamond | office | wire | down | sweep | status | stop | resolver) "$verb" "$@" ;;
    start)
        server=$1; shift
        case $server in
            inside/unbound) PLACE=inside NAMED=inside_ CONC=10.20.0.53 CONC6=fd00:20::53 ;;
            inside/*) PLACE=inside NAMED=inside_ CONC=10.20.0.80 CONC6=fd00:20::80 ;;
        esac
        "start_${server#inside/}" "$@" ;;
    freeze) freeze "$1" STOP ;;
    thaw) freeze "$1" CONT ;;
    fault | nat) "$verb" "$@" ;;
    clear) clear_faults ;;
    exec) in_ns "$@" ;;
    vici | swan) "$verb" "$@" ;;
    *) sed -n '2,/^set/s/^# \?//p' "$0"; exit 2 ;;
esac
