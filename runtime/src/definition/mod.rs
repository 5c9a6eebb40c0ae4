//! Reading definitions (TOML files that people write) so that every fault has a file, a line and a
//! key.
//!
//! * [`Source`]: a file's name and text; [`Source::parse`] gives its tables;
//! * [`Table`], [`Value`]: what stands in it, asked for by key and by what is needed;
//! * [`DefinitionError`], [`At`]: what is wrong, and where.
//!
//! ```
//! use sog_runtime::definition::{Source, Table, Value};
//!
//! let source = Source { file: "arm.toml".into(), text: "dt = 0.02\nrate = 50\n".into() };
//! let document = source.parse().expect("TOML");
//! let mut table = Table::root(&source, &document);
//! assert_eq!(table.need("dt", "a period").and_then(|v| v.positive()).expect("a number"), 0.02);
//! let error = table.finish().expect_err("a key that nobody asked for");
//! assert_eq!(error.to_string(), "arm.toml:2: `rate`: no such key; there is `dt`");
//! ```

mod error;
mod read;

pub use error::{At, DefinitionError, hint, quoted};
pub use read::{Named, Read, Source, Table, Value};
