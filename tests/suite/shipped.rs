//! What is shipped holds nothing of the fuzz targets.

use std::process::Command;

use serde_json::Value;

/// The planted bugs are in another crate, which the program and its packages do not depend on, and no
/// feature leads to it.
#[test]
fn no_planted_bug_is_shipped() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let said = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline", "--manifest-path", manifest])
        .output()
        .expect("cargo is missing");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let metadata: Value = serde_json::from_slice(&said.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours = packages.iter().find(|package| package["name"] == "vpnprobe").unwrap();
    let features = serde_json::json!({"fuzzing": []});
    assert_eq!(
        ours["features"], features,
        "none by default, and the one of the fuzz targets leads to no crate"
    );
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let fuzz = |id: &Value| {
        let package = packages.iter().find(|package| package["id"] == *id).unwrap();
        ["vpnprobe-fuzz", "libfuzzer-sys"].iter().any(|name| package["name"] == *name)
    };
    let mut reached = vec![&ours["id"]];
    let mut next = 0;
    while let Some(id) = reached.get(next).copied() {
        next += 1;
        assert!(!fuzz(id), "the program depends on {id}");
        let node = nodes.iter().find(|node| node["id"] == *id).unwrap();
        for dependency in node["dependencies"].as_array().unwrap() {
            if !reached.contains(&dependency) {
                reached.push(dependency);
            }
        }
    }
    assert!(next > 100, "{next} packages are not all");
}

/// The build that is packaged sets nothing that would open the readers to the targets.
#[test]
fn the_packages_are_built_without_them() {
    let script = include_str!("../../packaging/build.sh");
    assert!(["fuzzing", "features", "workspace", "RUSTFLAGS"].iter().all(|word| !script.contains(word)));
    let library = include_str!("../../src/lib.rs");
    assert!(library.contains("#[cfg(all(feature = \"fuzzing\", not(debug_assertions)))]\ncompile_error!"));
}
