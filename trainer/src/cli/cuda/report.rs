//! What a check found, as JSON and as tables for docs/cuda.md.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::{device::DeviceArg, part::Row, parts::Part};

/// How a part ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// Everything is as it should be.
    Good,
    /// Something is not, or the part broke off.
    Failed,
    /// It took longer than it may.
    TimedOut,
    /// There was no time for it.
    LeftOut,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Of this program.
    version: &'static str,
    device: String,
    quick: bool,
    pub(super) seconds: f64,
    pub(super) parts: Vec<PartReport>,
}

/// What a part found.
#[derive(Debug, Serialize)]
pub(super) struct PartReport {
    name: &'static str,
    title: &'static str,
    pub(super) status: Status,
    /// Why it is not good.
    pub(super) message: String,
    pub(super) seconds: f64,
    /// Most memory of the device in use meanwhile; absent where nobody tells.
    pub(super) peak_memory_mib: Option<u64>,
    pub(super) rows: Vec<Row>,
    #[serde(skip)]
    columns: &'static [&'static str],
}

impl PartReport {
    pub(super) fn new(part: &Part, status: Status, message: String) -> Self {
        Self {
            name: part.name,
            title: part.title,
            status,
            message,
            seconds: 0.0,
            peak_memory_mib: None,
            rows: vec![],
            columns: part.columns,
        }
    }

    pub(super) fn end(&mut self, status: Status, message: String) {
        (self.status, self.message) = (status, message);
    }

    /// In a few words.
    pub(super) fn outcome(&self) -> String {
        let status = match self.status {
            Status::Good => "good",
            Status::Failed => "FAILED",
            Status::TimedOut => "OUT OF TIME",
            Status::LeftOut => "left out",
        };
        let colon = if self.message.is_empty() { "" } else { ": " };
        let memory = self.peak_memory_mib.map_or(String::new(), |mib| format!(", {mib} MiB"));
        format!("{status}{colon}{} ({:.1} s{memory})", self.message, self.seconds)
    }
}

impl Report {
    pub(super) fn new(device: DeviceArg, quick: bool) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self { version, device: device.to_string(), quick, seconds: 0.0, parts: vec![] }
    }

    pub(super) fn is_good(&self) -> bool {
        self.parts.iter().all(|part| part.status == Status::Good)
    }

    /// As Markdown.
    pub(super) fn tables(&self) -> String {
        let mut text = format!(
            "`sog cuda check --device {}{}`, sog {}, {:.0} s\n",
            self.device,
            if self.quick { " --quick" } else { "" },
            self.version,
            self.seconds
        );
        for part in &self.parts {
            // Writing to a string does not fail.
            let _ = write!(text, "\n### {}\n\n{}\n", part.title, part.outcome());
            if !part.rows.is_empty() {
                text.push('\n');
                part.table(&mut text);
            }
        }
        text
    }
}

impl PartReport {
    fn table(&self, text: &mut String) {
        let judged = self.rows.iter().any(|row| row.good.is_some());
        let mut line = |cells: &[String]| {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        };
        let mut head = vec![String::new()];
        head.extend(self.columns.iter().map(|column| column.to_string()));
        if judged {
            head.push("good".to_string());
        }
        line(&head);
        line(&vec!["---".to_string(); head.len()]);
        for row in &self.rows {
            let mut cells = vec![row.what.clone()];
            cells.extend(self.columns.iter().map(|column| cell(row.values.get(*column))));
            if judged {
                let good = row.good.map_or("", |good| if good { "yes" } else { "**no**" });
                cells.push(good.to_string());
            }
            line(&cells);
        }
    }
}

/// A value in a table: numbers to three digits, nothing that would end the cell.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            (_, Some(x)) if x != 0.0 && x.abs() < 1e-3 => format!("{x:.1e}"),
            (_, Some(x)) if x.abs() < 10.0 => format!("{x:.3}"),
            (_, Some(x)) if x.abs() < 100.0 => format!("{x:.1}"),
            (_, x) => format!("{:.0}", x.unwrap_or(f64::NAN)),
        },
        Some(Value::String(text)) => text.replace('|', "\\|").replace('\n', " "),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::cuda::parts::PARTS;

    #[test]
    fn tables_hold_what_was_found_and_what_failed() {
        let part = PARTS.iter().find(|part| part.name == "errors").unwrap();
        let mut found = PartReport::new(part, Status::Good, String::new());
        let row = json!({ "what": "device 7", "good": false, "exit code": 2, "said": "a | b\nc" });
        found.rows.push(serde_json::from_value(row).unwrap());
        found.end(Status::Failed, "device 7 is not as it should be".to_string());
        let mut report = Report::new(DeviceArg::Candle, true);
        report.parts.push(found);
        assert!(!report.is_good());
        let text = report.tables();
        assert!(text.starts_with("`sog cuda check --device candle --quick`"), "{text}");
        assert!(text.contains("FAILED: device 7 is not"), "{text}");
        assert!(text.contains("| device 7 | 2 | a \\| b c | **no** |"), "{text}");
    }

    #[test]
    fn numbers_show_three_digits() {
        let shown = [3e-7, 0.25, 12.34, 1234.5].map(|x| cell(Some(&json!(x))));
        assert_eq!(shown, ["3.0e-7", "0.250", "12.3", "1234"].map(String::from));
        assert_eq!(cell(Some(&json!(40))), "40");
        assert_eq!(cell(None), "");
    }
}
