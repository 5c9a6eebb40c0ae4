//! As much JSON as the header of a safetensors file needs, read in place.

use crate::text::{Chars, Text};

/// What stands where something else was needed.
pub(crate) type Wanted = &'static str;

/// The rest of a text that is being read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a str);

impl<'a> Reader<'a> {
    fn skip_white(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Whether this sign comes next; it is then behind.
    pub(crate) fn has(&mut self, sign: char) -> bool {
        self.skip_white();
        let rest = self.0.strip_prefix(sign);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    pub(crate) fn sign(&mut self, sign: char, wanted: Wanted) -> Result<(), Wanted> {
        if self.has(sign) { Ok(()) } else { Err(wanted) }
    }

    /// A string.
    // Called from many places: one copy of it is enough in flash.
    #[inline(never)]
    pub(crate) fn string(&mut self) -> Result<Text<'a>, Wanted> {
        self.sign('"', "a string is missing")?;
        let whole = self.0;
        let mut chars = Chars::new(whole);
        loop {
            let before = chars.as_str();
            match chars.raw().ok_or("a string does not end")? {
                '"' => {
                    self.0 = chars.as_str();
                    return Ok(Text(&whole[..whole.len() - before.len()]));
                }
                '\\' => drop(chars.escaped().ok_or("a string has an escape that is none")?),
                c if c < ' ' => return Err("a string has a control character"),
                _ => {}
            }
        }
    }

    /// A whole number from 0.
    pub(crate) fn number(&mut self) -> Result<usize, Wanted> {
        self.skip_white();
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        let goes_on = rest.starts_with(['.', 'e', 'E']);
        if goes_on || (digits.len() > 1 && digits.starts_with('0')) {
            return Err("a whole number is missing");
        }
        self.0 = rest;
        digits.parse().map_err(|_| "a whole number is missing")
    }

    /// Between the members of a list or an object whose opening sign is behind: whether another one
    /// follows. `first` is whether none has come yet.
    pub(crate) fn another(&mut self, first: bool, end: char) -> Result<bool, Wanted> {
        if self.has(end) {
            return Ok(false);
        }
        if !first {
            self.sign(',', "a comma is missing")?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_numbers_are_read_or_refused() {
        for good in ["\"\"", "\"a\"", " \t\n\r\"é\\u00e9\\\\\\\"\"", "\"\\ud83d\\ude00\""] {
            assert!(Reader(good).string().is_ok(), "{good}");
        }
        for bad in
            ["", "\"", "\"a", "a", "\"\n\"", "\"\\x\"", "\"\\u12\"", "\"\\ud83d\"", "\"\\udc00\""]
        {
            assert!(Reader(bad).string().is_err(), "{bad}");
        }
        assert_eq!(Reader(" 120,").number(), Ok(120));
        assert_eq!(Reader("0").number(), Ok(0));
        for bad in ["", "-1", "01", "1.0", "1e3", "99999999999999999999999"] {
            assert!(Reader(bad).number().is_err(), "{bad}");
        }
        let mut list = Reader("1, 2]x");
        assert_eq!(list.another(true, ']'), Ok(true));
        assert_eq!(list.number(), Ok(1));
        assert_eq!(list.another(false, ']'), Ok(true));
        assert_eq!(list.number(), Ok(2));
        assert_eq!((list.another(false, ']'), list.0), (Ok(false), "x"));
        assert!(Reader("2]").another(false, ']').is_err());
    }
}
