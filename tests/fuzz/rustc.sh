#!/usr/bin/env bash
# RUSTC_WRAPPER of fuzz.sh: coverage for the crates that read what others send, the sanitizer for all.
set -euo pipefail
extra=() name=
for ((i = 1; i <= $#; i++)); do
    [[ ${!i} != --crate-name ]] || { next=$((i + 1)); name=${!next}; }
done
# NUM_JOBS is there in a build script, which asks what a stable compiler can do.
if [[ " $* " == *" --target "* && -z ${NUM_JOBS:-} ]]; then
    case $name in
        vpnprobe | vpnprobe_fuzz | httparse | hickory_proto | x509_parser | asn1_rs | der_parser | serde_saphyr | granit_parser | saphyr* | serde_json | rustls | webpki)
            extra+=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
                -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
                -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0)
            ;;
    esac
    if [[ ${VPNPROBE_FUZZ_ASAN:-} ]]; then
        export RUSTC_BOOTSTRAP=1
        extra+=(-Zsanitizer=address)
    fi
fi
exec "$@" "${extra[@]}"
