//! Real-time set-up of the calling thread, and an honest account of what was obtained.
#![allow(unsafe_code)]

use std::{fmt, io, num::NonZeroU64};

use rustix::{mm, thread};

/// What happens when a part of the set-up is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Nothing is asked for.
    Off,
    /// It is reported, and the run goes on.
    #[default]
    Warn,
    /// The run does not begin.
    Strict,
}

/// What to ask the system for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealTimeConfig {
    /// What happens when a part is refused.
    pub strictness: Strictness,
    /// `SCHED_FIFO` priority, 1 to 99.
    pub priority: u8,
    /// Processor to stay on.
    pub cpu: Option<usize>,
}

impl Default for RealTimeConfig {
    fn default() -> Self {
        Self { strictness: Strictness::Warn, priority: 80, cpu: None }
    }
}

/// Scheduling class of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// First in, first out, at this priority.
    Fifo(u8),
    /// Anything else: no real-time class.
    Other,
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fifo(priority) => write!(f, "SCHED_FIFO {priority}"),
            Self::Other => write!(f, "SCHED_OTHER"),
        }
    }
}

/// What was obtained, read back from the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obtained {
    /// Scheduling class of this thread.
    pub scheduler: Scheduler,
    /// The processor that this thread is bound to.
    pub cpu: Option<usize>,
    /// Whether all memory is locked.
    pub memory_locked: bool,
    /// What was asked for and refused, with the reason and what to do.
    pub refused: Vec<String>,
}

impl Obtained {
    /// Whether this is real time: a real-time class and locked memory.
    pub fn is_real_time(&self) -> bool {
        matches!(self.scheduler, Scheduler::Fifo(_)) && self.memory_locked
    }

    /// As a JSON object: `scheduler, cpu, memory_locked, real_time, refused`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "scheduler": self.scheduler.to_string(),
            "cpu": self.cpu,
            "memory_locked": self.memory_locked,
            "real_time": self.is_real_time(),
            "refused": self.refused,
        })
    }
}

impl fmt::Display for Obtained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.cpu.map_or("any processor".to_string(), |cpu| format!("processor {cpu}"));
        let memory = if self.memory_locked { "locked" } else { "not locked" };
        write!(f, "{}, {cpu}, memory {memory}", self.scheduler)?;
        self.refused.iter().try_for_each(|refused| write!(f, "; refused: {refused}"))
    }
}

/// The set-up is strict and a part of it was refused.
#[derive(Debug, thiserror::Error)]
#[error("real-time set-up is strict and was refused: {}", .0.refused.join("; "))]
pub struct RealTimeError(pub Obtained);

/// Sets up the calling thread: locks memory, prefaults the stack, takes `SCHED_FIFO`, binds to a
/// processor.
///
/// # Errors
/// [`RealTimeError`] if the set-up is strict and something was refused.
pub fn set_up(config: &RealTimeConfig) -> Result<Obtained, RealTimeError> {
    let mut refused = Vec::new();
    let mut memory_locked = false;
    let mut cpu = None;
    if config.strictness != Strictness::Off {
        let flags = mm::MlockAllFlags::CURRENT | mm::MlockAllFlags::FUTURE;
        memory_locked = mm::mlockall(flags).is_ok();
        if !memory_locked {
            refused.push("locking memory (raise `ulimit -l`, or grant CAP_IPC_LOCK)".to_string());
        }
        prefault_stack();
        if let Err(error) = take_fifo(config.priority) {
            let wanted = Scheduler::Fifo(config.priority);
            refused.push(format!("{wanted} ({error}; raise `ulimit -r`, or grant CAP_SYS_NICE)"));
        }
        if let Some(wanted) = config.cpu {
            match bind(wanted) {
                Ok(()) => cpu = Some(wanted),
                Err(error) => refused.push(format!("processor {wanted} ({error})")),
            }
        }
        // Threads outside the real-time classes are woken up to 50 µs late by default.
        let _ = thread::set_current_timer_slack(NonZeroU64::new(1));
    }
    let obtained = Obtained { scheduler: scheduler(), cpu, memory_locked, refused };
    if config.strictness == Strictness::Strict && !obtained.refused.is_empty() {
        return Err(RealTimeError(obtained));
    }
    Ok(obtained)
}

/// Touches the stack that a tick may need, so that no page fault comes later.
fn prefault_stack() {
    let mut pages = [0u8; 128 * 1024];
    pages.iter_mut().step_by(1024).for_each(|byte| *byte = 1);
    std::hint::black_box(&pages);
}

fn take_fifo(priority: u8) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: i32::from(priority) };
    // Threads that this one starts later are ordinary ones.
    let class = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the pointer is to a valid parameter for the length of the call; 0 is this thread.
    match unsafe { libc::sched_setscheduler(0, class, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn bind(cpu: usize) -> io::Result<()> {
    if cpu >= thread::CpuSet::MAX_CPU {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut set = thread::CpuSet::new();
    set.set(cpu);
    Ok(thread::sched_setaffinity(None, &set)?)
}

/// Scheduling class of the calling thread.
fn scheduler() -> Scheduler {
    let mut parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is this thread, and the pointer is valid for the length of the call.
    let class = unsafe {
        libc::sched_getparam(0, &raw mut parameter);
        libc::sched_getscheduler(0)
    };
    // Without the flag that keeps children from inheriting the class.
    match class & !libc::SCHED_RESET_ON_FORK {
        libc::SCHED_FIFO => Scheduler::Fifo(parameter.sched_priority.clamp(0, 99) as u8),
        _ => Scheduler::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_claimed_that_was_not_obtained() {
        // In a thread of its own: classes and affinity are a thread's.
        let test = || {
            let off = RealTimeConfig { strictness: Strictness::Off, ..Default::default() };
            let obtained = set_up(&off).unwrap();
            assert!(!obtained.is_real_time() && obtained.refused.is_empty());

            let config = RealTimeConfig { cpu: Some(9999), ..Default::default() };
            let obtained = set_up(&config).unwrap();
            assert_eq!(obtained.cpu, None);
            assert!(obtained.to_string().contains("refused: processor 9999"), "{obtained}");
            let strict = RealTimeConfig { strictness: Strictness::Strict, ..config };
            let error = set_up(&strict).unwrap_err();
            assert!(error.to_string().contains("processor 9999"), "{error}");
        };
        std::thread::spawn(test).join().unwrap();
    }
}
