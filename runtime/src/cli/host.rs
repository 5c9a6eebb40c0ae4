//! What this machine is: kernel, clock, governor, limits.

use std::fs;

use serde_json::json;

/// Facts about the machine that real time depends on; `None` where they cannot be known.
pub(super) struct Host {
    pub(super) kernel: String,
    /// `full` (PREEMPT_RT), `voluntary`… as far as the kernel tells.
    pub(super) preemption: Option<String>,
    pub(super) clock_source: Option<String>,
    pub(super) governor: Option<String>,
    /// Largest real-time priority that may be asked for.
    pub(super) rt_priority_limit: Option<u64>,
    /// Most memory that may be locked, bytes.
    pub(super) lock_limit: Option<u64>,
    /// Share of each second that real-time threads may use, if it is limited: 0.95 by default.
    pub(super) rt_share: Option<f64>,
    pub(super) isolated: Option<String>,
    pub(super) processors: usize,
}

fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?.trim().to_string();
    (!text.is_empty()).then_some(text)
}

impl Host {
    pub(super) fn look() -> Self {
        let name = rustix::system::uname();
        let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
        let limit = |resource| rustix::process::getrlimit(resource).current.or(Some(u64::MAX));
        Self {
            kernel: format!("{} {}", text(name.release()), text(name.version())),
            preemption: preemption(&text(name.version())),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            rt_priority_limit: limit(rustix::process::Resource::Rtprio),
            lock_limit: limit(rustix::process::Resource::Memlock),
            rt_share: rt_share(),
            isolated: read("/sys/devices/system/cpu/isolated"),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        json!({
            "kernel": self.kernel,
            "preemption": self.preemption,
            "clock_source": self.clock_source,
            "governor": self.governor,
            "isolated_processors": self.isolated,
            "processors": self.processors,
        })
    }
}

fn preemption(version: &str) -> Option<String> {
    if read("/sys/kernel/realtime").as_deref() == Some("1") || version.contains("PREEMPT_RT") {
        return Some("PREEMPT_RT".to_string());
    }
    // `none voluntary (full)`: the chosen one in brackets.
    let modes = read("/sys/kernel/debug/sched/preempt");
    let chosen = modes.as_deref().and_then(|m| m.split(['(', ')']).nth(1)).map(str::to_string);
    let named = ["PREEMPT_DYNAMIC", "PREEMPT"].into_iter().find(|name| version.contains(name));
    chosen.or_else(|| named.map(str::to_string))
}

fn rt_share() -> Option<f64> {
    let runtime: f64 = read("/proc/sys/kernel/sched_rt_runtime_us")?.parse().ok()?;
    let period: f64 = read("/proc/sys/kernel/sched_rt_period_us")?.parse().ok()?;
    (runtime >= 0.0).then_some(runtime / period)
}
