//! What the arguments of `sog` may be, and what becomes of an output.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    process::{Command, Output},
};

fn sog<T: AsRef<OsStr>>(args: &[T]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sog")).args(args).output().unwrap()
}

#[test]
fn a_number_below_zero_is_the_value_of_its_option() {
    for (args, option) in [
        (&["eval", "--policy", "p", "--rollouts", "-3"][..], "--rollouts"),
        (&["train", "--task", "circles", "--demos", "d", "--out", "o", "--seed", "-1"], "--seed"),
        (
            &["demos", "record", "--task", "circles", "--out", "o", "--action-noise", "-1"],
            "--action-noise",
        ),
        (&["bench", "--seconds", "-1"], "--seconds"),
        (&["task", "new", "d", "--dt", "-0.02"], "--dt"),
    ] {
        let output = sog(args);
        let said = String::from_utf8(output.stderr).unwrap();
        let value = format!("invalid value '{}' for '{option}", args[args.len() - 1]);
        assert!(output.status.code() == Some(2) && said.contains(&value), "{said}");
    }
}

#[test]
fn a_path_may_be_of_any_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join(OsStr::from_bytes(b"t\xffsk"));
    let text = std::fs::read_to_string("../models/tasks/hopper-vel-6/task.toml").unwrap();
    let text =
        text.replace("../../robots/hopper.xml", "hopper.xml").replace("hopper-vel-6", "mine");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy("../models/robots/hopper.xml", folder.join("hopper.xml")).unwrap();
    std::fs::write(folder.join("task.toml"), text).unwrap();
    let output = sog(&[OsStr::new("task"), OsStr::new("check"), folder.as_os_str()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("mine: 11 numbers seen"));
    let missing = temp.path().join(OsStr::from_bytes(b"n\xffthing"));
    let output = sog(&[OsStr::new("task"), OsStr::new("check"), missing.as_os_str()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("n\u{fffd}thing"));
}
#[test]
fn a_file_of_another_kind_is_called_what_it_is() {
    let policy = "../models/policies/circles-sog-bc.safetensors";
    let temp = tempfile::tempdir().unwrap();
    let (out, pictures) = (temp.path().join("out"), temp.path().join("pictures"));
    let (out, pictures) = (out.to_str().unwrap(), pictures.to_str().unwrap());
    for args in [
        &["demos", "info", policy][..],
        &["figures", policy, "--out", pictures],
        &["demos", "clean", policy, "--out", out],
        &["demos", "import", "--task", "circles", "--from", policy, "--out", out],
    ] {
        let output = sog(args);
        let said = String::from_utf8(output.stderr).unwrap();
        let known = said.contains("`sog.policy/1`") && said.contains("no demonstrations");
        assert!(output.status.code() == Some(2) && known, "{args:?}: {said}");
    }
    let demos = temp.path().join("demos");
    let demos = demos.to_str().unwrap();
    let record = ["demos", "record", "--task", "circles", "--episodes-per-mode", "1"];
    assert!(sog(&[&record[..], &["--out", demos]].concat()).status.success());
    let output = sog(&["embed", "--policy", demos, "--demos", demos]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("this is no policy"), "{said}");
    let output = sog(&["demos", "export", demos, "--format", "minari", "--out", demos]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("choose another name"), "{said}");
}

#[test]
fn an_export_on_a_full_disk_leaves_nothing_and_is_said_once() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name).to_str().unwrap().to_string();
    let (demos, out) = (at("demos"), at("out"));
    let record = ["demos", "record", "--task", "circles", "--episodes-per-mode", "1", "--out"];
    assert!(sog(&[&record[..], &[&demos]].concat()).status.success());
    // A file may have 8 KiB.
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 8; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_sog")])
        .args(["demos", "export", &demos, "--format", "minari", "--out", &out])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("cannot be written"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!temp.path().join("out").exists());
}
