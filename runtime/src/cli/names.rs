//! What the codes of a policy are called: its book, as far as a run uses it.

use std::sync::Arc;

use anyhow::{Context, Result};
use sog_runtime::policy::{
    LatentKind, PolicyFile,
    book::{Book, BookError},
};

use super::args::RunArgs;

/// The names of a run's codes; none where its codes are the operator's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Option<Arc<Book>>);

impl Names {
    /// Those of a policy file that was verified.
    pub(super) fn read(bytes: &[u8], file: &PolicyFile) -> Result<Self> {
        let book = Book::read(bytes, file.latent).context("the policy's book of codes")?;
        Ok(Self(book.map(Arc::new)))
    }

    /// Those of a policy whose codes the operator gave.
    pub(super) fn without() -> Self {
        Self(None)
    }

    /// The representative codes of a continuous latent, `[n, Z]`; empty without.
    pub(super) fn codes(&self) -> Vec<f32> {
        self.0.as_ref().map(|book| book.codes.clone()).unwrap_or_default()
    }

    /// Number of the code of a name.
    ///
    /// # Errors
    /// [`BookError::Unknown`], naming what there is.
    pub(super) fn number(&self, name: &str) -> Result<u16, BookError> {
        let numbered = name.parse::<u16>().ok();
        let unknown = || BookError::Unknown {
            found: name.to_string(),
            known: "no names: `sog name` gives them".to_string(),
        };
        match (&self.0, numbered) {
            // Whether there is a code of that number, the controller knows.
            (_, Some(number)) => Ok(number),
            (Some(book), None) => {
                let number = book.number(name)?;
                u16::try_from(number).map_err(|_| unknown())
            }
            (None, None) => Err(unknown()),
        }
    }

    /// What a code is called, if it has a name.
    pub(super) fn name(&self, code: u16) -> Option<&str> {
        self.0.as_ref()?.ways.get(usize::from(code))?.name.as_deref()
    }

    /// Its name, or its number.
    pub(super) fn call(&self, code: u16) -> String {
        self.name(code).map_or_else(|| code.to_string(), str::to_string)
    }

    /// The names of a run: those of the policy unless the operator gives codes.
    pub(super) fn of_run(args: &RunArgs, bytes: &[u8], file: &PolicyFile) -> Result<Self> {
        let own = args.codes.is_some() && matches!(file.latent, LatentKind::Gaussian(_));
        if own { Ok(Self::without()) } else { Self::read(bytes, file) }
    }

    /// The book itself.
    pub(super) fn book(&self) -> Option<&Book> {
        self.0.as_deref()
    }
}
