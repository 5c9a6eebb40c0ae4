//! What `sog train --device …` says where there is no CUDA.
#![allow(clippy::unwrap_used)] // a test may panic
#![cfg(not(feature = "cuda"))]

use std::process::{Command, Output};

/// Starts to train with demonstrations that are not there: the device comes first.
fn train(device: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sog"));
    command
        .args(["train", "--task", "circles", "--algo", "bc", "--demos", "none", "--out", "none"]);
    command.args(["--device", device]).output().unwrap()
}

#[test]
fn asking_for_cuda_is_a_clear_error() {
    let output = train("cuda");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("error: this program was built without CUDA"), "{said}");
    assert!(said.contains("cargo xtask cuda") && said.contains("--device cpu"), "{said}");
}

#[test]
fn leaving_the_choice_falls_back_and_says_so() {
    let said = String::from_utf8(train("auto").stderr).unwrap();
    assert!(said.starts_with("device: cpu (this program was built without CUDA"), "{said}");
    assert!(said.contains("none"), "it goes on to the demonstrations: {said}");
    let said = String::from_utf8(train("cpu").stderr).unwrap();
    assert!(!said.contains("device"), "{said}");
}
