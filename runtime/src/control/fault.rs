//! What can go wrong in a control tick, counted by kind.

use core::fmt;

/// One kind of fault, or of limit that acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Fault {
    /// No new observation in this period.
    Stale,
    /// Too many periods in a row without a new observation: the watchdog acted.
    SensorsLost,
    /// An observation that is not finite; it is not used.
    NonFiniteSensors,
    /// The same numbers for too many control steps: the watchdog acted.
    SensorsFrozen,
    /// The link is closed.
    LinkClosed,
    /// The robot failed, or its buffers do not fit.
    RobotFailed,
    /// The command could not be sent.
    WriteFailed,
    /// The robot reports the end of its episode.
    Terminated,
    /// Too many missed deadlines in a row: the watchdog acted.
    DeadlinesMissed,
    /// The policy's action is not finite; it is not sent.
    NonFiniteAction,
    /// An action beyond its range was cut.
    ActionRange,
    /// A change of action beyond what the actuators bear was cut.
    ActionRate,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Stale,
        Self::SensorsLost,
        Self::NonFiniteSensors,
        Self::SensorsFrozen,
        Self::LinkClosed,
        Self::RobotFailed,
        Self::WriteFailed,
        Self::Terminated,
        Self::DeadlinesMissed,
        Self::NonFiniteAction,
        Self::ActionRange,
        Self::ActionRate,
    ];

    /// Name as in logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::SensorsLost => "sensors_lost",
            Self::NonFiniteSensors => "non_finite_sensors",
            Self::SensorsFrozen => "sensors_frozen",
            Self::LinkClosed => "link_closed",
            Self::RobotFailed => "robot_failed",
            Self::WriteFailed => "write_failed",
            Self::Terminated => "terminated",
            Self::DeadlinesMissed => "deadlines_missed",
            Self::NonFiniteAction => "non_finite_action",
            Self::ActionRange => "action_range",
            Self::ActionRate => "action_rate",
        }
    }
}

/// The faults of one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultSet(pub u32);

impl FaultSet {
    /// Adds a fault.
    pub fn insert(&mut self, fault: Fault) {
        self.0 |= 1 << fault as u32;
    }

    /// Whether a fault is in the set.
    pub fn contains(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u32) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The faults in the set.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.contains(*fault))
    }
}

impl fmt::Display for FaultSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { " " }, fault.name())?;
        }
        Ok(())
    }
}

/// In how many ticks each kind of fault occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; Fault::ALL.len()]);

impl FaultCounts {
    /// Counts the faults of one tick.
    pub fn add(&mut self, faults: FaultSet) {
        if faults.is_empty() {
            return;
        }
        for fault in faults.iter() {
            self.0[fault as usize] += 1;
        }
    }

    /// Ticks with this fault.
    pub fn get(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Every kind with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> + '_ {
        Fault::ALL.into_iter().map(|fault| (fault, self.get(fault)))
    }

    /// Sum over all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        for (i, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, i);
            let mut set = FaultSet::default();
            set.insert(fault);
            assert_eq!(set.iter().collect::<alloc::vec::Vec<_>>(), [fault]);
            let mut counts = FaultCounts::default();
            counts.add(set);
            counts.add(set);
            assert_eq!((counts.get(fault), counts.total()), (2, 2));
        }
    }
}
