//! Expressions of a task's file, compiled once and computed without allocation.
//!
//! A [`Machine`] holds the numbers of one step in slots: the action, the goal, the step's number,
//! what is read from MuJoCo, constants and what is computed from them. Words become slots, calls
//! become steps of the machine, and the plain arithmetic between them is `exmex`'s.

use std::{iter::Peekable, ops::Range, vec::IntoIter};

use exmex::{Express, FlatEx};

use super::{
    names::{Names, Point},
    readings::Reading,
};
use crate::{
    definition::{DefinitionError, Formula, hint},
    physics::Physics,
};

/// Parentheses and calls within each other, at most.
const DEEPEST: usize = 50;
/// Operands of one run of arithmetic, at most: more would be computed on the heap.
const MOST_OPERANDS: usize = 16;

/// Words that stand for themselves.
const OWN_WORDS: [&str; 6] = ["action", "goal", "step", "pi", "qpos", "qvel"];
/// Functions of the language.
const FUNCTIONS: [&str; 15] = [
    "abs", "exp", "log", "sqrt", "sin", "cos", "tanh", "min", "max", "clip", "hypot", "atan2",
    "distance", "norm2", "pow",
];
/// What a body, site or geom has.
const FIELDS: [&str; 9] = ["x", "y", "z", "vx", "vy", "vz", "roll", "pitch", "yaw"];

/// A compiled expression: the slot that holds its value after the machine has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compiled(usize);

/// A function of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Abs,
    Exp,
    Log,
    Sqrt,
    Sin,
    Cos,
    Tanh,
    Min,
    Max,
    Clip,
    Hypot,
    Atan2,
    Pow,
}

impl Function {
    fn of(name: &str) -> Option<(Self, usize)> {
        Some(match name {
            "abs" => (Self::Abs, 1),
            "exp" => (Self::Exp, 1),
            "log" => (Self::Log, 1),
            "sqrt" => (Self::Sqrt, 1),
            "sin" => (Self::Sin, 1),
            "cos" => (Self::Cos, 1),
            "tanh" => (Self::Tanh, 1),
            "min" => (Self::Min, 2),
            "max" => (Self::Max, 2),
            "hypot" => (Self::Hypot, 2),
            "atan2" => (Self::Atan2, 2),
            "pow" => (Self::Pow, 2),
            "clip" => (Self::Clip, 3),
            _ => return None,
        })
    }

    fn apply(self, [a, b, c]: [f64; 3]) -> f64 {
        match self {
            Self::Abs => a.abs(),
            Self::Exp => a.exp(),
            Self::Log => a.ln(),
            Self::Sqrt => a.sqrt(),
            Self::Sin => a.sin(),
            Self::Cos => a.cos(),
            Self::Tanh => a.tanh(),
            // A number that is none stays none: it must not look like a good reward.
            Self::Min => {
                if a.is_nan() || b.is_nan() {
                    f64::NAN
                } else {
                    a.min(b)
                }
            }
            Self::Max => {
                if a.is_nan() || b.is_nan() {
                    f64::NAN
                } else {
                    a.max(b)
                }
            }
            Self::Clip => {
                if a < b {
                    b
                } else if a > c {
                    c
                } else {
                    a
                }
            }
            Self::Hypot => a.hypot(b),
            Self::Atan2 => a.atan2(b),
            Self::Pow => a.powf(b),
        }
    }
}

/// One step of the machine.
#[derive(Clone, Debug)]
enum Step {
    /// Arithmetic on up to [`MOST_OPERANDS`] slots.
    Arithmetic { formula: Box<FlatEx<f64>>, inputs: Vec<usize>, out: usize },
    /// A function of up to three slots.
    Call { function: Function, inputs: [usize; 3], out: usize },
    /// Distance of two points, three slots each.
    Distance { a: usize, b: usize, out: usize },
    /// Sum of the squares of neighbouring slots.
    Norm2 { of: Range<usize>, out: usize },
}

/// The expressions of one task. Environments share it, each with its own [`Machine::values`].
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Numbers of a step before it, constants included.
    values: Vec<f64>,
    action: Range<usize>,
    goal: Range<usize>,
    step: usize,
    readings: Vec<(Reading, Range<usize>)>,
    steps: Vec<Step>,
}

