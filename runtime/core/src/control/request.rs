//! What an operator can ask for.

/// What an operator can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Watch the robot: idle → ready.
    Arm,
    /// Let the policy act: ready → policy, as soon as the sensors are good; by way of homing where
    /// the robot can be moved to its start pose and is elsewhere.
    Start,
    /// Move to the start pose and hold it: ready → homing.
    Home,
    /// Select the code with this number: live under the policy, else for the next start.
    Code(u16),
    /// Go to damping.
    Damp,
    /// Emergency stop.
    Stop,
    /// Clear damping or a stop.
    Reset,
    /// Go to damping and end the run.
    Quit,
    /// Select the code that was given by its numbers: live under the policy, else for the next
    /// start.
    FreeCode,
}

impl Request {
    fn flag(self) -> Requests {
        match self {
            Self::Arm => Requests::ARM,
            Self::Start => Requests::START,
            Self::Home => Requests::HOME,
            Self::Code(_) => Requests::CODE,
            Self::Damp => Requests::DAMP,
            Self::Stop => Requests::STOP,
            Self::Reset => Requests::RESET,
            Self::Quit => Requests::QUIT,
            Self::FreeCode => Requests::FREE_CODE,
        }
    }
}

bitflags::bitflags! {
    /// Requests of one tick, collapsed into one word: flags below, the number of the last
    /// [`Request::Code`] in the upper half.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Requests: u32 {
        /// [`Request::Arm`].
        const ARM = 1;
        /// [`Request::Start`].
        const START = 1 << 1;
        /// [`Request::Code`].
        const CODE = 1 << 2;
        /// [`Request::Damp`].
        const DAMP = 1 << 3;
        /// [`Request::Stop`].
        const STOP = 1 << 4;
        /// [`Request::Reset`].
        const RESET = 1 << 5;
        /// [`Request::Quit`].
        const QUIT = 1 << 6;
        /// [`Request::FreeCode`].
        const FREE_CODE = 1 << 7;
        /// [`Request::Home`].
        const HOME = 1 << 8;
        // The number of the code.
        const _ = 0xffff_0000;
    }
}

impl Requests {
    /// The same with one more request.
    #[must_use]
    pub fn with(self, request: Request) -> Self {
        let kept = match request {
            Request::Code(code) => (self.bits() & 0xffff) | u32::from(code) << 16,
            _ => self.bits(),
        };
        Self::from_bits_retain(kept) | request.flag()
    }

    /// Number of the code asked for.
    pub fn code(self) -> Option<u16> {
        self.contains(Self::CODE).then_some((self.bits() >> 16) as u16)
    }
}
