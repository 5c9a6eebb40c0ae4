//! Text without a heap: JSON strings as they stand in a file, and excerpts for messages.

use core::{cmp::Ordering, fmt, fmt::Write};

/// A JSON string as it stands between its quotes, perhaps with escapes; sound once it was read.
#[derive(Clone, Copy)]
pub struct Text<'a>(pub(crate) &'a str);

impl<'a> Text<'a> {
    /// The text, where it has no escapes.
    pub fn as_str(self) -> Option<&'a str> {
        (!self.0.contains('\\')).then_some(self.0)
    }

    /// Its characters.
    pub fn chars(self) -> Chars<'a> {
        Chars(self.0.chars())
    }

    /// Whether it says this.
    pub fn is(self, other: &str) -> bool {
        self.as_str().map_or_else(|| self.chars().eq(other.chars()), |text| text == other)
    }

    /// The order of the texts, by code points.
    pub fn order(self, other: Self) -> Ordering {
        match (self.as_str(), other.as_str()) {
            // Bytes of UTF-8 stand in the order of code points.
            (Some(a), Some(b)) => a.cmp(b),
            _ => self.chars().cmp(other.chars()),
        }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars().try_for_each(|c| f.write_char(c))
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// The characters of a [`Text`], escapes resolved.
#[derive(Clone, Debug)]
pub struct Chars<'a>(core::str::Chars<'a>);

impl Chars<'_> {
    fn unit(&mut self) -> Option<u32> {
        let mut digit = || self.0.next()?.to_digit(16);
        Some(digit()? << 12 | digit()? << 8 | digit()? << 4 | digit()?)
    }

    /// The character behind a backslash; none where there is no such escape.
    pub(crate) fn escaped(&mut self) -> Option<char> {
        Some(match self.0.next()? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = self.unit()?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high);
                }
                let pair = self.0.next()? == '\\' && self.0.next()? == 'u';
                let low = pair.then(|| self.unit()).flatten()?;
                let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                char::from_u32(0x1_0000 + ((high - 0xd800) << 10 | low))?
            }
            _ => return None,
        })
    }

    pub(crate) fn new(text: &str) -> Chars<'_> {
        Chars(text.chars())
    }

    pub(crate) fn raw(&mut self) -> Option<char> {
        self.0.next()
    }
}

impl<'a> Chars<'a> {
    pub(crate) fn as_str(&self) -> &'a str {
        self.0.as_str()
    }
}

impl Iterator for Chars<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self.0.next()? {
            '\\' => self.escaped(),
            c => Some(c),
        }
    }
}

/// Bytes of an [`Excerpt`].
const EXCERPT_BYTES: usize = 64;

/// A short text for a message; a longer one is cut, which `…` at its end says.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt {
    text: heapless::String<EXCERPT_BYTES>,
}

impl Excerpt {
    /// The beginning of what is displayed.
    pub fn of(what: impl fmt::Display) -> Self {
        let mut excerpt = Self { text: heapless::String::new() };
        // An error is the end of the room, which the text itself says.
        let _ = write!(excerpt, "{what}");
        excerpt
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Write for Excerpt {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            let room = EXCERPT_BYTES - '…'.len_utf8();
            if self.text.len() + c.len_utf8() > room {
                // There is room for it: nothing is pushed into it otherwise.
                let _ = self.text.push('…');
                return Err(fmt::Error);
            }
            self.text.push(c).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text.as_str())
    }
}

impl From<&str> for Excerpt {
    fn from(text: &str) -> Self {
        Self::of(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    #[test]
    fn an_excerpt_says_that_it_was_cut() {
        assert_eq!(Excerpt::from("short").as_str(), "short");
        let whole: String = "ä".repeat(30);
        assert_eq!(Excerpt::from(whole.as_str()).to_string(), whole);
        let cut = Excerpt::of(format_args!("{whole}{}", "xyz"));
        assert_eq!(cut.as_str(), std::format!("{whole}x…"));
    }

    #[test]
    fn texts_are_compared_by_what_they_say() {
        let (escaped, plain) = (Text("a\\u0062\\n"), Text("ab"));
        assert!(escaped.is("ab\n") && plain.is("ab") && !plain.is("ab\n"));
        assert_eq!((escaped.as_str(), plain.as_str()), (None, Some("ab")));
        assert_eq!(plain.order(escaped), Ordering::Less);
        assert_eq!(Text("\\ud83d\\ude00").to_string(), "😀");
    }
}