impl Machine {
    /// A machine for actions `[actions]` and goals `[dims]` (0 where the task has none).
    pub(crate) fn new(actions: usize, dims: usize) -> Self {
        Self {
            values: vec![0.0; actions + dims + 1],
            action: 0..actions,
            goal: actions..actions + dims,
            step: actions + dims,
            readings: vec![],
            steps: vec![],
        }
    }

    /// Compiles one more expression.
    ///
    /// # Errors
    /// [`DefinitionError`], which says what word or sign is wrong.
    pub(crate) fn compile(
        &mut self,
        formula: &Formula,
        names: Names<'_>,
    ) -> Result<Compiled, DefinitionError> {
        let refuse =
            |problem: String| formula.at.error(format!("in `{}`: {problem}", formula.text));
        let tokens = tokens(&formula.text).map_err(refuse)?;
        let mut compiler = Compiler { machine: self, names, tokens: tokens.into_iter().peekable() };
        let slot = compiler.run(0).map_err(refuse)?;
        match compiler.tokens.next() {
            None => Ok(Compiled(slot)),
            Some(token) => Err(refuse(format!("there is no use for {token}"))),
        }
    }

    /// What is read from MuJoCo.
    pub(crate) fn readings(&self) -> impl Iterator<Item = &Reading> {
        self.readings.iter().map(|(reading, _)| reading)
    }

    /// Numbers of one environment.
    pub(crate) fn values(&self) -> Vec<f64> {
        self.values.clone()
    }

    /// Numbers of a goal.
    pub(crate) fn goal_dims(&self) -> usize {
        self.goal.len()
    }

    /// An expression that is a number.
    pub(crate) fn constant(&mut self, value: f64) -> Compiled {
        Compiled(self.slot(value))
    }

    /// x, y and z of a body.
    pub(crate) fn position_of_body(&mut self, body: usize) -> [Compiled; 3] {
        let start = self.reading(Reading::Position(Point::Body(body))).start;
        [0, 1, 2].map(|i| Compiled(start + i))
    }

    /// Takes in what has come of a control step; `action` is `[A]`.
    pub(crate) fn observe(&self, values: &mut [f64], physics: &Physics, action: &[f64], step: u64) {
        values[self.action.clone()].copy_from_slice(action);
        values[self.step] = step as f64;
        for (reading, range) in &self.readings {
            reading.write(physics, &mut values[range.clone()]);
        }
    }

    /// Computes all expressions for one goal, `[dims]`.
    pub(crate) fn run(&self, values: &mut [f64], goal: &[f64]) {
        values[self.goal.clone()].copy_from_slice(goal);
        for step in &self.steps {
            match step {
                Step::Arithmetic { formula, inputs, out } => {
                    let mut numbers = [0.0; MOST_OPERANDS];
                    for (number, &slot) in numbers.iter_mut().zip(inputs) {
                        *number = values[slot];
                    }
                    values[*out] = formula.eval(&numbers[..inputs.len()]).unwrap_or(f64::NAN);
                }
                Step::Call { function, inputs, out } => {
                    values[*out] = function.apply(inputs.map(|slot| values[slot]));
                }
                Step::Distance { a, b, out } => {
                    let square = |i: usize| (values[a + i] - values[b + i]).powi(2);
                    values[*out] = (square(0) + square(1) + square(2)).sqrt();
                }
                Step::Norm2 { of, out } => {
                    values[*out] = values[of.clone()].iter().map(|x| x * x).sum();
                }
            }
        }
    }

    /// Value of an expression when the machine last ran.
    pub(crate) fn value(&self, values: &[f64], expression: Compiled) -> f64 {
        values[expression.0]
    }

    fn slot(&mut self, value: f64) -> usize {
        self.values.push(value);
        self.values.len() - 1
    }

    fn reading(&mut self, reading: Reading) -> Range<usize> {
        if let Some((_, range)) = self.readings.iter().find(|(other, _)| *other == reading) {
            return range.clone();
        }
        let range = self.values.len()..self.values.len() + reading.width();
        self.values.resize(range.end, 0.0);
        self.readings.push((reading, range.clone()));
        range
    }
}

