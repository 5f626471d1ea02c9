# shellcheck shell=bash disable=SC2154
# The servers of the lab; sourced by lab.sh. A start returns when the server answers. Names for stop,
# freeze and thaw are swan_client, openvpn_client, strongswan, openvpn_udp, openvpn_tcp, xl2tpd, ocserv, nginx, unbound,
# xrdp, coturn, coturn_rfc5780, coturn_alone, sstpd, softether, wireguard.
#
#   strongswan [PROPOSALS [CHILDLESS [ESP [PEER [KEY]]]]]
#                                           IKEv1 and IKEv2 on UDP 500, 4500, both families; pre-shared key
#                                           lab-psk; DPD after 5 s; CHILDLESS: allow, never, force; PEER: who is
#                                           known, any if not said
#   openvpn udp|tcp plain|tls-auth|tls-crypt|tls-crypt-v2 [PING RESTART [CLIENTS]]    port 1194, both families
#   swan_client DELAY TIMEOUT BASE TRIES    a strongSwan client with these timers, in the client's place
#   openvpn_client                          an OpenVPN client of `openvpn udp plain`, likewise
#   xl2tpd                                  UDP 1701, IPv4 only (xl2tpd has no IPv6)
#   ocserv [CERTIFICATE]                    AnyConnect on TCP 443, both families
#   nginx                                   TLS, both families: 443 good, 8443 expired, 8444 not valid yet,
#                                           8445 for another name, 8446 TLS 1.1 only
#                                           pages: / /there (redirects to /), /away (to another host), /missing
#   xrdp [LAYER]                            remote desktop on TCP 3389, both families; LAYER: negotiate, tls, rdp
#   sstpd                                   SSTP on TCP 443, both families (of PyPI, in target/venv)
#   softether                               SoftEther on TCP 443 and 5555, both families
#   wireguard                               wireguard-go on UDP 51820, both families, with one peer; keys in
#                                           $STATE/wireguard: server.pub, client.key, wrong.key, psk
#   coturn                                  STUN on UDP 3478, both families
#   coturn_rfc5780                          the same on the addresses .11 and .12: who has two answers to other
#                                           ports, too
#   coturn_alone                            the same on .13 only: it does not
#   unbound [WITHOUT]                       without that name below example.test; captive: any name there
#                                           has the same outside address;
#                                           DNS on UDP and TCP 53, both families; names: see records
#
# Keys are made once a lab: $STATE/pki (ca, server, expired, future, other) and $STATE/openvpn.

# unconfined COMMAND: a copy of a program that an AppArmor profile would keep from reading the state
# folder; profiles go by path.
unconfined() {
    mkdir -p "$STATE/bin"
    cp -u "$(command -v "$1")" "$STATE/bin/"
    echo "$STATE/bin/$1"
}

