//! The book of codes of a policy file: what each of its ways is called, and how it was learned.
//!
//! One entry of metadata, `codes`, and for continuous codes one tensor of the same name with the
//! codes themselves, `[n, Z]`. Files without a book are as good as with one; the control loop needs
//! none.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::LatentKind;
use crate::tensors::{self, CHECKSUM_KEY, Tensor, TensorError, TensorFile};

/// Metadata entry and tensor of the book.
pub const KEY: &str = sog_core::policy::BOOK_KEY;

/// Most bytes of a name.
const LONGEST_NAME: usize = 64;

/// One way.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// Its name; without one it is called by its number.
    pub name: Option<String>,
    /// Share of the demonstrations that were explained best by it.
    pub share: f32,
    /// Number of the demonstration that is most typical of it.
    pub typical: Option<usize>,
}

/// The ways of a policy, by the number of their codes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    /// One a code.
    pub ways: Vec<Way>,
    /// The codes, `[n, Z]`; empty where they are one-hot.
    pub codes: Vec<f32>,
}

/// Why a book cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BookError {
    /// The file is no readable set of tensors, or the codes are missing or misshapen.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// The entry cannot be understood.
    #[error("metadata `codes`: found `{found}`, need {needed}")]
    Entry {
        /// What was found.
        found: String,
        /// What would be accepted.
        needed: String,
    },
    /// A name cannot be one.
    #[error(
        "`{found}` cannot be the name of a code: need 1 to {LONGEST_NAME} letters, digits, `-`, `_` and \
         `.`, and not digits alone"
    )]
    Name {
        /// The name.
        found: String,
    },
    /// Two codes have one name.
    #[error("codes {first} and {second} would both be called `{name}`")]
    Twice {
        /// The name.
        name: String,
        /// One code.
        first: usize,
        /// The other.
        second: usize,
    },
    /// There is no such code.
    #[error("there is no code `{found}`; the policy has {known}")]
    Unknown {
        /// What was asked for.
        found: String,
        /// What there is.
        known: String,
    },
}

impl Book {
    /// A book of `count` codes without names.
    pub fn unnamed(count: usize) -> Self {
        let way = Way { name: None, share: 0.0, typical: None };
        Self { ways: vec![way; count], codes: vec![] }
    }

    /// The book of a policy file of this latent; `None` where it has none.
    ///
    /// # Errors
    /// [`BookError`].
    pub fn read(bytes: &[u8], latent: LatentKind) -> Result<Option<Self>, BookError> {
        let file = TensorFile::parse(bytes)?;
        let Some(entry) = file.metadata().get(KEY) else { return Ok(None) };
        let ways = parse(entry)?;
        let codes = match latent {
            LatentKind::Gaussian(width) => {
                let codes = file.f32_of(KEY, &[ways.len(), width])?;
                if let Some(bad) = codes.iter().find(|v| !v.is_finite()) {
                    let needed = "finite numbers".to_string();
                    return Err(BookError::Entry { found: bad.to_string(), needed });
                }
                codes
            }
            LatentKind::OneHot(_) | LatentKind::None => vec![],
        };
        if let LatentKind::OneHot(k) = latent
            && k != ways.len()
        {
            let needed = format!("{k} codes, as `latent.kind` says");
            return Err(BookError::Entry { found: entry.clone(), needed });
        }
        let book = Self { ways, codes };
        book.check_names()?;
        Ok(Some(book))
    }

    /// The bytes of a policy file with this book in place of its own.
    ///
    /// # Errors
    /// [`BookError`].
    pub fn write_into(&self, bytes: &[u8]) -> Result<Vec<u8>, BookError> {
        self.check_names()?;
        let file = TensorFile::parse(bytes)?;
        let mut tensors = BTreeMap::new();
        for name in file.names() {
            if name != KEY {
                let tensor = Tensor::f32(&file.shape(name)?, &file.f32(name)?);
                tensors.insert(name.to_string(), tensor);
            }
        }
        if !self.codes.is_empty() {
            let width = self.codes.len() / self.ways.len().max(1);
            let tensor = Tensor::f32(&[self.ways.len(), width], &self.codes);
            tensors.insert(KEY.to_string(), tensor);
        }
        let mut metadata = file.metadata().clone();
        metadata.remove(CHECKSUM_KEY);
        metadata.insert(KEY.to_string(), self.to_string());
        Ok(tensors::serialize(&tensors, &metadata))
    }

    /// Number of the code of a name, or of a number.
    ///
    /// # Errors
    /// [`BookError::Unknown`], naming what there is.
    pub fn number(&self, name: &str) -> Result<usize, BookError> {
        let named = self.ways.iter().position(|way| way.name.as_deref() == Some(name));
        let numbered = || name.parse().ok().filter(|&n: &usize| n < self.ways.len());
        named.or_else(numbered).ok_or_else(|| BookError::Unknown {
            found: name.to_string(),
            known: (0..self.ways.len()).map(|n| self.name(n)).collect::<Vec<_>>().join(", "),
        })
    }

    /// What the code of a number is called: its name, or the number.
    pub fn name(&self, number: usize) -> String {
        let name = self.ways.get(number).and_then(|way| way.name.clone());
        name.unwrap_or_else(|| number.to_string())
    }