/// A sign or word of an expression.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    /// A name with what follows it.
    Word(Word),
    /// A name that an opening parenthesis follows, which is taken with it.
    Call(String),
    Sign(char),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(x) => write!(f, "`{x}`"),
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Call(name) => write!(f, "`{name}(`"),
            Self::Sign(sign) => write!(f, "`{sign}`"),
        }
    }
}

/// `NAME`, `NAME.field` or `NAME[index]`.
#[derive(Clone, Debug, PartialEq)]
struct Word {
    name: String,
    field: Option<String>,
    index: Option<usize>,
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        match (&self.field, self.index) {
            (Some(field), _) => write!(f, ".{field}"),
            (None, Some(index)) => write!(f, "[{index}]"),
            (None, None) => Ok(()),
        }
    }
}

/// Splits an expression into its signs and words.
fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = if first.is_ascii_digit() || first == '.' {
            number(rest)?
        } else if first.is_alphabetic() || first == '_' || first == '\'' {
            word(rest)?
        } else if "+-*/^(),".contains(first) {
            (Token::Sign(first), 1)
        } else {
            return Err(format!("`{first}` is no sign of an expression"));
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// The number that `text` starts with, and its length.
fn number(text: &str) -> Result<(Token, usize), String> {
    let digits = |text: &str| text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let mut length = digits(text);
    if let Some(exponent) = text[length..].strip_prefix(['e', 'E']) {
        let signed = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let figures = signed.bytes().take_while(u8::is_ascii_digit).count();
        if figures > 0 {
            length += 1 + (exponent.len() - signed.len()) + figures;
        }
    }
    match text[..length].parse::<f64>() {
        Ok(x) if x.is_finite() => Ok((Token::Number(x), length)),
        _ => Err(format!("`{}` is no number", &text[..length])),
    }
}

/// The word or call that `text` starts with, and its length. Names with other signs than letters,
/// digits, `_` and `:` stand in single quotes.
fn word(text: &str) -> Result<(Token, usize), String> {
    let letter = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let run = |text: &str| text.find(|c: char| !letter(c)).unwrap_or(text.len());
    let (name, mut length) = match text.strip_prefix('\'') {
        None => (&text[..run(text)], run(text)),
        Some(quoted) => {
            let end = quoted.find('\'').ok_or("a quote is not closed")?;
            (&quoted[..end], end + 2)
        }
    };
    let name = name.to_string();
    let after = &text[length..];
    if after.starts_with('(') {
        return Ok((Token::Call(name), length + 1));
    }
    let mut word = Word { name, field: None, index: None };
    if let Some(after) = after.strip_prefix('.') {
        let end = run(after);
        word.field = Some(after[..end].to_string());
        length += 1 + end;
    } else if let Some(after) = after.strip_prefix('[') {
        let end = after.find(']').ok_or("a bracket is not closed")?;
        let index = after[..end].trim();
        word.index = Some(index.parse().map_err(|_| format!("`[{index}]` is no index"))?);
        length += 1 + end + 1;
    }
    Ok((Token::Word(word), length))
}

/// An operand or an operator of a run of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Item {
    Operand(usize),
    Sign(char),
    /// A minus that stands before its operand.
    Negative,
}

struct Compiler<'a, 'm> {
    machine: &'m mut Machine,
    names: Names<'a>,
    tokens: Peekable<IntoIter<Token>>,
}

impl Compiler<'_, '_> {
    /// Compiles up to a comma, a closing parenthesis or the end; the slot of its value.
    fn run(&mut self, depth: usize) -> Result<usize, String> {
        if depth > DEEPEST {
            return Err(format!("more than {DEEPEST} parentheses within each other"));
        }
        let mut items = Vec::new();
        loop {
            match self.tokens.next_if(|t| *t == Token::Sign('-') || *t == Token::Sign('+')) {
                Some(Token::Sign('-')) => items.push(Item::Negative),
                Some(_) => {}
                None => {
                    items.push(Item::Operand(self.operand(depth)?));
                    match self
                        .tokens
                        .next_if(|t| matches!(t, Token::Sign('+' | '-' | '*' | '/' | '^')))
                    {
                        Some(Token::Sign(sign)) => items.push(Item::Sign(sign)),
                        _ => break,
                    }
                }
            }
        }
        self.powers(&mut items);
        self.arithmetic(&items)
    }

