//! A manual page from what the program says of itself (`--help`), so that it has every option.

use std::{fmt::Write as _, path::Path, process::Command};

use anyhow::{Context, bail};

use crate::shell::output;

/// What `--help` does not say.
const FILES: &str = "\
.SH FILES
.TP
.I /etc/sog/sog-run.conf
Policy, robot and options of the service \\fBsog-run.service\\fR.
.TP
.I /etc/sog/key
A secret shared with the robot, 16 bytes or more; mode 600.
.TP
.I /run/sog/control.sock
The service's operator socket: one command a line (\\fBarm\\fR, \\fBstart\\fR, \\fBmode K\\fR,
\\fBcode Z\\fR, \\fBdamp\\fR, \\fBstop\\fR, \\fBreset\\fR, \\fBquit\\fR, \\fBstatus\\fR), one answer a line.
.TP
.I /etc/security/limits.d/sog.conf
Members of the group \\fBsog\\fR may run in real time from a terminal.
.SH EXIT STATUS
0: good; 1: a fault ended the run, or a check failed; 2: bad usage or input.
.SH EXAMPLES
.nf
sog-run doctor
sog-run info policy.safetensors
sog-run policy.safetensors --robot udp://192.168.1.5:5600 --key key --mode 2 --log run.log
sog-run replay run.log
.fi
";

/// The page in troff, from the program itself and each of its commands.
pub(super) fn page(program: &Path, version: &str) -> anyhow::Result<String> {
    let help = help(program, &[])?;
    let (about, rest) = help.split_once("\nUsage:").context("`--help` shows no usage")?;
    let mut page = format!(
        ".TH SOG\\-RUN 1 \"\" \"sog {version}\" \"User Commands\"\n\
         .SH NAME\nsog\\-run \\- runs a policy on a robot at a fixed rate\n.SH SYNOPSIS\n.nf\n"
    );
    let (usage, sections) = rest.split_once("\n\n").context("`--help` shows nothing but usage")?;
    for line in usage.lines() {
        writeln!(page, "{}", escape(line.trim()))?;
    }
    page.push_str(".fi\n.SH DESCRIPTION\n");
    paragraphs(&mut page, about);
    let commands = put_sections(&mut page, sections, "SH");
    if commands.is_empty() {
        bail!("`--help` shows no commands");
    }
    for command in commands.iter().filter(|command| *command != "help") {
        let help = self::help(program, &[command])?;
        let (about, rest) = help.split_once("\nUsage:").context("a command without usage")?;
        let (usage, sections) = rest.split_once("\n\n").unwrap_or((rest, ""));
        write!(
            page,
            ".SH \"SOG\\-RUN {}\"\n.B {}\n.PP\n",
            command.to_uppercase(),
            escape(usage.trim())
        )?;
        paragraphs(&mut page, about);
        put_sections(&mut page, sections, "SS");
    }
    page.push_str(FILES);
    Ok(page)
}

fn help(program: &Path, args: &[&str]) -> anyhow::Result<String> {
    // Wide, so that no line is broken that need not be.
    output(Command::new(program).args(args).arg("--help").env("COLUMNS", "100"))
}

fn paragraphs(page: &mut String, text: &str) {
    for paragraph in text.split("\n\n") {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        if !words.is_empty() {
            page.push_str(&format!("{}\n.PP\n", escape(&words.join(" "))));
        }
    }
}

/// Sections as clap lays them out: a title, then items with their text further in. The names of
/// the commands, if there is such a section.
fn put_sections(page: &mut String, text: &str, level: &str) -> Vec<String> {
    let (mut commands, mut in_commands) = (vec![], false);
    // An option is set in from the left by at most this much.
    let is_item = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        (2..=6).contains(&indent)
    };
    for line in text.lines() {
        let words = line.trim();
        if words.is_empty() {
            continue;
        }
        if !line.starts_with(' ') && words.ends_with(':') {
            let title = words.trim_end_matches(':');
            in_commands = title == "Commands";
            page.push_str(&format!(".{level} {}\n", escape(&title.to_uppercase())));
        } else if is_item(line) {
            // A short item has its text on the same line, two spaces on.
            let (item, about) = words.split_once("  ").unwrap_or((words, ""));
            page.push_str(&format!(".TP\n.B {}\n", escape(item)));
            if !about.is_empty() {
                page.push_str(&format!("{}\n", escape(about.trim())));
            }
            if in_commands {
                commands.push(item.to_string());
            }
        } else {
            page.push_str(&format!("{}\n", escape(words)));
        }
    }
    commands
}

/// Text that troff takes as it is.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('`', "\\`");
    // A line must not begin like a request.
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