    /// Gives the code of a number (or of a name) a name; an empty one takes it away.
    ///
    /// # Errors
    /// [`BookError::Unknown`], [`BookError::Name`], [`BookError::Twice`].
    pub fn rename(&mut self, code: &str, name: &str) -> Result<(), BookError> {
        let number = self.number(code)?;
        self.ways[number].name = (!name.is_empty()).then(|| name.to_string());
        self.check_names()
    }

    fn check_names(&self) -> Result<(), BookError> {
        for (second, way) in self.ways.iter().enumerate() {
            let Some(name) = &way.name else { continue };
            if !is_name(name) {
                return Err(BookError::Name { found: name.clone() });
            }
            let same = |way: &Way| way.name.as_ref() == Some(name);
            if let Some(first) = self.ways[..second].iter().position(same) {
                return Err(BookError::Twice { name: name.clone(), first, second });
            }
        }
        Ok(())
    }
}

/// Whether a text can be the name of a code: nothing that could be taken for a number, or for
/// several.
fn is_name(text: &str) -> bool {
    let letters = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = !text.is_empty() && text.len() <= LONGEST_NAME && text.chars().all(letters);
    good && text.parse::<f32>().is_err() && text != NONE
}

/// What stands for no name and no demonstration.
const NONE: &str = "-";

impl core::fmt::Display for Book {
    /// `name:share:typical,…`, with `-` for what there is not.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (i, way) in self.ways.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let name = way.name.as_deref().unwrap_or(NONE);
            write!(f, "{comma}{name}:{}:", way.share)?;
            match way.typical {
                Some(typical) => write!(f, "{typical}")?,
                None => write!(f, "{NONE}")?,
            }
        }
        Ok(())
    }
}

fn parse(entry: &str) -> Result<Vec<Way>, BookError> {
    let way = |part: &str| -> Option<Way> {
        let mut fields = part.split(':');
        let (name, share, typical) = (fields.next()?, fields.next()?, fields.next()?);
        let share = share.parse().ok().filter(|share| (0.0..=1.0).contains(share))?;
        let typical = if typical == NONE { None } else { Some(typical.parse().ok()?) };
        let name = (name != NONE).then(|| name.to_string());
        fields.next().is_none().then_some(Way { name, share, typical })
    };
    entry.split(',').map(way).collect::<Option<_>>().ok_or_else(|| BookError::Entry {
        found: entry.to_string(),
        needed: "`name:share:typical,…`, one a code, with `-` for what there is not".to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{PolicyFile, example};
    use proptest::prelude::*;

    fn book() -> Book {
        let mut book = Book::unnamed(3);
        book.rename("0", "inner").unwrap();
        book.rename("2", "outer.left").unwrap();
        book.ways[1] = Way { name: None, share: 0.25, typical: Some(7) };
        book
    }

    #[test]
    fn a_book_is_found_again_in_the_file_and_does_it_no_harm() {
        let file = example(7);
        let bytes = file.to_bytes();
        assert_eq!(Book::read(&bytes, file.latent).unwrap(), None);
        let with = book().write_into(&bytes).unwrap();
        assert_eq!(Book::read(&with, file.latent).unwrap(), Some(book()));
        assert_eq!(PolicyFile::parse(&with).unwrap(), file);
        // Another book replaces it; the checksum is that of the whole.
        let again = Book::unnamed(3).write_into(&with).unwrap();
        assert_eq!(Book::read(&again, file.latent).unwrap(), Some(Book::unnamed(3)));
        assert!(TensorFile::parse(&again).unwrap().verify_checksum().unwrap());
        let wrong = Book::unnamed(2).write_into(&bytes).unwrap();
        let error = Book::read(&wrong, file.latent).unwrap_err().to_string();
        assert!(error.contains("3 codes"), "{error}");
    }

    #[test]
    fn codes_are_found_by_name_and_number() {
        let book = book();
        assert_eq!((book.number("inner").unwrap(), book.number("1").unwrap()), (0, 1));
        assert_eq!((book.name(2).as_str(), book.name(1).as_str()), ("outer.left", "1"));
        let unknown = book.number("middle").unwrap_err().to_string();
        assert!(unknown.contains("inner, 1, outer.left"), "{unknown}");
        assert!(book.number("3").is_err());
        for bad in ["a b", "a,b", "a:b", "7", "0.5", "nan", "inf", "-", "ä b", &"x".repeat(65)] {
            assert!(book.clone().rename("1", bad).is_err(), "{bad}");
        }
        let twice = book.clone().rename("1", "inner").unwrap_err().to_string();
        assert!(twice.contains("codes 0 and 1"), "{twice}");
        let mut nameless = book;
        nameless.rename("inner", "").unwrap();
        assert_eq!(nameless.name(0), "0");
    }

    proptest! {
        #[test]
        fn books_survive_a_round_trip(
            ways in proptest::collection::vec(
                (proptest::option::of("[a-z][a-z0-9_.-]{0,9}"), 0.0f32..=1.0, proptest::option::of(0usize..1000)),
                1..9,
            ),
        ) {
            let ways: Vec<Way> =
                ways.into_iter().map(|(name, share, typical)| Way { name, share, typical }).collect();
            prop_assert_eq!(parse(&Book { ways: ways.clone(), codes: vec![] }.to_string()).unwrap(), ways);
        }

        #[test]
        fn no_entry_panics(text in ".{0,60}") {
            let _ = parse(&text);
        }
    }
}
