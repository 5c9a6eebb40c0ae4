//! The same seed gives the same bits, whatever the number of threads.

mod updates;

use sog_engine::shard::Parallelism;
use updates::Updates;

fn bits_after(updates: usize, rows: usize, threads: Option<usize>) -> Vec<u32> {
    let run = |parallelism| {
        let mut all = Updates::new(rows, parallelism);
        (0..updates).for_each(|_| all.run());
        all.bits()
    };
    let Some(threads) = threads else { return run(Parallelism::Serial) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| run(Parallelism::Rayon))
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    // One shard; one panel per shard; several panels per shard, the last one short.
    for (rows, updates) in [(20, 20), (150, 20), (700, 8)] {
        let serial = bits_after(updates, rows, None);
        assert!(serial == bits_after(updates, rows, None), "{rows} rows, serial twice");
        for threads in [1, 2, 3, 8] {
            let bits = bits_after(updates, rows, Some(threads));
            let differing = serial.iter().zip(&bits).filter(|(a, b)| a != b).count();
            assert_eq!(differing, 0, "parameters that differ: {rows} rows, {threads} threads");
        }
    }
}

#[test]
fn more_updates_change_the_parameters() {
    assert!(bits_after(1, 40, None) != bits_after(2, 40, None));
}
