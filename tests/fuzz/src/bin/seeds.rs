//! Writes what the targets start from. No target, but it needs libFuzzer to link with what is watched by it:
//! `VPNPROBE_FUZZ_SEEDS=DIRECTORY seeds -runs=1`.
#![no_main]

vpnprobe_fuzz::targets!(&[&[("seeds", vpnprobe_fuzz::list::write)]]);