    /// Makes each `a ^ b` one operand, the last first: 2 ^ 3 ^ 2 is 2 ^ 9, and −a ^ 2 is −(a ^ 2).
    fn powers(&mut self, items: &mut Vec<Item>) {
        while let Some(at) = items.iter().rposition(|item| *item == Item::Sign('^')) {
            let negatives = items[at + 1..].iter().take_while(|i| **i == Item::Negative).count();
            let (Item::Operand(base), Item::Operand(exponent)) =
                (items[at - 1], items[at + 1 + negatives])
            else {
                return;
            };
            let exponent = match negatives % 2 {
                0 => exponent,
                _ => {
                    let minus = self.machine.slot(-1.0);
                    self.product(minus, exponent)
                }
            };
            let out = self.call(Function::Pow, [base, exponent, exponent]);
            items.splice(at - 1..at + 2 + negatives, [Item::Operand(out)]);
        }
    }

    fn product(&mut self, a: usize, b: usize) -> usize {
        let items = [Item::Operand(a), Item::Sign('*'), Item::Operand(b)];
        self.arithmetic(&items).expect("two operands are not too many")
    }

    fn call(&mut self, function: Function, inputs: [usize; 3]) -> usize {
        let out = self.machine.slot(0.0);
        self.machine.steps.push(Step::Call { function, inputs, out });
        out
    }

    /// Plain arithmetic on slots, by `exmex`; in parts where there are too many operands.
    fn arithmetic(&mut self, items: &[Item]) -> Result<usize, String> {
        if let [Item::Operand(slot)] = items {
            return Ok(*slot);
        }
        let operands = items.iter().filter(|i| matches!(i, Item::Operand(_))).count();
        if operands > MOST_OPERANDS {
            // At the last sum, if there is one that leaves something on either side.
            let sum = |i: &usize| matches!(items[*i], Item::Sign('+' | '-'));
            let half = items.len() / 2;
            let at =
                (1..items.len()).filter(sum).min_by_key(|i| i.abs_diff(half)).ok_or_else(|| {
                    format!(
                        "{operands} factors in a row; need at most {MOST_OPERANDS}: use parentheses"
                    )
                })?;
            let left = self.arithmetic(&items[..at])?;
            // What is taken off is taken off term by term.
            let mut right: Vec<Item> = Vec::new();
            if items[at] == Item::Sign('-') {
                right.push(Item::Negative);
            }
            right.extend(&items[at + 1..]);
            let right = self.arithmetic(&right)?;
            return self.arithmetic(&[Item::Operand(left), Item::Sign('+'), Item::Operand(right)]);
        }
        let (mut inputs, mut text) = (Vec::new(), String::new());
        for item in items {
            match item {
                Item::Operand(slot) => {
                    // Two digits, so that exmex's order of variables is ours.
                    text += &format!("v{:02}", inputs.len());
                    inputs.push(*slot);
                }
                Item::Sign(sign) => text.push(*sign),
                Item::Negative => text.push('-'),
            }
        }
        let formula = exmex::parse::<f64>(&text).map_err(|e| e.to_string())?;
        let out = self.machine.slot(0.0);
        self.machine.steps.push(Step::Arithmetic { formula: Box::new(formula), inputs, out });
        Ok(out)
    }

    /// A number, a word, a call or something in parentheses.
    fn operand(&mut self, depth: usize) -> Result<usize, String> {
        match self.tokens.next() {
            Some(Token::Number(x)) => Ok(self.machine.slot(x)),
            Some(Token::Word(word)) => self.word(&word),
            Some(Token::Sign('(')) => {
                let slot = self.run(depth + 1)?;
                self.close()?;
                Ok(slot)
            }
            Some(Token::Call(name)) => self.function(&name, depth),
            Some(token) => Err(format!("{token} stands where a number or a word is needed")),
            None => Err("it ends where a number or a word is needed".to_string()),
        }
    }

