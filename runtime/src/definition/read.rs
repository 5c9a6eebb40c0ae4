//! Reading a TOML file so that every fault has a line and a key.
//!
//! A [`Table`] remembers which keys were asked for; [`Table::finish`] refuses the others and names
//! the nearest that there is.

use std::{ops::Range, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::error::{At, DefinitionError, hint};

/// Result of a step of reading.
pub type Read<T> = Result<T, DefinitionError>;

/// A file's name and text.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file, as faults name it.
    pub file: Arc<str>,
    /// What stands in it.
    pub text: Arc<str>,
}

impl Source {
    /// The place of a key whose value has this span of bytes.
    pub fn at(&self, key: &str, span: Range<usize>) -> At {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
        At { file: Arc::clone(&self.file), line, key: key.to_string() }
    }

    /// The whole file as a table.
    pub fn parse<'a>(&'a self) -> Read<Spanned<DeTable<'a>>> {
        DeTable::parse(&self.text).map_err(|e| {
            let at = self.at("", e.span().unwrap_or(0..0));
            at.error(format!("not TOML: {}", e.message().trim()))
        })
    }
}

/// A value and the key that leads to it.
#[derive(Clone)]
pub struct Value<'a> {
    source: &'a Source,
    key: String,
    node: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    /// Where it stands.
    pub fn at(&self) -> At {
        self.source.at(&self.key, self.node.span())
    }

    /// The fault that is here.
    pub fn error(&self, problem: impl Into<String>) -> DefinitionError {
        self.at().error(problem)
    }

    fn refuse<T>(&self, needed: &str) -> Read<T> {
        let found = match self.node.get_ref() {
            DeValue::String(s) => format!("the text \"{s}\""),
            DeValue::Integer(n) => n.to_string(),
            DeValue::Float(x) => x.to_string(),
            DeValue::Boolean(b) => b.to_string(),
            other => format!("a value of type {}", other.type_str()),
        };
        Err(self.error(format!("found {found}, need {needed}")))
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&'a str> {
        match self.node.get_ref() {
            DeValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is a list.
    pub fn is_array(&self) -> bool {
        self.node.get_ref().is_array()
    }

    /// Whether it is a table.
    pub fn is_table(&self) -> bool {
        self.node.get_ref().is_table()
    }

    /// A text that is not empty.
    pub fn string(&self) -> Read<String> {
        match self.text() {
            Some(text) if !text.trim().is_empty() => Ok(text.to_string()),
            _ => self.refuse("a text that is not empty"),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn boolean(&self) -> Read<bool> {
        match self.node.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            _ => self.refuse("true or false"),
        }
    }

    /// The number, if it is a finite one.
    fn as_number(&self) -> Option<f64> {
        let number = match self.node.get_ref() {
            DeValue::Float(x) => x.as_str().parse().ok(),
            DeValue::Integer(n) => {
                i64::from_str_radix(n.as_str(), n.radix()).ok().map(|n| n as f64)
            }
            _ => None,
        };
        number.filter(|x: &f64| x.is_finite())
    }

    /// A finite number.
    pub fn number(&self) -> Read<f64> {
        match self.as_number() {
            Some(number) => Ok(number),
            None => self.refuse("a finite number"),
        }
    }

    /// A number above 0.
    pub fn positive(&self) -> Read<f64> {
        match self.as_number() {
            Some(number) if number > 0.0 => Ok(number),
            _ => self.refuse("a number above 0"),
        }
    }

    /// A number of things between 1 and `most`.
    pub fn count(&self, most: usize) -> Read<usize> {
        let count = match self.node.get_ref() {
            DeValue::Integer(n) => usize::from_str_radix(n.as_str(), n.radix()).ok(),
            _ => None,
        };
        match count {
            Some(count) if (1..=most).contains(&count) => Ok(count),
            _ => self.refuse(&format!("a whole number from 1 to {most}")),
        }
    }

    /// One finite number or a list of them.
    pub fn numbers(&self) -> Read<Vec<f64>> {
        if let Some(number) = self.as_number() {
            return Ok(vec![number]);
        }
        if !self.is_array() {
            return self.refuse("a number or a list of numbers");
        }
        self.items()?.iter().map(Value::number).collect()
    }

    /// Two numbers, the lower first.
    pub fn interval(&self) -> Read<[f64; 2]> {
        match self.numbers()?[..] {
            [low, high] if low < high => Ok([low, high]),
            _ => Err(self.error("need [low, high] with low below high")),
        }
    }

    /// Names: one text or a list of texts.
    pub fn names(&self) -> Read<Vec<Named>> {
        let named = |v: &Value<'a>| Ok(Named { name: v.string()?, at: v.at() });
        match self.is_array() {
            true => self.items()?.iter().map(named).collect(),
            false => Ok(vec![named(self)?]),
        }
    }

    /// One name.
    pub fn named(&self) -> Read<Named> {
        Ok(Named { name: self.string()?, at: self.at() })
    }

    /// The entries of a list that is not empty.
    pub fn items(&self) -> Read<Vec<Value<'a>>> {
        let DeValue::Array(array) = self.node.get_ref() else { return self.refuse("a list") };
        if array.is_empty() {
            return Err(self.error("the list is empty; need at least one entry"));
        }
        let item =
            |(i, node)| Value { source: self.source, key: format!("{}[{i}]", self.key), node };
        Ok(array.iter().enumerate().map(item).collect())
    }

    /// A table.
    pub fn table(&self) -> Read<Table<'a>> {
        match self.node.get_ref() {
            DeValue::Table(table) => Ok(Table {
                source: self.source,
                key: self.key.clone(),
                span: self.node.span(),
                table,
                known: Vec::new(),
            }),
            _ => self.refuse("a table"),
        }
    }

    /// One table or a list of tables.
    pub fn tables(&self) -> Read<Vec<Table<'a>>> {
        match self.is_array() {
            true => self.items()?.iter().map(Value::table).collect(),
            false => Ok(vec![self.table()?]),
        }
    }

    /// The value as it is, for tables that others read.
    pub fn plain(&self) -> toml::Value {
        plain(self.node.get_ref())
    }
}

