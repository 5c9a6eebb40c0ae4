//! A tick allocates nothing: controller, telemetry and link, counted.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::{Arc, atomic::AtomicBool};

use common::{Point, policy, spec, started};
use sog_runtime::{
    control::{Config, Controller, Observer, Request, TickReport},
    io::{Command, FaultKind, FaultPlan, FaultyRobot, IoError, Reading, RobotIo, RobotSpec},
    link::{Key, LinkOptions, LinkRobot, PlantOptions, PlantServer, Udp},
    os::CountingAllocator,
    telemetry::{self, Board},
    time::{FreeRun, LockStep, Ticker, Wake},
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// A robot that allocates nothing itself.
struct Still(RobotSpec, u64);

impl RobotIo for Still {
    fn spec(&self) -> &RobotSpec {
        &self.0
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        obs.fill(self.1 as f32 * 1e-3);
        Ok(Reading { step: self.1, reward: Some(1.0), terminated: false })
    }

    fn write(&mut self, _: Command<'_>) -> Result<(), IoError> {
        self.1 += 1;
        Ok(())
    }
}

/// Allocations of some ticks, with everything that a deployed loop does.
fn allocations<R: RobotIo, T: Ticker>(
    controller: &mut Controller,
    robot: &mut R,
    ticker: &mut T,
    observer: &mut impl Observer,
) -> u64 {
    let mut one = |controller: &mut Controller| -> (Wake, TickReport) {
        let wake = ticker.wait();
        let tick = controller.tick(robot, &wake);
        controller.record_timing(&wake, ticker.now_ns());
        observer.observe(controller, &wake, &tick, ticker.now_ns());
        (wake, tick)
    };
    one(controller);
    let before = CountingAllocator::count();
    for i in 0..2000 {
        match i % 100 {
            10 => controller.request(Request::Code((i % 3) as u16)),
            50 => controller.request(Request::Reset),
            51 => controller.request(Request::Arm),
            52 => controller.request(Request::Start),
            99 => controller.request(Request::Damp),
            _ => {}
        }
        one(controller);
    }
    CountingAllocator::count() - before
}

#[test]
fn the_counter_counts() {
    let before = CountingAllocator::count();
    std::hint::black_box(vec![0u8; 100]);
    assert_eq!(CountingAllocator::count() - before, 1);
}

#[test]
fn a_tick_with_telemetry_and_faults_allocates_nothing() {
    let plan =
        FaultKind::ALL.into_iter().fold(FaultPlan::new(1), |plan, kind| plan.with_rate(kind, 0.02));
    let mut robot = FaultyRobot::new(Still(spec(), 0), plan);
    let mut controller = started(Config::default());
    let (recorder, writer) =
        telemetry::start(&controller, &policy().to_bytes(), std::io::sink()).unwrap();
    let mut observer = (recorder, Board::new());
    let mut ticker = LockStep::new(controller.period_ns());
    assert_eq!(allocations(&mut controller, &mut robot, &mut ticker, &mut observer), 0);
    writer.finish(&observer.0).unwrap();
}

#[test]
fn a_tick_over_udp_with_a_key_allocates_nothing() {
    let there = Udp::listen("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let here = Udp::connect(there.local_addr().unwrap(), None).unwrap();
    let key = Key::new(b"a secret of many bytes");
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, plant_key) = (Arc::clone(&stop), key.clone());
    let plant = std::thread::spawn(move || {
        let options = PlantOptions { key: plant_key, lock_step: true, ..Default::default() };
        PlantServer::new(there, &spec(), options).serve(&mut Point::new(), &flag).unwrap()
    });
    let options = LinkOptions { key, ..Default::default() };
    let mut robot = LinkRobot::connect(here, &spec(), &options).unwrap();
    let mut controller = started(Config::default());
    let mut ticker = FreeRun::new();
    assert_eq!(allocations(&mut controller, &mut robot, &mut ticker, &mut ()), 0);
    drop(robot);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    plant.join().unwrap();
}
