//! The `sog` program as a shell sees it.
#![allow(clippy::unwrap_used)] // a test may panic

use std::process::{Command, Stdio};

#[test]
fn output_that_nobody_reads_ends_the_program_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sog"));
    let child = command.arg("tasks").stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
