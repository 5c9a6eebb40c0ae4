//! The measurement: blocks of calls in turn, every call by itself.

use std::{hint::black_box, time::Instant};

use anyhow::Result;
use sog_runtime::{time::Histogram, policy::PolicyFile};

use crate::engines::{self, Engine};

/// Calls in one turn.
const BLOCK: usize = 2_000;

/// Calls at the beginning of a turn that are not timed: what the others did to the caches.
const WARM_UP: usize = 100;

/// Times of at least `calls` calls of every engine; the observation and code of each call are the
/// next of the file's golden ones.
pub(crate) fn interleaved(
    engines: &mut [Box<dyn Engine>],
    file: &PolicyFile,
    calls: usize,
) -> Result<Vec<Histogram>> {
    let rows = file.golden.action.len() / file.action_dim();
    let mut action = vec![0.0; file.action_dim()];
    let mut times = vec![Histogram::default(); engines.len()];
    for _ in 0..calls.div_ceil(BLOCK) {
        for (engine, times) in engines.iter_mut().zip(&mut times) {
            for i in 0..WARM_UP + BLOCK {
                let (obs, code) = engines::row(file, i % rows);
                let begin = Instant::now();
                engine.infer(black_box(obs), black_box(code), &mut action)?;
                let took = begin.elapsed();
                black_box(&mut action);
                if i >= WARM_UP {
                    times.record(took.as_nanos() as u64);
                }
            }
        }
    }
    Ok(times)
}
