#!/bin/sh
# The benchmark: vpnprobe beside smokeping_prober, blackbox_exporter, fping and a floor, in one run.
#   tests/bench/run.sh [--quick] [--reps N] [--seconds S] [--sizes 10,1000] [--tools vpnprobe,floor] [--only cost,calls,ike,scrape,rate,schedule,accuracy,stall]
# Needs root (network namespaces of its own; nothing leaves them) and Debian's fping,
# prometheus-smokeping-prober, prometheus-blackbox-exporter, ike-scan, stress-ng, strace, iproute2, python3.
set -eu
cd "$(dirname "$0")/../.."
cargo build --release --bin vpnprobe
cargo build --release --bench floor
exec python3 tests/bench/run.py "$@"
