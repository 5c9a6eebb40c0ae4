//! What a run reports.

use alloc::boxed::Box;

use super::{Counts, Event, Faults, Limited, State};
use crate::time::{Histogram, Summary};

/// How long things took, in constant memory.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    /// From deadline to beginning of a tick, ns.
    pub wake_latency: Box<Histogram>,
    /// From beginning to end of a tick, ns.
    pub exec: Box<Histogram>,
    /// From one tick's beginning to the next one's, ns.
    pub period: Box<Histogram>,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All its policy ticks were done.
    Completed,
    /// The operator or a signal asked for it.
    Quit,
    /// A fault or an operator's stop ended the policy's command, and nobody attends.
    Stopped(Event),
    /// Nobody attends, and nothing was asked for.
    Idle,
}

impl End {
    /// Name as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Quit => "quit",
            Self::Idle => "idle",
            Self::Stopped(event) => match event {
                Event::SensorFault => "sensor_fault",
                Event::RobotFault => "robot_fault",
                Event::Terminated => "terminated",
                Event::DeadlineFault => "deadline_fault",
                Event::PolicyFault => "policy_fault",
                Event::HomingFault => "homing_fault",
                Event::Stop => "operator_stop",
                _ => "operator_damp",
            },
        }
    }

    /// Whether the run went as it was asked to.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Completed | Self::Quit)
    }
}

/// What a run ends with.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// Why it ended.
    pub end: End,
    /// State in which it ended.
    pub state: State,
    /// Number of the code selected at the end.
    pub code: u16,
    /// Ticks.
    pub ticks: u64,
    /// Ticks in which the policy commanded.
    pub policy_ticks: u64,
    /// Periods without a tick.
    pub misses: u64,
    /// Faults by kind.
    pub faults: Counts<Faults>,
    /// Ticks in which a limit acted, by kind.
    pub limited: Counts<Limited>,
    /// From deadline to beginning of a tick.
    pub wake_latency_ns: Summary,
    /// From beginning to end of a tick.
    pub exec_ns: Summary,
    /// From one tick's beginning to the next one's.
    pub period_ns: Summary,
    /// Sum of the rewards of steps that the policy commanded, if the robot reports any.
    pub episode_return: Option<f64>,
}

#[cfg(feature = "host")]
impl RunReport {
    /// As a JSON object: `end, ticks, policy_ticks, misses, state, code, faults: {kind: count},
    /// limits: {kind: count}` (every kind), `wake_latency_ns, exec_ns, period_ns` (count, mean, p50, p99, p999, max) and
    /// `return` (null where the robot reports no reward).
    pub fn to_json(&self) -> serde_json::Value {
        use crate::time::SummaryToJson;
        use alloc::string::ToString;

        let by_name = |(name, n): (super::KindName, u64)| (name.to_string(), n.into());
        let faults: serde_json::Map<_, _> = self.faults.iter().map(by_name).collect();
        let limits: serde_json::Map<_, _> = self.limited.iter().map(by_name).collect();
        serde_json::json!({
            "end": self.end.name(),
            "ticks": self.ticks,
            "policy_ticks": self.policy_ticks,
            "misses": self.misses,
            "state": self.state.name(),
            "code": self.code,
            "faults": faults,
            "limits": limits,
            "wake_latency_ns": self.wake_latency_ns.to_json(),
            "exec_ns": self.exec_ns.to_json(),
            "period_ns": self.period_ns.to_json(),
            "return": self.episode_return,
        })
    }
}
