//! `sog-run doctor`: how fit this machine is for real time, and what to do about it.

use std::thread;

use anyhow::Result;
use serde_json::json;
use sog_runtime::os::{self, RealTimeConfig, Scheduler};

use super::{args::DoctorArgs, host::Host};

struct Check {
    name: &'static str,
    good: bool,
    found: String,
    advice: &'static str,
}

pub(super) fn main(args: &DoctorArgs) -> Result<bool> {
    let host = Host::look();
    let checks = checks(&host);
    let good = checks.iter().all(|check| check.good);
    if args.json {
        let list: Vec<_> = checks
            .iter()
            .map(|c| {
                json!({ "check": c.name, "ok": c.good, "found": c.found,
                        "advice": if c.good { "" } else { c.advice } })
            })
            .collect();
        println!("{}", json!({ "ok": good, "checks": list, "host": host.to_json() }));
        return Ok(good);
    }
    for check in &checks {
        let mark = if check.good { "ok  " } else { "weak" };
        println!("{mark}  {:<18} {}", check.name, check.found);
        if !check.good {
            println!("      {:<18} → {}", "", check.advice);
        }
    }
    println!("{}", if good { "fit for real time" } else { "usable, but not fit for real time" });
    Ok(good)
}

/// What to do depends on the processor.
struct Advice {
    preemption: &'static str,
    clock: &'static str,
}

/// Advice for an architecture as Rust names it.
fn advice(architecture: &str) -> Advice {
    match architecture {
        "x86_64" => Advice {
            preemption: "install a PREEMPT_RT kernel (Debian: linux-image-rt-amd64), or boot with \
                         preempt=full",
            clock: "reading the clock is slow: boot with clocksource=tsc, if the processor's \
                    counter is stable",
        },
        "aarch64" => Advice {
            preemption: "install a PREEMPT_RT kernel (Debian: linux-image-rt-arm64; a Jetson: \
                         NVIDIA's real-time kernel, nvidia-l4t-rt-kernel), or boot with \
                         preempt=full",
            clock: "reading the clock is slow: boot with clocksource=arch_sys_counter, the \
                    processor's own timer",
        },
        _ => Advice {
            preemption: "install a PREEMPT_RT kernel, or boot with preempt=full",
            clock: "reading the clock is slow: see /sys/devices/system/clocksource for another",
        },
    }
}

fn checks(host: &Host) -> Vec<Check> {
    let advice = advice(std::env::consts::ARCH);
    let unknown = || "unknown".to_string();
    // Tried in a thread of its own, so that this one stays as it is.
    let tried = thread::spawn(|| os::set_up(&RealTimeConfig::default()).ok()).join().ok().flatten();
    let fifo = tried.as_ref().is_some_and(|o| matches!(o.scheduler, Scheduler::Fifo(_)));
    let locked = tried.as_ref().is_some_and(|o| o.memory_locked);
    let limit = |limit: Option<u64>| match limit {
        None => unknown(),
        Some(u64::MAX) => "unlimited".to_string(),
        Some(n) => n.to_string(),
    };
    let clock = host.clock_source.clone().unwrap_or_else(unknown);
    let fast_clock = ["tsc", "arch_sys_counter", "kvm-clock", "riscv_clocksource"];
    vec![
        Check { name: "kernel", good: true, found: host.kernel.clone(), advice: "" },
        Check {
            name: "preemption",
            good: host.preemption.as_deref() == Some("PREEMPT_RT"),
            found: host.preemption.clone().unwrap_or_else(unknown),
            advice: advice.preemption,
        },
        Check {
            name: "SCHED_FIFO",
            good: fifo,
            found: format!(
                "{}; limit {}",
                if fifo { "granted" } else { "refused" },
                limit(host.rt_priority_limit)
            ),
            advice: "put `@realtime - rtprio 99` into /etc/security/limits.d, or \
                     `setcap cap_sys_nice,cap_ipc_lock+ep sog-run`",
        },
        Check {
            name: "locked memory",
            good: locked,
            found: format!(
                "{}; limit {} bytes",
                if locked { "granted" } else { "refused" },
                limit(host.lock_limit)
            ),
            advice: "put `@realtime - memlock unlimited` into /etc/security/limits.d",
        },
        Check {
            name: "real-time share",
            good: host.rt_share.is_none(),
            found: host.rt_share.map_or("unlimited".to_string(), |s| format!("{:.0} %", s * 100.0)),
            advice: "a spinning real-time thread is stopped for the rest of each second: \
                     sysctl kernel.sched_rt_runtime_us=-1, if nothing else runs there",
        },
        Check {
            name: "governor",
            good: host.governor.as_deref().is_none_or(|g| g == "performance"),
            found: host.governor.clone().unwrap_or_else(|| "none (fixed frequency)".to_string()),
            advice: "cpupower frequency-set -g performance",
        },
        Check {
            name: "clock source",
            good: fast_clock.contains(&clock.as_str()),
            found: clock,
            advice: advice.clock,
        },
        Check {
            name: "own processor",
            good: host.isolated.is_some(),
            found: format!(
                "isolated: {}; {} in all",
                host.isolated.as_deref().unwrap_or("none"),
                host.processors
            ),
            advice: "boot with isolcpus=N nohz_full=N, and run with --cpu N",
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_architecture_is_told_of_the_kernel_or_the_clock_of_another() {
        for (here, own, others) in [
            ("x86_64", ["rt-amd64", "tsc"], ["arm64", "arch_sys_counter"]),
            ("aarch64", ["rt-arm64", "arch_sys_counter"], ["amd64", "=tsc"]),
        ] {
            let Advice { preemption, clock } = advice(here);
            assert!(preemption.contains(own[0]) && clock.contains(own[1]), "{here}");
            assert!(!preemption.contains(others[0]) && !clock.contains(others[1]), "{here}");
        }
        let elsewhere = advice("riscv64");
        assert!(!elsewhere.preemption.contains("64") && !elsewhere.clock.contains('='));
    }
}
