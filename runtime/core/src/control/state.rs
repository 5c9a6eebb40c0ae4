//! The states of the controller and the one table of transitions between them.

use core::fmt;

/// What the controller is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Reads, commands nothing; the robot is left to itself.
    Idle,
    /// Watches the sensors and commands damping, ready to start.
    Ready,
    /// The policy commands the robot under the selected code.
    Policy,
    /// Commands damping until the operator resets.
    Damping,
    /// Commands the emergency stop until the operator resets.
    EStop,
    /// Moves the robot to the pose that the policy starts from, and holds it there.
    Homing,
}

impl State {
    /// Every state, in the order of [`TABLE`].
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Ready, Self::Policy, Self::Damping, Self::EStop, Self::Homing];

    /// The state of a number that `as u8` gave.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Where an event leads, if it leads anywhere from here.
    pub fn next(self, event: Event) -> Option<Self> {
        TABLE[event as usize].1[self as usize]
    }

    /// Name as in logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Ready => "ready",
            Self::Policy => "policy",
            Self::Damping => "damping",
            Self::EStop => "estop",
            Self::Homing => "homing",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What can change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// The operator asks to watch the robot.
    Arm,
    /// The operator asks the policy to act; raised only while the sensors are good.
    Start,
    /// The operator asks for damping, or the run is over.
    Damp,
    /// The operator stops everything.
    Stop,
    /// The operator clears damping or a stop.
    Reset,
    /// The sensors are lost, not finite or frozen.
    SensorFault,
    /// The robot or the link to it failed.
    RobotFault,
    /// The robot reports that its episode has ended: it has fallen, say.
    Terminated,
    /// Too many deadlines in a row were missed.
    DeadlineFault,
    /// The policy gave an action that is not finite.
    PolicyFault,
    /// The operator asks for the start pose, or a start begins elsewhere; raised only where the
    /// robot can be moved there.
    Home,
    /// The robot is blocked on the way to its start pose, or late.
    HomingFault,
}

/// For each event, where it leads from idle, ready, policy, damping, e-stop and homing.
///
/// Faults mean nothing in `Idle`, where nothing is commanded; `EStop` is left by a reset alone,
/// and every way to `Policy` goes through the operator.
#[rustfmt::skip]
pub const TABLE: [(Event, [Option<State>; 6]); 12] = {
    use State::{Damping, EStop, Homing, Idle, Policy, Ready};
    const STAY: Option<State> = None;
    const fn to(state: State) -> Option<State> { Some(state) }
    [
        //                      idle          ready         policy        damping       e-stop        homing
        (Event::Arm,           [to(Ready),    STAY,         STAY,         STAY,         STAY,         STAY]),
        (Event::Start,         [STAY,         to(Policy),   STAY,         STAY,         STAY,         to(Policy)]),
        (Event::Damp,          [to(Damping),  to(Damping),  to(Damping),  STAY,         STAY,         to(Damping)]),
        (Event::Stop,          [to(EStop),    to(EStop),    to(EStop),    to(EStop),    STAY,         to(EStop)]),
        (Event::Reset,         [STAY,         to(Idle),     STAY,         to(Idle),     to(Idle),     STAY]),
        (Event::SensorFault,   [STAY,         to(Damping),  to(Damping),  STAY,         STAY,         to(Damping)]),
        (Event::RobotFault,    [STAY,         to(Damping),  to(Damping),  STAY,         STAY,         to(Damping)]),
        (Event::Terminated,    [STAY,         to(Damping),  to(Damping),  STAY,         STAY,         to(Damping)]),
        (Event::DeadlineFault, [STAY,         to(Damping),  to(Damping),  STAY,         STAY,         to(Damping)]),
        (Event::PolicyFault,   [STAY,         to(Damping),  to(Damping),  STAY,         STAY,         to(Damping)]),
        (Event::Home,          [STAY,         to(Homing),   STAY,         STAY,         STAY,         STAY]),
        (Event::HomingFault,   [STAY,         STAY,         STAY,         STAY,         STAY,         to(Damping)]),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The transitions once more, as rules instead of as a table.
    fn expected(from: State, event: Event) -> State {
        match (from, event) {
            (State::EStop, Event::Reset) => State::Idle,
            (State::EStop, _) => State::EStop,
            (_, Event::Stop) => State::EStop,
            (State::Idle, Event::Arm) => State::Ready,
            (State::Idle, Event::Damp) => State::Damping,
            (State::Idle, _) => State::Idle,
            (State::Ready, Event::Start) => State::Policy,
            (State::Ready | State::Damping, Event::Reset) => State::Idle,
            (State::Ready, Event::Home) => State::Homing,
            (State::Homing, Event::Start) => State::Policy,
            (State::Homing, Event::HomingFault) => State::Damping,
            // What the operator did not mean here, and a fault of homing elsewhere, do nothing.
            (_, Event::Arm | Event::Start | Event::Reset | Event::Home | Event::HomingFault) => {
                from
            }
            _ => State::Damping,
        }
    }

    #[test]
    fn every_transition_is_as_ruled() {
        for (row, (event, _)) in TABLE.iter().enumerate() {
            assert_eq!(*event as usize, row, "rows stand in the order of events");
            for from in State::ALL {
                let found = from.next(*event).unwrap_or(from);
                assert_eq!(found, expected(from, *event), "{from} on {event:?}");
            }
        }
    }

    #[test]
    fn numbers_name_states() {
        for state in State::ALL {
            assert_eq!(State::from_u8(state as u8), Some(state));
        }
        assert_eq!(State::from_u8(6), None);
    }
}
