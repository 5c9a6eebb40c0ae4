//! The updates that dominate training on one thread and on two; the larger sizes are those of
//! expert training.
//!
//! With `--serve` it times updates when told to, for `pytorch.py`: lines `CASE UPDATES` on standard
//! input are answered with microseconds an update, on as many threads as `RAYON_NUM_THREADS` says.

mod cases;

use std::io::{Write, stdin, stdout};
use std::time::{Duration, Instant};

use cases::Update;
use criterion::Criterion;
use sog_engine::shard::Parallelism;

const MODES: [(Parallelism, &str); 2] =
    [(Parallelism::Serial, "1 thread"), (Parallelism::Rayon, "2 threads")];

fn main() {
    if std::env::args().any(|arg| arg == "--serve") {
        return serve();
    }
    let mut c = Criterion::default().configure_from_args();
    for rows in [64, 2048] {
        bench(&mut c, "sog_bc_update", rows, cases::sog_bc);
    }
    bench(&mut c, "discriminator_update", 128, cases::discriminator);
    for rows in [64, 2048] {
        bench(&mut c, "ppo_update", rows, cases::ppo);
    }
    c.final_summary();
}

/// Times `case` inside a pool of two threads.
fn bench(c: &mut Criterion, name: &str, rows: usize, case: fn(usize, Parallelism) -> Update) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
    for (mode, threads) in MODES {
        let mut update = case(rows, mode);
        c.bench_function(&format!("{name}/{rows}/{threads}"), |b| {
            b.iter_custom(|updates| pool.install(|| time(&mut update, updates)));
        });
    }
}

fn time(update: &mut Update, updates: u64) -> Duration {
    let start = Instant::now();
    (0..updates).for_each(|_| update());
    start.elapsed()
}

/// Answers on standard output until standard input ends.
fn serve() {
    let mut updates = [
        ("sog_bc", cases::sog_bc(64, Parallelism::Rayon)),
        ("discriminator", cases::discriminator(128, Parallelism::Rayon)),
        ("ppo", cases::ppo(64, Parallelism::Rayon)),
    ];
    for line in stdin().lines() {
        let line = line.expect("standard input is text");
        let (name, count) = line.split_once(' ').expect("CASE UPDATES");
        let count: u64 = count.parse().expect("a number of updates");
        let (_, update) = updates.iter_mut().find(|(n, _)| *n == name).expect("a known case");
        // Inside the pool, as in training.
        let mut elapsed = Duration::ZERO;
        rayon::scope(|_| elapsed = time(update, count));
        println!("{}", elapsed.as_secs_f64() * 1e6 / count as f64);
        stdout().flush().expect("standard output is there");
    }
}
