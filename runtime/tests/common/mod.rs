//! A trivial robot: a point in the plane that checks what it is told.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use sog_runtime::{
    control::{Config, Controller, Plan, Request, RunReport, run},
    io::{Command, Guidance, IoError, Reading, RobotIo, RobotSpec},
    policy::{PolicyFile, example},
    time::LockStep,
};

/// Largest change of action that the point bears in a step.
pub const MAX_STEP: f32 = 0.5;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Told {
    Act([f32; 2]),
    Damp,
    Stop,
    Reset,
}

/// Goes where the action says, and sees its last five positions (as the circles task).
#[derive(Clone, Debug)]
pub struct Point {
    spec: RobotSpec,
    step: u64,
    fresh: bool,
    trace: [f32; 10],
    stopped: bool,
    last: [f32; 2],
    pub told: Vec<Told>,
    /// Commands that would break the robot.
    pub unsafe_commands: u64,
    pub terminate_at: Option<u64>,
}

impl Point {
    pub fn new() -> Self {
        Self {
            spec: spec(),
            step: 0,
            fresh: true,
            trace: [0.0; 10],
            stopped: false,
            last: [0.0; 2],
            told: vec![],
            unsafe_commands: 0,
            terminate_at: None,
        }
    }
}

/// A point that says what its actuators get, whatever it is told.
pub struct Guided {
    pub point: Point,
    pub applied: [f32; 2],
    pub taken_over: bool,
}

impl Guided {
    pub fn new(applied: [f32; 2]) -> Self {
        Self { point: Point::new(), applied, taken_over: false }
    }
}

impl RobotIo for Guided {
    fn spec(&self) -> &RobotSpec {
        self.point.spec()
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        self.point.read(obs)
    }

    fn guidance(&self) -> Guidance<'_> {
        Guidance { applied: Some(&self.applied), buttons: 0, taken_over: self.taken_over }
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        self.point.write(command)
    }
}

pub fn policy() -> PolicyFile {
    example(7)
}

pub fn spec() -> RobotSpec {
    let mut spec = RobotSpec::new(policy().contract);
    spec.max_action_step = vec![MAX_STEP; 2];
    spec
}

pub fn controller(config: Config) -> Controller {
    Controller::new(&policy(), &spec(), config).unwrap()
}

/// A controller that commands from its first tick.
pub fn started(config: Config) -> Controller {
    let controller = controller(config);
    controller.request(Request::Arm);
    controller.request(Request::Start);
    controller
}

/// What a run in one process, in lock step, tells the robot.
pub fn reference(ticks: u64) -> (RunReport, Vec<Told>) {
    let (mut point, mut controller) = (Point::new(), started(Config::default()));
    let mut ticker = LockStep::new(controller.period_ns());
    let report = run(&mut controller, &mut point, &mut ticker, &Plan::ticks(ticks), &mut ());
    (report, point.told)
}

impl RobotIo for Point {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        if !std::mem::take(&mut self.fresh) {
            return Err(IoError::Stale);
        }
        obs.copy_from_slice(&self.trace);
        let terminated = self.terminate_at.is_some_and(|at| self.step >= at);
        let reward = Some(f64::from(self.trace[8]) + self.step as f64);
        Ok(Reading { step: self.step, reward, terminated })
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        let mut action = [0.0; 2];
        let told = match command {
            Command::Act(a) => {
                action.copy_from_slice(a);
                Told::Act(action)
            }
            Command::Damp => Told::Damp,
            Command::Stop => Told::Stop,
            Command::Reset => Told::Reset,
            Command::Home => return Err(IoError::Robot("it knows no way to a start pose")),
        };
        for (a, last) in action.iter().zip(self.last) {
            let in_range = a.abs() <= 1.5;
            let bearable = (a - last).abs() <= MAX_STEP * 1.000_001;
            let is_unsafe = told == Told::Act(action) && !(in_range && bearable);
            self.unsafe_commands += u64::from(is_unsafe);
        }
        self.unsafe_commands += u64::from(self.stopped && matches!(told, Told::Act(_)));
        self.told.push(told);
        self.last = action;
        match told {
            Told::Stop => self.stopped = true,
            Told::Reset => (self.stopped, self.trace) = (false, [0.0; 10]),
            _ => {}
        }
        if told != Told::Reset {
            self.trace.copy_within(2.., 0);
            // Not quite still at rest, as real sensors are.
            let tremor = if self.step.is_multiple_of(2) { 1e-3 } else { -1e-3 };
            self.trace[8] += action[0] * 0.1 + tremor;
            self.trace[9] += action[1] * 0.1 - tremor;
        }
        (self.step, self.fresh) = (self.step + 1, true);
        Ok(())
    }
}
