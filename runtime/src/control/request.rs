//! Operator requests: from any thread or signal handler to the loop, without lock or allocation.

use alloc::vec::Vec;
use core::{
    hint,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

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
    /// Select the code posted by [`Mailbox::post_code`]: live under the policy, else for the next
    /// start.
    Code,
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
            Self::Code => 1 << 7,
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

    /// The same without requests of this kind.
    #[must_use]
    pub(super) fn without(self, request: Request) -> Self {
        Self(self.0 & !request.bit())
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

/// Why a code cannot be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// The policy's codes are not free numbers.
    #[error("the policy has no Gaussian code; select one of its codes by number")]
    NotFree,
    /// It has another width, or a number that is not finite.
    #[error("{found} numbers, need {needed} finite ones")]
    Numbers {
        /// How many were given.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
}

/// Where requests wait for the next tick. Several posters, one taker; requests of one tick
/// collapse, and the controller lets the safest win.
#[derive(Debug, Default)]
pub struct Mailbox {
    requests: AtomicU32,
    /// The last code posted, `[Z]` as bits; empty where codes are not free.
    code: Vec<AtomicU32>,
    /// Whether somebody is at `code`.
    busy: AtomicBool,
}

impl Mailbox {
    /// An empty mailbox that takes no codes.
    pub const fn new() -> Self {
        Self { requests: AtomicU32::new(0), code: Vec::new(), busy: AtomicBool::new(false) }
    }

    /// An empty mailbox that takes codes of `width` numbers.
    pub fn with_codes(width: usize) -> Self {
        Self { code: (0..width).map(|_| AtomicU32::new(0)).collect(), ..Self::new() }
    }

    /// Posts a request; lock-free, fit for a signal handler.
    pub fn post(&self, request: Request) {
        let add = |bits| Some(Requests(bits).with(request).0);
        // The closure never refuses, so this never fails.
        let _ = self.requests.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    /// Posts a code `[Z]` and the request to select it. Waits for other posters.
    ///
    /// # Errors
    /// [`CodeError`] if the policy takes no such code.
    pub fn post_code(&self, code: &[f32]) -> Result<(), CodeError> {
        if self.code.is_empty() {
            return Err(CodeError::NotFree);
        }
        if code.len() != self.code.len() || code.iter().any(|v| !v.is_finite()) {
            return Err(CodeError::Numbers { found: code.len(), needed: self.code.len() });
        }
        while !self.enter() {
            hint::spin_loop();
        }
        self.code.iter().zip(code).for_each(|(to, v)| to.store(v.to_bits(), Ordering::Relaxed));
        self.leave();
        self.post(Request::Code);
        Ok(())
    }

    /// Takes everything posted since the last call; wait-free.
    pub fn take(&self) -> Requests {
        self.take_with_code(&mut [])
    }

    /// As [`take`](Self::take); a code asked for is copied to `code`, `[Z]`. Where it is just being
    /// posted, its request stays for the next call.
    pub fn take_with_code(&self, code: &mut [f32]) -> Requests {
        let taken = Requests(self.requests.swap(0, Ordering::AcqRel));
        if !taken.contains(Request::Code) {
            return taken;
        }
        if !self.enter() {
            self.post(Request::Code);
            return taken.without(Request::Code);
        }
        let posted = self.code.iter().map(|bits| f32::from_bits(bits.load(Ordering::Relaxed)));
        code.iter_mut().zip(posted).for_each(|(to, v)| *to = v);
        self.leave();
        taken
    }

    fn enter(&self) -> bool {
        !self.busy.swap(true, Ordering::Acquire)
    }

    fn leave(&self) {
        self.busy.store(false, Ordering::Release);
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

    #[test]
    fn a_code_is_taken_whole_or_later() {
        let (mailbox, mut code) = (Mailbox::with_codes(2), [0.0; 2]);
        mailbox.post_code(&[1.5, -2.0]).unwrap();
        assert!(mailbox.enter(), "somebody posts just now");
        mailbox.post(Request::Damp);
        let taken = mailbox.take_with_code(&mut code);
        assert!(taken.contains(Request::Damp) && !taken.contains(Request::Code));
        assert_eq!(code, [0.0; 2]);
        mailbox.leave();
        assert!(mailbox.take_with_code(&mut code).contains(Request::Code));
        assert_eq!(code, [1.5, -2.0]);
        assert!(mailbox.take_with_code(&mut code).is_empty());
        let numbers = |found| Err(CodeError::Numbers { found, needed: 2 });
        assert_eq!(mailbox.post_code(&[1.0]), numbers(1));
        assert_eq!(mailbox.post_code(&[1.0, f32::NAN]), numbers(2));
        assert_eq!(Mailbox::new().post_code(&[]), Err(CodeError::NotFree));
    }
}
