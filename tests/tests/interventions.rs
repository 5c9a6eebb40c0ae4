//! A person takes a robot over while a policy flies it: the log of the flight gives just those stretches back as
//! demonstrations, with what the person did.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    io::Cursor, net::SocketAddr, ops::Range, path::PathBuf, sync::atomic::AtomicBool, thread,
};

use sog_runtime::{
    control::{Config, Controller, Plan, Request, run},
    io::{Command, Guidance, IoError, Reading, RobotIo, RobotSpec},
    link::{LinkOptions, LinkRobot, PlantOptions, PlantServer, Udp},
    policy::PolicyFile,
    telemetry::{self, Log},
    time::LockStep,
};
use sog_sim::{
    robot::{SimRobot, spec},
    tasks::{self, TaskOptions, make},
};
use sog_trainer::data::{
    DemoFile,
    flights::{FlightOptions, demonstrations},
};

const TASK: &str = "circles";
const STEPS: u64 = 200;
/// Steps in which the person leads the robot.
const LED: [Range<u64>; 3] = [40..80, 120..150, 170..171];

/// Observations and actions of a stretch.
type Stretch = (Vec<f32>, Vec<f32>);

/// A robot that somebody takes by the hand at times.
struct Led {
    robot: SimRobot,
    obs: Vec<f32>,
    step: u64,
    applied: Vec<f32>,
    taken_over: bool,
    /// What was seen and done in each of [`LED`].
    by_hand: Vec<Stretch>,
}

impl RobotIo for Led {
    fn spec(&self) -> &RobotSpec {
        self.robot.spec()
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        let reading = self.robot.read(obs)?;
        self.obs = obs.to_vec();
        self.step = reading.step;
        Ok(reading)
    }

    fn guidance(&self) -> Guidance<'_> {
        Guidance { applied: Some(&self.applied), buttons: 0, taken_over: self.taken_over }
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        let Command::Act(action) = command else { return self.robot.write(command) };
        let stretch = LED.iter().position(|stretch| stretch.contains(&self.step));
        self.taken_over = stretch.is_some();
        self.applied = action.to_vec();
        if let Some(n) = stretch {
            self.applied = vec![1e-3 * self.step as f32, -0.1];
            self.by_hand[n].0.extend_from_slice(&self.obs);
            self.by_hand[n].1.extend_from_slice(&self.applied);
        }
        self.robot.write(Command::Act(&self.applied))
    }
}

/// The log of a flight over UDP, and what was done by hand.
fn flown() -> (Log, Vec<Stretch>) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let bytes = std::fs::read(root.join("models/policies/circles-sog-bc.safetensors")).unwrap();
    let file = PolicyFile::parse(&bytes).unwrap();
    let spec = spec(tasks::open(TASK).unwrap().info());
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let there = Udp::listen(any, None).unwrap();
    let here = Udp::connect(there.local_addr().unwrap(), None).unwrap();
    let served = {
        let spec = spec.clone();
        thread::spawn(move || {
            let mut robot = Led {
                robot: SimRobot::new(make(TASK, &TaskOptions::default()).unwrap(), 9).unwrap(),
                obs: vec![],
                step: 0,
                applied: vec![0.0; 2],
                taken_over: false,
                by_hand: vec![(vec![], vec![]); LED.len()],
            };
            let options = PlantOptions { lock_step: true, sessions: Some(1), ..Default::default() };
            PlantServer::new(there, &spec, options)
                .serve(&mut robot, &AtomicBool::new(false))
                .unwrap();
            robot.by_hand
        })
    };
    let mut link = LinkRobot::connect(here, &spec, &LinkOptions::default()).unwrap();
    let mut controller = Controller::new(&file, &spec, Config::default()).unwrap();
    for request in [Request::Reset, Request::Arm, Request::Start] {
        controller.request(request);
    }
    let (mut recorder, writer) =
        telemetry::start(&controller, &bytes, Cursor::new(Vec::new())).unwrap();
    let mut ticker = LockStep::new(controller.period_ns());
    let report = run(&mut controller, &mut link, &mut ticker, &Plan::ticks(STEPS), &mut recorder);
    assert_eq!(report.policy_ticks, STEPS, "{}", report.to_json());
    drop(link);
    let by_hand = served.join().unwrap();
    let log = writer.finish(&recorder).unwrap().0.into_inner();
    (Log::parse(&log).unwrap(), by_hand)
}

#[test]
fn where_a_person_took_over_becomes_demonstrations_and_nothing_else() {
    let (log, by_hand) = flown();
    let task = tasks::open(TASK).unwrap().info().clone();
    let of = |interventions, at_least| -> DemoFile {
        let options = FlightOptions { interventions, at_least };
        demonstrations(std::slice::from_ref(&log), &task, options).unwrap()
    };
    let lengths = |file: &DemoFile| -> Vec<usize> {
        (0..file.demonstrations.len()).map(|n| file.demonstrations.rows(n).len()).collect()
    };
    let corrections = of(true, 1);
    assert_eq!(lengths(&corrections), [40, 30, 1]);
    for (n, (seen, done)) in by_hand.iter().enumerate() {
        assert_eq!(corrections.demonstrations.observations_of(n), seen, "stretch {n}");
        assert_eq!(corrections.demonstrations.actions_of(n), done, "stretch {n}");
    }
    assert!(corrections.provenance.expert.starts_with("interventions:"));
    // A single step is none, as the program has it.
    assert_eq!(lengths(&of(true, 2)), [40, 30]);
    // The whole flight, with what was done by hand where somebody did it.
    let all = of(false, 2);
    assert_eq!(lengths(&all), [STEPS as usize]);
    let rows = |range: &Range<u64>| 2 * range.start as usize..2 * range.end as usize;
    for (range, (_, done)) in LED.iter().zip(&by_hand) {
        assert_eq!(all.demonstrations.actions_of(0)[rows(range)], done[..]);
    }
    // They learn beside each other.
    assert_eq!(DemoFile::merged(&[all, corrections]).unwrap().demonstrations.len(), 4);
}
