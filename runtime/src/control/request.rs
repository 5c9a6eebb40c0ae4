//! Operator requests: from any thread or signal handler to the loop, without lock or allocation.

use core::sync::atomic::{AtomicU32, Ordering};

/// What an operator can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Watch the robot: idle → ready.
    Arm,
    /// Let the policy act: ready → policy, as soon as the sensors are good.
    Start,
    /// Select the code with this number: live under the policy, else for the next start.
    Mode(u16),
    /// Go to damping.
    Damp,
    /// Emergency stop.
    Stop,
    /// Clear damping or a stop.
    Reset,
    /// Go to damping and end the run.
    Quit,
}

impl Request {
    fn bit(self) -> u32 {
        match self {
            Self::Arm => 1,
            Self::Start => 1 << 1,
            Self::Mode(_) => 1 << 2,
            Self::Damp => 1 << 3,
            Self::Stop => 1 << 4,
            Self::Reset => 1 << 5,
            Self::Quit => 1 << 6,
        }
    }
}

/// Requests of one tick, collapsed into one word: flags below, the code of the last
/// [`Request::Mode`] in the upper half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests(pub u32);

impl Requests {
    /// The same with one more request.
    #[must_use]
    pub fn with(self, request: Request) -> Self {
        let kept = match request {
            Request::Mode(code) => (self.0 & 0xffff) | u32::from(code) << 16,
            _ => self.0,
        };
        Self(kept | request.bit())
    }

    /// Whether a request of this kind (whatever its code) is there.
    pub fn contains(self, request: Request) -> bool {
        self.0 & request.bit() != 0
    }

    /// The code asked for.
    pub fn mode(self) -> Option<u16> {
        self.contains(Request::Mode(0)).then_some((self.0 >> 16) as u16)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Where requests wait for the next tick. Several posters, one taker; requests of one tick
/// collapse, and the controller lets the safest win.
#[derive(Debug, Default)]
pub struct Mailbox(AtomicU32);

impl Mailbox {
    /// An empty mailbox.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Posts a request; lock-free, fit for a signal handler.
    pub fn post(&self, request: Request) {
        let add = |bits| Some(Requests(bits).with(request).0);
        // The closure never refuses, so this never fails.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    /// Takes everything posted since the last call; wait-free.
    pub fn take(&self) -> Requests {
        Requests(self.0.swap(0, Ordering::AcqRel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_collapse_and_the_last_code_wins() {
        let mailbox = Mailbox::new();
        assert!(mailbox.take().is_empty());
        mailbox.post(Request::Mode(3));
        mailbox.post(Request::Start);
        mailbox.post(Request::Mode(65_535));
        let taken = mailbox.take();
        assert_eq!(taken.mode(), Some(65_535));
        assert!(taken.contains(Request::Start) && !taken.contains(Request::Stop));
        assert!(mailbox.take().is_empty());
        assert_eq!(Requests::default().with(Request::Stop).mode(), None);
    }
}