fn plain(node: &DeValue<'_>) -> toml::Value {
    match node {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Integer(n) => {
            i64::from_str_radix(n.as_str(), n.radix()).unwrap_or(i64::MAX).into()
        }
        DeValue::Float(x) => x.as_str().parse::<f64>().unwrap_or(f64::NAN).into(),
        DeValue::Boolean(b) => (*b).into(),
        DeValue::Datetime(date) => toml::Value::Datetime(*date),
        DeValue::Array(items) => {
            items.iter().map(|v| plain(v.get_ref())).collect::<Vec<_>>().into()
        }
        DeValue::Table(table) => {
            let entry = |(k, v): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = k.get_ref();
                (key.to_string(), plain(v.get_ref()))
            };
            toml::Value::Table(table.iter().map(entry).collect())
        }
    }
}

/// A name in the file, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Its place.
    pub at: At,
}

/// A table and the keys that were asked for.
pub struct Table<'a> {
    source: &'a Source,
    key: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// The file's table.
    pub fn root(source: &'a Source, table: &'a Spanned<DeTable<'a>>) -> Self {
        let key = String::new();
        Self { source, key, span: 0..0, table: table.get_ref(), known: Vec::new() }
    }

    /// Where it stands.
    pub fn at(&self) -> At {
        self.source.at(&self.key, self.span.clone())
    }

    /// The fault that is here.
    pub fn error(&self, problem: impl Into<String>) -> DefinitionError {
        self.at().error(problem)
    }

    fn path(&self, key: &str) -> String {
        if self.key.is_empty() { key.to_string() } else { format!("{}.{key}", self.key) }
    }

    /// The value of a key, if it is there; the key counts as known.
    pub fn get(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        let node = self.table.get(key)?;
        Some(Value { source: self.source, key: self.path(key), node })
    }

    /// The value of a key that must be there.
    pub fn need(&mut self, key: &'static str, what: &str) -> Read<Value<'a>> {
        if let Some(value) = self.get(key) {
            return Ok(value);
        }
        // Perhaps it is there, misspelt.
        let near = |found: &str| {
            !self.known.contains(&found) && strsim::damerau_levenshtein(found, key) <= 2
        };
        if let Some(found) = self.table.keys().find(|found| near(found.get_ref())) {
            let at = self.source.at(&self.path(found.get_ref()), found.span());
            return Err(at.error(format!("no such key; did you mean `{key}`?")));
        }
        let at = self.source.at(&self.path(key), self.span.clone());
        Err(at.error(format!("is missing; need {what}")))
    }

    /// The value of a key as `read` reads it, if it is there.
    pub fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'a>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.get(key).map(|value| read(&value)).transpose()
    }

    /// All keys and values, which then count as known.
    pub fn entries(&self) -> Vec<(String, Value<'a>)> {
        let entry =
            |(key, node): (&Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)| {
                let name = key.get_ref().to_string();
                let path = self.path(&name);
                (name, Value { source: self.source, key: path, node })
            };
        self.table.iter().map(entry).collect()
    }

    /// Refuses the keys that nobody asked for.
    pub fn finish(self) -> Read<()> {
        let unknown = self.table.keys().find(|key| !self.known.contains(&key.get_ref().as_ref()));
        match unknown {
            None => Ok(()),
            Some(key) => {
                let at = self.source.at(&self.path(key.get_ref()), key.span());
                let hint = hint(key.get_ref(), self.known.iter().copied());
                Err(at.error(format!("no such key{hint}")))
            }
        }
    }
}
