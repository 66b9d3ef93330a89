//! What this workspace is built of: crates of one registry alone, each by its checksum, under licences that ask for nothing but their notice.
//!
//! Known holes in crates are told of in a database that is not part of the sources: `cargo install cargo-audit && cargo audit` asks it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

/// Licences that may be linked into a program of any kind.
const LICENCES: [&str; 11] = ["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "BlueOak-1.0.0", "CC0-1.0", "ISC", "MIT", "Unicode-3.0", "Zlib"];

/// All packages of the build for this platform, as cargo names them.
fn packages() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let asked = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .expect("cargo can be run");
    assert!(asked.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&asked.stderr));
    let mut told: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    let built: Vec<Value> = told["resolve"]["nodes"].as_array().expect("nodes").iter().map(|node| node["id"].clone()).collect();
    let packages = told["packages"].take();
    packages.as_array().expect("packages").iter().filter(|package| built.contains(&package["id"])).cloned().collect()
}

/// True if one may choose licences of the list and keep to all that is asked.
fn is_free(expression: &str) -> bool {
    let read = Expression::parse_mode(expression, ParseMode::LAX);
    read.is_ok_and(|licence| licence.evaluate(|asked| asked.license.id().is_some_and(|id| LICENCES.contains(&id.name))))
}

#[test]
fn every_crate_is_under_a_free_licence() {
    let packages = packages();
    let others: Vec<&Value> = packages.iter().filter(|package| !package["source"].is_null()).collect();
    assert!(others.len() > 100, "{} packages", others.len());
    let wrong = |package: &&&Value| !package["license"].as_str().is_some_and(is_free);
    let wrong: Vec<String> = others.iter().filter(wrong).map(|package| format!("{} ({})", package["name"], package["license"])).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_crate_comes_from_one_registry_by_its_checksum() {
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock")).expect("Cargo.lock");
    let foreign: Vec<&str> = lock.split("[[package]]").filter(|package| package.contains("\nsource = ")).collect();
    let sources: BTreeSet<&str> = foreign.iter().flat_map(|package| package.lines().filter(|line| line.starts_with("source = "))).collect();
    assert!(foreign.len() > 100 && sources.len() == 1 && sources.iter().all(|source| source.starts_with("source = \"registry+")), "{sources:?}");
    let without: Vec<&&str> = foreign.iter().filter(|package| !package.contains("\nchecksum = ")).collect();
    assert!(without.is_empty(), "{without:?}");
}

#[test]
fn a_licence_is_free_if_one_may_choose_it_so() {
    for free in ["MIT", "MIT/Apache-2.0", "(GPL-3.0 OR MIT) AND ISC", "Apache-2.0 WITH LLVM-exception OR MIT"] {
        assert!(is_free(free), "{free}");
    }
    for other in ["GPL-3.0", "MIT AND GPL-3.0", "", "mine"] {
        assert!(!is_free(other), "{other}");
    }
}
