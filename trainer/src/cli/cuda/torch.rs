//! Part `pytorch`: the same updates in PyTorch, where there is one, in the same minutes.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use super::{
    images,
    part::{Place, Row},
    times::{batches, widths},
};

pub(super) const COLUMNS: [&str; 5] = ["update", "H", "batch", "device", "µs"];

pub(super) fn run(place: &Place) -> Result<()> {
    let Some(script) = &place.how.torch_script else {
        return place.tell("no script was named in --torch-script", None, &[]);
    };
    let python = place.how.python.clone().unwrap_or_else(|| PathBuf::from("python3"));
    let imports = start(&python).args(["-c", "import torch"]).output();
    if !imports.is_ok_and(|output| output.status.success()) {
        let without = format!("{} has no PyTorch", python.display());
        return place.tell(&without, None, &[]);
    }
    let list =
        |numbers: Vec<usize>| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let mut command = start(&python);
    command.arg(script).args(["--table", "--device", if place.is_cuda() { "cuda" } else { "cpu" }]);
    command.args(["--hidden", &list(widths(place)), "--batch", &list(batches(place))]);
    let (channels, pictures) = (images::widths(place), images::batches(place));
    command.args(["--width", &list(channels), "--pictures", &list(pictures)]);
    let left = place.until.saturating_duration_since(Instant::now()).as_secs_f64();
    command.args(["--seconds", &format!("{:.1}", 0.8 * left)]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    for line in BufReader::new(child.stdout.take().context("piped")?).lines() {
        let row: Row = serde_json::from_str(&line?)?;
        let values: Vec<_> = row.values.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        place.tell(&row.what, row.good, &values)?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", script.display());
    }
    Ok(())
}

/// Python, with the library path that was there before the bundle's script set its own.
fn start(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.stdin(Stdio::null());
    match std::env::var_os("SOG_OUTER_LIBRARY_PATH") {
        Some(outer) if outer.is_empty() => command.env_remove("LD_LIBRARY_PATH"),
        Some(outer) => command.env("LD_LIBRARY_PATH", outer),
        None => &mut command,
    };
    command
}
