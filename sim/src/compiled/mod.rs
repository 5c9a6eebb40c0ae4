//! A task's definition, compiled against its model.

pub(crate) mod expression;
pub(crate) mod names;
pub(crate) mod observation;
pub(crate) mod readings;
pub(crate) mod start;
pub(crate) mod task;