# pki: a CA and the certificates it signed. The names are those of the concentrator, or of another host.
pki() {
    local dir=$STATE/pki
    [[ ! -e $dir/done ]] || return 0
    mkdir -p "$dir/new"
    : >"$dir/index.txt"
    cat >"$dir/ca.cnf" <<CNF
[ca]
default_ca = lab
[lab]
database = $dir/index.txt
new_certs_dir = $dir/new
rand_serial = yes
default_md = sha256
policy = names
unique_subject = no
[names]
commonName = supplied
organizationName = optional
[req]
distinguished_name = dn
[dn]
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[concentrator]
subjectAltName = DNS:$FQDN, IP:$CONC, IP:$CONC6
extendedKeyUsage = serverAuth, clientAuth
keyUsage = digitalSignature
[elsewhere]
subjectAltName = DNS:elsewhere.example.test
extendedKeyUsage = serverAuth
keyUsage = digitalSignature
CNF
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/ca.key" -out "$dir/ca.crt" \
        -subj "/O=Lab/CN=Lab CA" -days 3650 -config "$dir/ca.cnf" -extensions root 2>>"$dir/log"
    certificate server concentrator '-1 day' '+365 days'
    certificate expired concentrator '-31 days' '-1 day'
    certificate future concentrator '+1 day' '+31 days'
    certificate other elsewhere '-1 day' '+365 days'
    chmod 644 "$dir"/*.key # ocserv and nginx read them with fewer rights; nothing here is secret
    touch "$dir/done"
}

certificate() { # NAME SECTION START END
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/$1.key" -out "$dir/$1.csr" \
        -subj "/O=Lab/CN=$1" -config "$dir/ca.cnf" 2>>"$dir/log"
    openssl ca -batch -notext -config "$dir/ca.cnf" -cert "$dir/ca.crt" -keyfile "$dir/ca.key" -in "$dir/$1.csr" \
        -out "$dir/$1.crt" -extensions "$2" -startdate "$(date -u -d "$3" +%Y%m%d%H%M%SZ)" \
        -enddate "$(date -u -d "$4" +%Y%m%d%H%M%SZ)" 2>>"$dir/log"
}

# strongSwan without systemd, with ESP in user space (no tunnel is ever made, but no kernel support may
# be taken for granted either). Its limits on half-open SAs are the defaults: they are what we test.
start_strongswan() {
    local dir=$STATE/strongswan proposals=${1:-aes256-sha256-modp2048,aes128gcm16-prfsha256-ecp256} version
    local childless=${2:-allow} esp=${3:-default} peer=${4:-%any} key=${5:-lab-psk}
    mkdir -p "$dir"
    cat >"$dir/strongswan.conf" <<CONF
charon-systemd {
    load = random nonce openssl gcrypt pem pkcs1 pkcs8 x509 pubkey curve25519 kdf kernel-libipsec kernel-netlink socket-default vici
    plugins {
        vici {
            socket = unix://$dir/vici
        }
    }
    filelog {
        stderr {
            time_format = %H:%M:%S
            default = 1
            net = 1
            enc = 1
            ike = 2
        }
    }
}
CONF
    for version in 1 2; do
        cat <<CONF
connections {
    ikev$version {
        version = $version
        local_addrs = $CONC, $CONC6
        remote_addrs = $peer
        proposals = $proposals
        childless = $childless
        dpd_delay = 5s
        local {
            auth = psk
            id = $FQDN
        }
        remote {
            auth = psk
        }
        children {
            lan {
                local_ts = 10.20.0.0/24
                esp_proposals = $esp
            }
        }
    }
}
CONF
    done >"$dir/swanctl.conf"
    printf 'secrets {\n    ike {\n        secret = %s\n    }\n}\n' "$key" >>"$dir/swanctl.conf"
    spawn strongswan conc env STRONGSWAN_CONF="$dir/strongswan.conf" "$(unconfined charon-systemd)"
    ready strongswan vici --stats
    vici --load-all --noprompt >"$dir/load.log" 2>&1 || die "strongSwan refuses its configuration: $(tail -n 3 "$dir/load.log")"
}

# vici --COMMAND ARGUMENT...: swanctl on the lab's strongSwan
vici() {
    local dir=$STATE/strongswan command=$1; shift
    SWANCTL_DIR=$dir STRONGSWAN_CONF=$dir/strongswan.conf "$(unconfined swanctl)" "$command" --uri "unix://$dir/vici" "$@"
}

start_openvpn() {
    local proto=$1 wrap=$2 keepalive="${3:-5} ${4:-15}" clients=${5:-1024} dir=$STATE/openvpn
    pki
    if [[ ! -e $dir/v2-client.key ]]; then
        mkdir -p "$dir"
        openvpn --genkey secret "$dir/ta.key"
        openvpn --genkey secret "$dir/wrong.key"
        openvpn --genkey tls-crypt-v2-server "$dir/v2-server.key"
        openvpn --tls-crypt-v2 "$dir/v2-server.key" --genkey tls-crypt-v2-client "$dir/v2-client.key"
        openvpn --genkey tls-crypt-v2-server "$dir/v2-wrong-server.key"
        openvpn --tls-crypt-v2 "$dir/v2-wrong-server.key" --genkey tls-crypt-v2-client "$dir/v2-wrong.key"
    fi
    cat >"$dir/$proto.conf" <<CONF
verb 3
proto ${proto/tcp/tcp6-server}
port 1194
dev ovpn-$proto
dev-type tun
disable-dco
topology subnet
server 10.30.2.0 255.255.255.0
keepalive $keepalive
max-clients $clients
dh none
ca $STATE/pki/ca.crt
cert $STATE/pki/server.crt
key $STATE/pki/server.key
CONF
    sed -i 's/^proto udp$/proto udp6/' "$dir/$proto.conf" # a dual-stack socket
    case $wrap in
        plain) ;;
        tls-auth) echo "tls-auth $dir/ta.key 0" ;;
        tls-crypt) echo "tls-crypt $dir/ta.key" ;;
        tls-crypt-v2) echo "tls-crypt-v2 $dir/v2-server.key" ;;
        *) die "no such wrapping: $wrap" ;;
    esac >>"$dir/$proto.conf"
    spawn "openvpn_$proto" conc openvpn "$dir/$proto.conf"
    ready "openvpn_$proto" grep "Initialization Sequence Completed" "$STATE/openvpn_$proto.log"
}

# The session is an IKE SA without a child: nothing of it needs the kernel.
start_swan_client() {
    local dir=$STATE/swan_client
    mkdir -p "$dir"
    cat >"$dir/strongswan.conf" <<CONF
charon-systemd {
    load = random nonce openssl gcrypt pem pkcs1 pkcs8 x509 pubkey curve25519 kdf kernel-libipsec kernel-netlink socket-default vici
    retransmit_timeout = $2
    retransmit_base = $3
    retransmit_tries = $4
    plugins {
        vici {
            socket = unix://$dir/vici
        }
    }
    filelog {
        stderr {
            time_format = %H:%M:%S
            time_add_ms = yes
            default = 1
            ike = 1
            job = 1
        }
    }
}
CONF
    cat >"$dir/swanctl.conf" <<CONF
connections {
    lab {
        version = 2
        local_addrs = 192.0.2.10
        remote_addrs = $CONC
        proposals = aes256-sha256-modp2048
        dpd_delay = $1s
        mobike = no
        childless = force
        rekey_time = 0
        local {
            auth = psk
            id = client.example.test
        }
        remote {
            auth = psk
            id = $FQDN
        }
    }
}
secrets {
    ike {
        secret = lab-psk
    }
}
CONF
    spawn swan_client client env STRONGSWAN_CONF="$dir/strongswan.conf" "$(unconfined charon-systemd)"
    ready swan_client swan --stats
    swan --load-all --noprompt >"$dir/load.log" 2>&1 || die "the client refuses its configuration: $(tail -n 3 "$dir/load.log")"
}

# swan --COMMAND ARGUMENT...: swanctl on the client
swan() {
    local dir=$STATE/swan_client command=$1; shift
    SWANCTL_DIR=$dir STRONGSWAN_CONF=$dir/strongswan.conf "$(unconfined swanctl)" "$command" --uri "unix://$dir/vici" "$@"
}

start_openvpn_client() {
    local dir=$STATE/openvpn
    cat >"$dir/client.conf" <<CONF
verb 3
client
proto udp4
remote $CONC 1194
nobind
dev ovpn-client
dev-type tun
disable-dco
persist-tun
persist-key
connect-retry 1 1
connect-timeout 3
ca $STATE/pki/ca.crt
cert $STATE/pki/server.crt
key $STATE/pki/server.key
CONF
    spawn openvpn_client client openvpn "$dir/client.conf"
    ready openvpn_client grep "Initialization Sequence Completed" "$STATE/openvpn_client.log"
}

start_xl2tpd() {
    local dir=$STATE/xl2tpd
    mkdir -p "$dir"
    echo "* * lab-l2tp" >"$dir/secrets"
    echo noauth >"$dir/ppp"
    cat >"$dir/conf" <<CONF
[global]
listen-addr = $CONC
auth file = $dir/secrets
debug tunnel = yes
debug state = yes
[lns default]
ip range = 10.30.5.2-10.30.5.100
local ip = 10.30.5.1
name = $FQDN
pppoptfile = $dir/ppp
CONF
    spawn xl2tpd conc xl2tpd -D -c "$dir/conf" -s "$dir/secrets" -p "$dir/pid" -C "$dir/control"
    ready xl2tpd listening conc udp 1701
}

start_ocserv() {
    local dir=$STATE/ocserv certificate=${1:-server}
    pki
    mkdir -p "$dir"
    printf 'wonderland\nwonderland\n' | ocpasswd -c "$dir/passwd" alice
    cat >"$dir/conf" <<CONF
auth = "plain[passwd=$dir/passwd]"
tcp-port = 443
run-as-user = nobody
run-as-group = nogroup
socket-file = $dir/socket
use-occtl = false
server-cert = $STATE/pki/$certificate.crt
server-key = $STATE/pki/$certificate.key
isolate-workers = false
max-ban-score = 0
rate-limit-ms = 0
tls-priorities = "NORMAL"
device = ocs
ipv4-network = 10.30.3.0
ipv4-netmask = 255.255.255.0
cisco-client-compat = true
CONF
    spawn ocserv conc ocserv -f -d 2 -c "$dir/conf" -p "$dir/pid"
    ready ocserv listening conc tcp 443
}

start_nginx() {
    local dir=$STATE/${NAMED}nginx
    pki
    mkdir -p "$dir/tmp"
    {
        cat <<CONF
user root;
daemon off;
worker_processes 1;
pid $dir/pid;
error_log $dir/error.log;
events { }
http {
    access_log $dir/access.log;
    client_body_temp_path $dir/tmp; proxy_temp_path $dir/tmp; fastcgi_temp_path $dir/tmp;
    uwsgi_temp_path $dir/tmp; scgi_temp_path $dir/tmp;
    ssl_protocols TLSv1.2 TLSv1.3;
CONF
        site 80 plain
        echo "    server { listen 8080; return 404; }"
        site 443 server
        site 8443 expired
        site 8444 future
        site 8445 other
        site 8446 server "ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;"
        echo "}"
    } >"$dir/conf"
    spawn "${NAMED}nginx" "$PLACE" nginx -e "$dir/error.log" -c "$dir/conf"
    ready "${NAMED}nginx" listening "$PLACE" tcp 8446
}

site() { # PORT CERTIFICATE [MORE]
    local listen="listen $CONC:$1 ssl; listen [$CONC6]:$1 ssl;
        ssl_certificate $STATE/pki/$2.crt; ssl_certificate_key $STATE/pki/$2.key; ${3:-}"
    [[ $2 != plain ]] || listen="listen $1; listen [::]:$1;"
    echo "    server {
        $listen
        absolute_redirect off;
        location = / { return 200 ok; }
        location = /there { return 302 /; }
        location = /away { return 302 https://elsewhere.example.test/; }
        location / { return 404; }
    }"
}

start_xrdp() {
    local dir=$STATE/${NAMED}xrdp
    pki
    mkdir -p "$dir"
    cat >"$dir/xrdp.ini" <<CONF
[Globals]
ini_version=1
fork=true
port=3389
tcp_nodelay=true
security_layer=${1:-negotiate}
crypt_level=high
certificate=$STATE/pki/server.crt
key_file=$STATE/pki/server.key
ssl_protocols=TLSv1.2, TLSv1.3
[Logging]
LogFile=$dir/log
LogLevel=INFO
EnableSyslog=false
[Channels]
[Xorg]
name=Xorg
lib=libxup.so
username=ask
password=ask
ip=127.0.0.1
port=-1
CONF
    # Its pid file has a fixed place: each lab gets a folder of its own there.
    mkdir -p /run/xrdp
    spawn "${NAMED}xrdp" "$PLACE" sh -c 'mount -t tmpfs tmpfs /run/xrdp && exec xrdp --nodaemon --config "$1"' sh "$dir/xrdp.ini"
    ready "${NAMED}xrdp" listening "$PLACE" tcp 3389
}

start_sstpd() {
    local dir=$STATE/sstpd
    pki
    mkdir -p "$dir"
    : >"$dir/ppp"
    spawn sstpd conc "$HERE/../../target/venv/bin/sstpd" -l "$CONC,$CONC6" -p 443 -c "$STATE/pki/server.crt" \
        -k "$STATE/pki/server.key" --pppd-config "$dir/ppp" --local 10.30.6.1 --remote 10.30.6.0/24
    ready sstpd listening conc tcp 443
}

start_softether() {
    # Its folders have fixed places: each lab gets its own there.
    mkdir -p /var/lib/softether /var/log/softether /run/softether
    spawn softether conc sh -c 'for dir in /var/lib/softether /var/log/softether /run/softether; do
        mount -t tmpfs tmpfs $dir || exit; done; exec /usr/libexec/softether/vpnserver/vpnserver execsvc'
    ready softether listening conc tcp 443
}

start_wireguard() {
    local dir=$STATE/wireguard key
    if [[ ! -e $dir/psk ]]; then
        mkdir -p "$dir"
        for key in server client wrong; do
            (umask 077; wg genkey >"$dir/$key.key")
            wg pubkey <"$dir/$key.key" >"$dir/$key.pub"
        done
        (umask 077; wg genpsk >"$dir/psk")
    fi
    # Its control socket has a fixed place: each lab gets a folder of its own there.
    mkdir -p /run/wireguard
    spawn wireguard conc sh -c 'mount -t tmpfs tmpfs /run/wireguard || exit
        wireguard-go -f wgs &
        until wg set wgs listen-port 51820 private-key "$1/server.key" peer "$(cat "$1/client.pub")" \
            preshared-key "$1/psk" allowed-ips 10.30.7.2/32 2>/dev/null; do sleep 0.05; done
        ip link set wgs up; wait' sh "$dir"
    ready wireguard listening conc udp 51820
}

start_coturn() { turn coturn "$CONC" "$CONC6"; }

start_coturn_rfc5780() { turn coturn_rfc5780 203.0.113.11 203.0.113.12 2001:db8:3::11 2001:db8:3::12; }

start_coturn_alone() { turn coturn_alone 203.0.113.13; }

turn() { # NAME ADDRESS...
    local name=$1 dir=$STATE/$1 address addresses=(); shift
    mkdir -p "$dir"
    for address in "$@"; do addresses+=(-L "$address"); done
    spawn "$name" conc turnserver -n --stun-only --no-tls --no-dtls --no-cli --simple-log --log-file stdout \
        --pidfile "$dir/pid" --userdb "$dir/db" "${addresses[@]}"
    ready "$name" bound "$1:3478"
}

bound() { [[ $(in_ns conc ss -Hlnu src "$1") ]]; } # ADDRESS:PORT

start_unbound() {
    local without=${1:-} dir=$STATE/${NAMED}unbound
    mkdir -p "$dir"
    cat >"$dir/conf" <<CONF
server:
    interface: $CONC
    interface: $CONC6
    access-control: 0.0.0.0/0 allow
    access-control: ::/0 allow
    directory: "$dir"
    chroot: ""
    username: ""
    pidfile: ""
    logfile: ""
    use-syslog: no
    do-daemonize: no
    module-config: "iterator"
    do-not-query-localhost: no
    local-zone: "." refuse
$([[ $without == captive ]] || echo '    local-zone: "example.test." static')
$([[ $without != captive ]] || echo '    local-zone: "example.test." redirect
    local-data: "example.test. A 203.0.113.80"')
    local-zone: "refused.example.test." refuse
    local-zone: "silent.example.test." deny
    local-zone: "hijack.example.test." redirect
    local-zone: "servfail.example.test." transparent
$([[ $without == captive ]] || records | grep -v "^${without:-no}\\.example" | sed "s/.*/    local-data: '&'/")
forward-zone:
    name: "servfail.example.test."
    forward-addr: 127.0.0.1@9
    forward-tcp-upstream: yes
remote-control:
    control-enable: no
CONF
    spawn "${NAMED}unbound" "$PLACE" "$(unconfined unbound)" -d -c "$dir/conf"
    ready "${NAMED}unbound" listening "$PLACE" udp 53
    ready "${NAMED}unbound" listening "$PLACE" tcp 53
}

# vpn has both families, only4 no AAAA, cluster two members, big needs TCP; refused, silent and servfail
# are answered as they are called, any name below hijack exists; any other name does not exist.
records() {
    cat <<TEXT
vpn.example.test. A $CONC
vpn.example.test. AAAA $CONC6
only4.example.test. A $CONC
inside.example.test. A 10.20.0.80
hijack.example.test. A 203.0.113.80
cluster.example.test. 2 A 203.0.113.10
cluster.example.test. 2 A 203.0.113.11
TEXT
    local i
    for i in {1..12}; do echo "big.example.test. TXT \"$i $(printf 'x%.0s' {1..120})\""; done
}