    fn close(&mut self) -> Result<(), String> {
        match self.tokens.next() {
            Some(Token::Sign(')')) => Ok(()),
            Some(token) => Err(format!("{token} stands where `)` is needed")),
            None => Err("a parenthesis is not closed".to_string()),
        }
    }

    fn function(&mut self, name: &str, depth: usize) -> Result<usize, String> {
        let out = match name {
            "distance" => {
                let a = self.place()?;
                match self.tokens.next() {
                    Some(Token::Sign(',')) => {}
                    _ => {
                        return Err("`distance` needs two points, as in distance(a, b)".to_string());
                    }
                }
                let b = self.place()?;
                let out = self.machine.slot(0.0);
                self.machine.steps.push(Step::Distance { a, b, out });
                out
            }
            "norm2" => {
                let of = self.vector()?;
                let out = self.machine.slot(0.0);
                self.machine.steps.push(Step::Norm2 { of, out });
                out
            }
            _ => {
                let Some((function, count)) = Function::of(name) else {
                    return Err(format!("there is no function `{name}`{}", hint(name, FUNCTIONS)));
                };
                let mut inputs = vec![self.run(depth + 1)?];
                while self.tokens.next_if_eq(&Token::Sign(',')).is_some() {
                    inputs.push(self.run(depth + 1)?);
                }
                // `min` and `max` take any number.
                if matches!(function, Function::Min | Function::Max) && inputs.len() >= 2 {
                    let rest = inputs.split_off(1);
                    let fold = |a, b| self.call(function, [a, b, b]);
                    let out = rest.into_iter().fold(inputs[0], fold);
                    self.close()?;
                    return Ok(out);
                }
                let found = inputs.len();
                inputs.resize(3, inputs[0]);
                match <[usize; 3]>::try_from(inputs) {
                    Ok(inputs) if found == count => self.call(function, inputs),
                    _ => return Err(format!("`{name}` has {found} arguments, need {count}")),
                }
            }
        };
        self.close()?;
        Ok(out)
    }

    /// The three slots of a point in space.
    fn place(&mut self) -> Result<usize, String> {
        match self.tokens.next() {
            Some(Token::Word(Word { name, field: None, index: None })) => {
                if name == "goal" && self.machine.goal.len() == 3 {
                    return Ok(self.machine.goal.start);
                }
                let point = self.names.point(&name).ok_or_else(|| self.unknown(&name))?;
                Ok(self.machine.reading(Reading::Position(point)).start)
            }
            Some(token) => Err(format!("{token} is no body, site or geom")),
            None => Err("it ends where a body, site or geom is needed".to_string()),
        }
    }

    /// The slots of a word that stands for several numbers.
    fn vector(&mut self) -> Result<Range<usize>, String> {
        let model = self.names.0;
        match self.tokens.next() {
            Some(Token::Word(Word { name, field: None, index: None })) => match name.as_str() {
                "action" => Ok(self.machine.action.clone()),
                "goal" if !self.machine.goal.is_empty() => Ok(self.machine.goal.clone()),
                "qpos" => Ok(self.machine.reading(Reading::Qpos(0..model.nq() as usize))),
                "qvel" => Ok(self.machine.reading(Reading::Qvel(0..model.nv() as usize))),
                _ => {
                    let range = self.sensor(&name).ok_or_else(|| self.unknown(&name))?;
                    Ok(self.machine.reading(Reading::Sensor(range)))
                }
            },
            Some(token) => Err(format!("{token} is no vector; need `action` or a sensor")),
            None => Err("it ends where `action` or a sensor is needed".to_string()),
        }
    }

    fn sensor(&self, name: &str) -> Option<Range<usize>> {
        let id = self.names.find(mujoco_rs::prelude::MjtObjBase::mjOBJ_SENSOR, name)?;
        Some(self.names.sensor_of(id))
    }

