//! Observation terms allocate nothing once they are compiled.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, missing_docs)]

use sog_runtime::{
    os::CountingAllocator,
    terms::{Source, TermInputs, TermProgram, TermSpec, TermWidths},
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn observing_allocates_nothing() {
    let quaternion = [0, 1, 2, 3];
    let terms = [
        TermSpec::new("gravity", Source::ProjectedGravity { quaternion }),
        TermSpec::new("velocity", Source::InBody { vector: [4, 5, 6], quaternion }),
        TermSpec { history: 5, ..TermSpec::new("joints", Source::raw(7..9)) },
        TermSpec { minus: vec![1.0], ..TermSpec::new("swapped", Source::Raw(vec![8, 7])) },
        TermSpec { history: 3, ..TermSpec::new("last_action", Source::PreviousAction) },
        TermSpec::new("wanted", Source::Command(vec![0])),
        TermSpec::new("phase", Source::Phase { hz: 1.25 }),
    ];
    let widths = TermWidths { raw: 9, action: 2, commands: 1 };
    let program = TermProgram::compile(&terms, widths, 0.02).unwrap();
    let mut state = program.state();
    let mut out = vec![0.0; program.width()];
    let mut raw = [0.5; 9];
    let before = CountingAllocator::count();
    for step in 0..2000 {
        if step % 100 == 0 {
            state.reset();
        }
        raw[7] = step as f64;
        let inputs = TermInputs { raw: &raw, previous_action: &raw[..2], commands: &[1.0], step };
        program.observe(&mut state, &inputs, &mut out).unwrap();
    }
    assert_eq!(CountingAllocator::count(), before);
}
