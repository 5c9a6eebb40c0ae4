//! A convolutional network and its optimiser in a checkpoint.

use sog_engine::{adam::Adam, conv::ConvNet};
use sog_rl::run::{Snapshot, SnapshotError};

use super::error::ImageError;

pub(super) fn save(to: &mut Snapshot, name: &str, net: &ConvNet, adam: &Adam) {
    for (tensor, values) in
        [("params", &net.params), ("stats", &net.stats), ("adam.m", &adam.m), ("adam.v", &adam.v)]
    {
        to.f32s(&format!("{name}.{tensor}"), &[values.len()], values);
    }
    to.state(&format!("{name}.adam.steps"), &adam.steps);
}

pub(super) fn load(
    from: &Snapshot,
    name: &str,
    net: &mut ConvNet,
    adam: &mut Adam,
) -> Result<(), SnapshotError> {
    for (tensor, values) in [
        ("params", &mut net.params),
        ("stats", &mut net.stats),
        ("adam.m", &mut adam.m),
        ("adam.v", &mut adam.v),
    ] {
        from.read_f32s(&format!("{name}.{tensor}"), values)?;
    }
    adam.steps = from.read_state(&format!("{name}.adam.steps"))?;
    Ok(())
}

/// A device that does not take what a checkpoint holds.
pub(super) fn refused(error: ImageError) -> SnapshotError {
    SnapshotError::State { name: "device".to_string(), reason: error.to_string() }
}
