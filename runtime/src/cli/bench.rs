//! `sog-run bench`: latencies of inference and of the loop on this machine.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use sog_runtime::{
    control::{Config, Controller, Observer, Plan, Request, TickReport, run},
    io::{Command, IoError, Reading, RobotIo, RobotSpec},
    os::{self, CountingAllocator},
    policy::{Policy, PolicyFile},
    time::RealTime,
    time::{Histogram, SummaryToJson, Wake},
};

use super::{
    args::BenchArgs,
    host::Host,
    info,
    run::{claim_log, expected_robot, open_log, real_time},
};

/// Inferences before measuring, and measured.
const WARM_UP: usize = 2_000;
const INFERENCES: usize = 50_000;

pub(super) fn main(args: &BenchArgs) -> Result<bool> {
    let (bytes, file) = info::load(&args.policy)?;
    let spec = expected_robot(&file);
    // The stand-in for a robot moves a little at every step.
    let mut robot = Bench { spec: spec.clone(), step: 0 };
    // Misses are what is measured here: they must not end the run.
    let config = Config { rate_hz: args.rate, damp_after_misses: None, ..Config::default() };
    let mut controller = Controller::new(&file, &spec, config)?;
    let log = claim_log(args.log.as_deref(), args.force, [args.policy.as_path()])?;
    let log = log.map(|output| open_log(&output, &controller, &bytes, None)).transpose()?;
    let (recorder, log) = log.unzip();
    let obtained = os::set_up(&real_time(&args.real_time))?;

    let inference = inference(&file);
    controller.request(Request::Arm);
    controller.request(Request::Start);
    let period_ns = controller.period_ns();
    let mut observer = (recorder, Allocations::default());
    let mut ticker = RealTime::new(period_ns, args.real_time.spin_us * 1000);
    let ticks = (args.duration * 1e9 / period_ns as f64).ceil() as u64;
    let report = run(&mut controller, &mut robot, &mut ticker, &Plan::ticks(ticks), &mut observer);
    let log = log.zip(observer.0).map(|(log, recorder)| log.finish(&recorder)).transpose()?;

    let host = Host::look();
    let mut json = json!({
        "policy": args.policy.display().to_string(),
        "instruction_set": Policy::instruction_set_here(),
        "inference_ns": inference.summary().to_json(),
        "rate_hz": 1e9 / period_ns as f64,
        "ticks": report.ticks,
        "wake_latency_ns": report.wake_latency_ns.to_json(),
        "exec_ns": report.exec_ns.to_json(),
        "period_ns": report.period_ns.to_json(),
        "misses": report.misses,
        "allocations": observer.1.in_loop(),
        "scheduler": obtained.to_json(),
        "real_time": obtained.is_real_time(),
        "host": host.to_json(),
    });
    if let Some(log) = &log {
        json["log"] = log.to_json();
    }
    if args.json {
        println!("{json}");
    } else {
        show(&json, &host);
        log.iter().for_each(|log| println!("log           {log}"));
    }
    Ok(log.is_none_or(|log| log.is_good()))
}

fn inference(file: &PolicyFile) -> Histogram {
    let policy = Policy::new(file);
    let mut workspace = policy.workspace(1);
    let (obs, latent) = (&file.normaliser.mean, vec![0.5; file.latent_dim()]);
    let mut action = vec![0.0; file.action_dim()];
    let mut histogram = Histogram::default();
    for i in 0..WARM_UP + INFERENCES {
        let begin = Instant::now();
        policy.mean_actions(&mut workspace, obs, &latent, &mut action);
        std::hint::black_box(&mut action);
        let took: Duration = begin.elapsed();
        if i >= WARM_UP {
            histogram.record(took.as_nanos() as u64);
        }
    }
    histogram
}

fn show(json: &Value, host: &Host) {
    println!("kernel        {}", host.kernel);
    println!("scheduler     {}", json["scheduler"]["scheduler"].as_str().unwrap_or_default());
    let unknown = "unknown";
    println!("governor      {}", host.governor.as_deref().unwrap_or(unknown));
    println!("instructions  {}", json["instruction_set"].as_str().unwrap_or_default());
    for (what, key) in
        [("inference", "inference_ns"), ("wake-up", "wake_latency_ns"), ("execution", "exec_ns")]
    {
        let s = &json[key];
        println!(
            "{what:<13} p50 {} ns, p99 {} ns, p99.9 {} ns, max {} ns",
            s["p50"], s["p99"], s["p999"], s["max"]
        );
    }
    println!(
        "loop          {} ticks at {} Hz, {} misses, {} allocations",
        json["ticks"], json["rate_hz"], json["misses"], json["allocations"]
    );
    if json["real_time"] != true {
        println!("this was not a real-time run: see `sog-run doctor`");
    }
}

/// Allocations of the loop's thread after its first tick.
#[derive(Default)]
struct Allocations {
    first: Option<u64>,
    last: u64,
}

impl Allocations {
    fn in_loop(&self) -> u64 {
        self.last - self.first.unwrap_or(self.last)
    }
}

impl Observer for Allocations {
    fn observe(&mut self, _: &Controller, _: &Wake, _: &TickReport, _: u64) {
        self.last = CountingAllocator::count();
        self.first.get_or_insert(self.last);
    }
}

/// A robot that is nothing but numbers.
struct Bench {
    spec: RobotSpec,
    step: u64,
}

impl RobotIo for Bench {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        let phase = self.step % 1024;
        for (i, value) in obs.iter_mut().enumerate() {
            *value = ((phase + i as u64) % 7) as f32 * 0.1 + phase as f32 * 1e-4;
        }
        Ok(Reading { step: self.step, reward: None, terminated: false })
    }

    fn write(&mut self, _: Command<'_>) -> Result<(), IoError> {
        self.step += 1;
        Ok(())
    }
}