    /// The slot of a word.
    fn word(&mut self, word: &Word) -> Result<usize, String> {
        let model = self.names.0;
        let element = |range: Range<usize>| match word.index {
            Some(index) if index < range.len() => Ok(range.start + index),
            Some(_) => Err(format!("`{word}`: `{}` has {} numbers", word.name, range.len())),
            None if range.len() == 1 => Ok(range.start),
            None => {
                Err(format!("`{word}` has {} numbers; say which, as in `{word}[0]`", range.len()))
            }
        };
        match (word.name.as_str(), word.field.as_deref()) {
            ("step", None) if word.index.is_none() => return Ok(self.machine.step),
            ("pi", None) if word.index.is_none() => {
                return Ok(self.machine.slot(std::f64::consts::PI));
            }
            ("action", None) => return element(self.machine.action.clone()),
            ("qpos", None) => {
                let at = element(0..model.nq() as usize)?;
                return Ok(self.machine.reading(Reading::Qpos(at..at + 1)).start);
            }
            ("qvel", None) => {
                let at = element(0..model.nv() as usize)?;
                return Ok(self.machine.reading(Reading::Qvel(at..at + 1)).start);
            }
            ("goal", field) if !self.machine.goal.is_empty() => {
                let goal = self.machine.goal.clone();
                return match field {
                    None => element(goal),
                    Some(field) => match ["x", "y", "z"].iter().position(|f| *f == field) {
                        Some(i) if i < goal.len() => Ok(goal.start + i),
                        _ => Err(format!("the goal has no `{field}`")),
                    },
                };
            }
            ("goal", _) if self.names.point("goal").is_none() => {
                return Err("this task has no goal: neither [goal] nor something so called".into());
            }
            _ => {}
        }
        match &word.field {
            None => {
                let range = self.sensor(&word.name).ok_or_else(|| self.unknown(&word.name))?;
                let at = element(range)?;
                Ok(self.machine.reading(Reading::Sensor(at..at + 1)).start)
            }
            Some(field) => self.field(&word.name, field),
        }
    }

    /// The slot of `NAME.field`.
    fn field(&mut self, name: &str, field: &str) -> Result<usize, String> {
        if let "pos" | "vel" = field {
            let joint = self.names.find(mujoco_rs::prelude::MjtObjBase::mjOBJ_JOINT, name);
            let joint = joint.map(|id| self.names.joint_of(id)).ok_or_else(|| {
                let hint = hint(name, self.names.joints());
                format!("the model has no joint `{name}`{hint}")
            })?;
            if joint.qpos.len() != 1 {
                return Err(format!(
                    "joint `{name}` has {} positions; use its body",
                    joint.qpos.len()
                ));
            }
            let reading =
                if field == "pos" { Reading::Qpos(joint.qpos) } else { Reading::Qvel(joint.qvel) };
            return Ok(self.machine.reading(reading).start);
        }
        let point = self.names.point(name).ok_or_else(|| self.unknown(name))?;
        let (reading, at) = match (field, point) {
            ("x", _) => (Reading::Position(point), 0),
            ("y", _) => (Reading::Position(point), 1),
            ("z", _) => (Reading::Position(point), 2),
            ("vx", _) => (Reading::Linear(point), 0),
            ("vy", _) => (Reading::Linear(point), 1),
            ("vz", _) => (Reading::Linear(point), 2),
            ("roll", _) => (Reading::Angles(point), 0),
            ("pitch", _) => (Reading::Angles(point), 1),
            ("yaw", _) => (Reading::Angles(point), 2),
            // The centre of mass of a body with all that hangs on it.
            ("cx", Point::Body(id)) => (Reading::SubtreeCom(id), 0),
            ("cy", Point::Body(id)) => (Reading::SubtreeCom(id), 1),
            ("cz", Point::Body(id)) => (Reading::SubtreeCom(id), 2),
            _ => return Err(format!("`{name}` has no `{field}`{}", hint(field, FIELDS))),
        };
        Ok(self.machine.reading(reading).start + at)
    }

    /// That a word means nothing.
    fn unknown(&self, name: &str) -> String {
        if self.names.point(name).is_some() {
            return format!("`{name}` is a point; say what of it, as in `{name}.x`");
        }
        let known = self.names.points().chain(self.names.sensors()).chain(OWN_WORDS);
        format!("the word `{name}` means nothing here{}", hint(name, known))
    }
}
