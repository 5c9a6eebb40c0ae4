//! Who has a device: for the message that it is busy.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The error of a device that another program has.
pub(super) fn busy(device: &Path) -> io::Error {
    let text = match holder(device) {
        Some(Holder { process, name, since_s }) => format!(
            "busy: another controller has it since {since_s:.1} s ({name}, process {process}); \
             end that one first"
        ),
        None => "busy: another program has it; end that one first".to_string(),
    };
    io::Error::new(io::ErrorKind::ResourceBusy, text)
}

struct Holder {
    process: u32,
    name: String,
    /// How long it has run.
    since_s: f64,
}

/// The process that has this device open, as far as this one may see it.
fn holder(device: &Path) -> Option<Holder> {
    let number = fs::metadata(device).ok()?.rdev();
    let own = std::process::id();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let process = ids.find(|&id| id != own && has_open(id, number))?;
    let folder = PathBuf::from(format!("/proc/{process}"));
    let name = fs::read_to_string(folder.join("comm")).ok()?.trim().to_string();
    Some(Holder { process, name, since_s: runs_since_s(&folder)? })
}

fn has_open(process: u32, number: u64) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    let is_device = |found: fs::Metadata| {
        use std::os::unix::fs::FileTypeExt;
        found.file_type().is_char_device() && found.rdev() == number
    };
    descriptors.flatten().any(|entry| fs::metadata(entry.path()).is_ok_and(is_device))
}

/// How long the process of this folder of /proc has run.
fn runs_since_s(folder: &Path) -> Option<f64> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // Fields are counted from behind the name, which may hold anything; the start is the 22nd.
    let (_, fields) = stat.rsplit_once(')')?;
    let start_ticks: f64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let up_s: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Some((up_s - start_ticks / rustix::param::clock_ticks_per_second() as f64).max(0.0))
}
