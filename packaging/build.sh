#!/usr/bin/env bash
# Makes the .deb and the .rpm in target/packages from a release build.
# usage: packaging/build.sh [debug]      debug: from a debug build, for the tests
# Needs: cargo install --locked cargo-deb@3.8.0 cargo-generate-rpm@0.21.1 cargo-cyclonedx@0.5.9
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
profile=${1:-release}
flag=--release
[[ $profile == release ]] || flag=
cargo build --locked ${flag:+"$flag"}
out=target/packages
rm -rf "$out"
mkdir -p "$out/share" "$out/bin"
strip -o "$out/bin/vpnprobe" "target/$profile/vpnprobe"
"$out/bin/vpnprobe" describe "$out/share"
gzip -9n "$out"/share/*.1
gzip -9nc CHANGELOG.md >"$out/share/changelog.gz"
# The list of all that is inside, without the place where it was built. It is written beside each crate.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s) \
    cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps
sed "s#path+file://$PWD##" vpnprobe.cdx.json >"$out/vpnprobe.cdx.json"
rm -f vpnprobe.cdx.json tests/fuzz/vpnprobe-fuzz.cdx.json
gzip -9nc "$out/vpnprobe.cdx.json" >"$out/share/vpnprobe.cdx.json.gz"
cargo deb --no-build --no-strip --output "$out/"
cargo generate-rpm --output "$out/"
ls -l "$out"/*.deb "$out"/*.rpm "$out"/*.json
