//! Where operators post: from any thread or signal handler to the loop, without lock or allocation.

use alloc::vec::Vec;
use core::{
    hint,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use super::{Request, Requests};

/// Why a code cannot be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// The policy's codes are not free numbers.
    #[error("the policy has no Gaussian code; select one of its codes by number")]
    NotFree,
    /// There is no code of that number.
    #[error("there is no code {found}: the policy has {count}, numbered from 0")]
    NoSuchCode {
        /// The number.
        found: u16,
        /// How many there are.
        count: usize,
    },
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
    /// How many codes there are to select by number.
    count: usize,
    /// The last code posted, `[Z]` as bits; empty where codes are not free.
    code: Vec<AtomicU32>,
    /// Whether somebody is at `code`.
    busy: AtomicBool,
}

impl Mailbox {
    /// An empty mailbox that takes no codes.
    pub const fn new() -> Self {
        Self {
            requests: AtomicU32::new(0),
            count: 0,
            code: Vec::new(),
            busy: AtomicBool::new(false),
        }
    }

    /// An empty mailbox that takes the numbers of `count` codes, and codes of `width` numbers.
    pub fn with_codes(count: usize, width: usize) -> Self {
        Self { count, code: (0..width).map(|_| AtomicU32::new(0)).collect(), ..Self::new() }
    }

    /// Whether codes can be given by their numbers, as [`post_code`](Self::post_code) does.
    pub fn takes_free_codes(&self) -> bool {
        !self.code.is_empty()
    }

    /// Posts a request; lock-free, fit for a signal handler.
    pub fn post(&self, request: Request) {
        let add = |bits| Some(Requests::from_bits_retain(bits).with(request).bits());
        // The closure never refuses, so this never fails.
        let _ = self.requests.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    /// Posts the request to select the code of this number.
    ///
    /// # Errors
    /// [`CodeError::NoSuchCode`].
    pub fn select(&self, code: u16) -> Result<(), CodeError> {
        if usize::from(code) >= self.count {
            return Err(CodeError::NoSuchCode { found: code, count: self.count });
        }
        self.post(Request::Code(code));
        Ok(())
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
        self.post(Request::FreeCode);
        Ok(())
    }

    /// Takes everything posted since the last call; wait-free.
    pub fn take(&self) -> Requests {
        self.take_with_code(&mut [])
    }

    /// As [`take`](Self::take); a code asked for is copied to `code`, `[Z]`. Where it is just being
    /// posted, its request stays for the next call.
    pub fn take_with_code(&self, code: &mut [f32]) -> Requests {
        let taken = Requests::from_bits_retain(self.requests.swap(0, Ordering::AcqRel));
        if !taken.contains(Requests::FREE_CODE) {
            return taken;
        }
        if !self.enter() {
            self.post(Request::FreeCode);
            return taken.difference(Requests::FREE_CODE);
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
        mailbox.post(Request::Code(3));
        mailbox.post(Request::Start);
        mailbox.post(Request::Code(65_535));
        let taken = mailbox.take();
        assert_eq!(taken.code(), Some(65_535));
        assert!(taken.contains(Requests::START) && !taken.contains(Requests::STOP));
        assert!(mailbox.take().is_empty());
        assert_eq!(Requests::default().with(Request::Stop).code(), None);
    }

    #[test]
    fn a_code_is_taken_whole_or_later() {
        let (mailbox, mut code) = (Mailbox::with_codes(1, 2), [0.0; 2]);
        mailbox.post_code(&[1.5, -2.0]).unwrap();
        assert!(mailbox.enter(), "somebody posts just now");
        mailbox.post(Request::Damp);
        let taken = mailbox.take_with_code(&mut code);
        assert!(taken.contains(Requests::DAMP) && !taken.contains(Requests::FREE_CODE));
        assert_eq!(code, [0.0; 2]);
        mailbox.leave();
        assert!(mailbox.take_with_code(&mut code).contains(Requests::FREE_CODE));
        assert_eq!(code, [1.5, -2.0]);
        assert!(mailbox.take_with_code(&mut code).is_empty());
        let numbers = |found| Err(CodeError::Numbers { found, needed: 2 });
        assert_eq!(mailbox.post_code(&[1.0]), numbers(1));
        assert_eq!(mailbox.post_code(&[1.0, f32::NAN]), numbers(2));
        assert_eq!(Mailbox::new().post_code(&[]), Err(CodeError::NotFree));
        assert_eq!(mailbox.select(0), Ok(()));
        assert_eq!(mailbox.take().code(), Some(0));
        assert_eq!(mailbox.select(1), Err(CodeError::NoSuchCode { found: 1, count: 1 }));
        assert!(mailbox.take().is_empty());
    }
}
