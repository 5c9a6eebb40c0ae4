//! What is in demonstrations, and what is wrong with them: each finding with its episode and what
//! to do.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
};

use crate::{
    Recording, Role,
    stats::{self, Moments},
};

/// What is known of a column beside its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// Name of the column.
    pub column: String,
    /// Lower bound of each component.
    pub low: Vec<f64>,
    /// Upper bound of each component.
    pub high: Vec<f64>,
}

/// What is in a recording.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Report {
    /// Episodes.
    pub episodes: usize,
    /// Steps of all episodes.
    pub steps: usize,
    /// Shortest, median and longest episode, in steps.
    pub lengths: [usize; 3],
    /// Time between steps, where the file says it.
    pub rate: Option<Rate>,
    /// Episodes that have an observation after their last action.
    pub extra_observations: usize,
    /// Each component of each column.
    pub components: Vec<Component>,
    /// What a person should look at.
    pub findings: Vec<Finding>,
}

/// Time between steps.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Rate {
    /// Median in seconds.
    pub dt_s: f64,
    /// Difference of its 95th and 5th percentiles in seconds; 0 without time stamps.
    pub jitter_s: f64,
    /// Longest in seconds.
    pub longest_s: f64,
}

/// One component of a column.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Component {
    /// The column.
    pub column: String,
    /// Which component.
    pub component: usize,
    /// Range and moments.
    #[serde(flatten)]
    pub moments: Moments,
    /// Share of the steps at a bound, or, where no bounds are known, at the smallest or largest
    /// value of all.
    pub at_bound: f64,
    /// Share of the steps beyond a bound.
    pub beyond: f64,
}

/// Something that a person should look at.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Finding {
    /// What kind it is.
    pub kind: FindingKind,
    /// Number of the episode, from 0.
    pub episode: Option<usize>,
    /// First step, from 0.
    pub step: Option<usize>,
    /// The column.
    pub column: Option<String>,
    /// What was found.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A number that is not finite.
    NotFinite,
    /// Time stamps that do not grow.
    TimeRunsBack,
    /// A gap in the time stamps.
    TimeGap,
    /// Steps in no order.
    NoOrder,
    /// Steps whose change is out of line.
    Jump,
    /// The same numbers in every step.
    Constant,
    /// Almost the same.
    NearlyConstant,
    /// Numbers beyond their bounds.
    BeyondBounds,
    /// Many steps at a bound.
    AtBound,
    /// The same episode twice.
    Duplicate,
    /// An episode much shorter than others.
    Short,
    /// Nothing moves at an end of an episode.
    Idle,
    /// Steps of nothing but zeros at the end of an episode.
    Padding,
}

/// Changes from step to step that are so many times as large as all others are jumps.
const JUMP: f64 = 5.0;
/// Jumps go farther than this share of a component's standard deviation.
const FAR: f64 = 0.5;
/// Observations whose smoothest component is as rough as this are in no order.
const NO_ORDER: f64 = 0.7;
/// Standard deviations below this, or below this share of the mean, are next to nothing.
const NEARLY_CONSTANT: f64 = 1e-4;
/// Share of the steps at a bound that is worth a word.
const MANY_AT_BOUND: f64 = 0.05;
/// How far from where it stands a robot may be while idle, in standard deviations of a component.
pub const STILL: f64 = 0.01;
/// Findings of one kind that are listed one by one.
const LISTED: usize = 20;

/// Looks through a recording; `bounds` are those of its columns that have some.
pub fn inspect(recording: &Recording, bounds: &[Bounds]) -> Report {
    let mut lengths: Vec<usize> = recording.episodes.iter().map(|e| e.length).collect();
    lengths.sort_unstable();
    let at = |i: usize| lengths.get(i).copied().unwrap_or(0);
    let median = at(lengths.len() / 2);
    let mut findings = vec![];
    times(recording, &mut findings);
    let components = components(recording, bounds, &mut findings);
    order(recording, &components, &mut findings);
    jumps(recording, &mut findings);
    duplicates(recording, &mut findings);
    short(recording, median, &mut findings);
    idle_ends(recording, &mut findings);
    padding(recording, &mut findings);
    shorten(&mut findings);
    Report {
        episodes: recording.episodes.len(),
        steps: recording.steps(),
        lengths: [at(0), median, at(lengths.len().saturating_sub(1))],
        rate: rate(recording),
        extra_observations: recording
            .episodes
            .iter()
            .filter(|e| e.last.iter().any(Option::is_some))
            .count(),
        components,
        findings,
    }
}

fn rate(recording: &Recording) -> Option<Rate> {
    let dt_s = recording.dt()?;
    let times = recording.episodes.iter().filter_map(|e| e.times_s.as_deref());
    let steps: Vec<f64> = times.flat_map(|t| t.windows(2).map(|w| w[1] - w[0])).collect();
    let spread = || Some(stats::quantile(&steps, 0.95)? - stats::quantile(&steps, 0.05)?);
    let longest_s = stats::quantile(&steps, 1.0).unwrap_or(dt_s);
    Some(Rate { dt_s, jitter_s: spread().unwrap_or(0.0), longest_s })
}

/// What is wrong with the time stamps of a recording: episodes whose clock does not grow, and gaps.
pub fn clocks(recording: &Recording) -> Vec<Finding> {
    let mut findings = vec![];
    times(recording, &mut findings);
    shorten(&mut findings);
    findings
}

fn times(recording: &Recording, findings: &mut Vec<Finding>) {
    for (n, episode) in recording.episodes.iter().enumerate() {
        let Some(times) = &episode.times_s else { continue };
        if let Err(row) = crate::resample::check_times(times) {
            let earlier = times[row.saturating_sub(1)];
            findings.push(Finding {
                kind: FindingKind::TimeRunsBack,
                episode: Some(n),
                step: Some(row),
                column: None,
                what: format!("time {} s follows {earlier} s", times[row]),
                advice: "drop the episode or mend its clock; it cannot be resampled".to_string(),
            });
        } else if let Some((row, gap)) = crate::resample::gap(times) {
            findings.push(Finding {
                kind: FindingKind::TimeGap,
                episode: Some(n),
                step: Some(row),
                column: None,
                what: format!("{gap:.3} s without a sample"),
                advice: "cut the episode there if the robot moved meanwhile".to_string(),
            });
        }
    }
}

/// Samples of a component, episode by episode.
fn samples(recording: &Recording, column: usize, i: usize) -> impl Iterator<Item = f64> + Clone {
    let width = recording.columns[column].width;
    recording
        .episodes
        .iter()
        .flat_map(move |e| e.data[column].iter().skip(i).step_by(width).copied())
}

fn components(
    recording: &Recording,
    bounds: &[Bounds],
    findings: &mut Vec<Finding>,
) -> Vec<Component> {
    let mut all = vec![];
    for (c, column) in recording.columns.iter().enumerate() {
        let bounds = bounds.iter().find(|b| b.column == column.name);
        not_finite(recording, c, findings);
        for i in 0..column.width {
            let moments = Moments::of(samples(recording, c, i));
            let limits = bounds
                .and_then(|b| Some((*b.low.get(i)?, *b.high.get(i)?)))
                .filter(|(low, high)| low.is_finite() && high.is_finite());
            let (low, high) = limits.unwrap_or((moments.min, moments.max));
            let near = 1e-6 * (high - low);
            let share = |test: &dyn Fn(f64) -> bool| {
                let found = samples(recording, c, i).filter(|&x| test(x)).count();
                found as f64 / moments.count.max(1) as f64
            };
            let component = Component {
                column: column.name.clone(),
                component: i,
                moments,
                at_bound: share(&|x| (x - low).abs() <= near || (x - high).abs() <= near),
                beyond: share(&|x| x < low - near || x > high + near),
            };
            let judged = matches!(column.role(), Role::Observation | Role::Action | Role::Other);
            if judged && moments.count > 1 {
                judge(&component, limits, findings);
            }
            all.push(component);
        }
    }
    all
}

fn not_finite(recording: &Recording, c: usize, findings: &mut Vec<Finding>) {
    let column = &recording.columns[c];
    for (n, episode) in recording.episodes.iter().enumerate() {
        let wrong = episode.data[c].iter().filter(|x| !x.is_finite()).count();
        let Some(at) = episode.data[c].iter().position(|x| !x.is_finite()) else { continue };
        findings.push(Finding {
            kind: FindingKind::NotFinite,
            episode: Some(n),
            step: Some(at / column.width),
            column: Some(column.name.clone()),
            what: format!("{wrong} numbers are not finite"),
            advice: "drop the episode or cut it before that step".to_string(),
        });
    }
}

fn judge(component: &Component, limits: Option<(f64, f64)>, findings: &mut Vec<Finding>) {
    let Component { moments, at_bound, beyond, .. } = *component;
    let mut add = |kind, what: String, advice: &str| {
        findings.push(Finding {
            kind,
            episode: None,
            step: None,
            column: Some(format!("{}[{}]", component.column, component.component)),
            what,
            advice: advice.to_string(),
        });
    };
    if moments.std == 0.0 {
        let what = format!("always {}", moments.mean);
        add(FindingKind::Constant, what, "nothing can be learned from it: leave it out");
    } else if moments.std < NEARLY_CONSTANT * moments.mean.abs().max(1.0) {
        let what = format!("{} ± {:.1e}", moments.mean, moments.std);
        let advice = "noise is all that it tells: leave it out, or check its unit";
        add(FindingKind::NearlyConstant, what, advice);
    }
    if beyond > 0.0
        && let Some((low, high)) = limits
    {
        let what = format!(
            "{:.1} % beyond {low} to {high}, from {} to {}",
            100.0 * beyond,
            moments.min,
            moments.max
        );
        add(FindingKind::BeyondBounds, what, "check the unit, or clip");
    }
    if limits.is_some() && at_bound > MANY_AT_BOUND {
        let what = format!("{:.0} % of the steps at a bound", 100.0 * at_bound);
        add(FindingKind::AtBound, what, "check that it was not cut off when recorded");
    }
}

/// Observations that change as much from step to step as if their order were lost.
fn order(recording: &Recording, components: &[Component], findings: &mut Vec<Finding>) {
    let mut rough = vec![];
    for (c, column) in recording.columns.iter().enumerate() {
        let observed = column.role() == Role::Observation;
        let any = recording.columns.iter().any(|c| c.role() == Role::Observation);
        if (any && !observed) || (!any && column.role() != Role::Other) {
            continue;
        }
        for i in 0..column.width {
            let moving =
                |x: &&Component| x.column == column.name && x.component == i && x.moments.std > 0.0;
            if components.iter().find(moving).is_none() {
                continue;
            }
            let sequences: Vec<Vec<f64>> =
                recording.episodes.iter().map(|e| component_of(e, c, column.width, i)).collect();
            let long: Vec<Vec<f64>> = sequences.into_iter().filter(|s| s.len() >= 10).collect();
            rough.extend(stats::roughness(&long));
        }
    }
    let Some(least) = stats::quantile(&rough, 0.0).filter(|&r| r > NO_ORDER) else { return };
    findings.push(Finding {
        kind: FindingKind::NoOrder,
        episode: None,
        step: None,
        column: None,
        what: format!(
            "observations change from step to step as if their order were lost (roughness \
             {least:.2} at the least, 1 in no order)"
        ),
        advice: "check that steps are in order and that the axes are episode, step, component \
                 (not step, episode, component)"
            .to_string(),
    });
}

fn component_of(episode: &crate::Episode, column: usize, width: usize, i: usize) -> Vec<f64> {
    episode.data[column].iter().skip(i).step_by(width).copied().collect()
}

fn jumps(recording: &Recording, findings: &mut Vec<Finding>) {
    /// Components that jump in one step.
    #[derive(Default)]
    struct Jump {
        components: Vec<String>,
        wraps: bool,
    }
    let mut jumps: BTreeMap<(usize, usize), Jump> = BTreeMap::new();
    for (c, column) in recording.columns.iter().enumerate() {
        let observed = matches!(column.role(), Role::Observation | Role::Action | Role::Other);
        if !observed || !column.dtype.is_continuous() {
            continue;
        }
        for i in 0..column.width {
            let changes: Vec<Vec<f64>> = recording
                .episodes
                .iter()
                .map(|e| {
                    let values = component_of(e, c, column.width, i);
                    values.windows(2).map(|w| (w[1] - w[0]).abs()).collect()
                })
                .collect();
            // Steps in which nothing moved say nothing of how far a step goes.
            let moves: Vec<f64> = changes.iter().flatten().copied().filter(|&x| x > 0.0).collect();
            let std = Moments::of(samples(recording, c, i)).std;
            // What jumps by less is noise, or settles at the start of an episode.
            let far = |least: &f64| *least > FAR * std;
            let Some(least) = stats::out_of_line(&moves, JUMP).filter(far) else { continue };
            for (n, changes) in changes.iter().enumerate() {
                for (t, &change) in changes.iter().enumerate().filter(|(_, x)| **x >= least) {
                    let jump = jumps.entry((n, t + 1)).or_default();
                    jump.components.push(format!("{}[{i}] by {change:.3}", column.name));
                    let turn = |turn: f64| (change / turn - 1.0).abs() < 0.1;
                    jump.wraps |= turn(std::f64::consts::TAU) || turn(360.0);
                }
            }
        }
    }
    for ((episode, step), jump) in jumps {
        let names = &jump.components;
        let more = names.len().saturating_sub(4);
        let mut what = names[..names.len().min(4)].join(", ");
        if more > 0 {
            what += &format!(" and {more} more");
        }
        let advice = if jump.wraps {
            "an angle that wraps: give its sine and cosine, or unwrap it"
        } else if names.len() > 2 {
            "an episode may end there: cut it in two, or drop it"
        } else {
            "look at the sensor there; drop the episode if the value is wrong"
        };
        findings.push(Finding {
            kind: FindingKind::Jump,
            episode: Some(episode),
            step: Some(step),
            column: None,
            what,
            advice: advice.to_string(),
        });
    }
}

fn duplicates(recording: &Recording, findings: &mut Vec<Finding>) {
    let mut seen: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (n, episode) in recording.episodes.iter().enumerate() {
        let mut hasher = DefaultHasher::new();
        for data in &episode.data {
            data.iter().for_each(|x| x.to_bits().hash(&mut hasher));
        }
        let same = seen.entry(hasher.finish()).or_default();
        let bits = |e: &crate::Episode| -> Vec<u64> {
            e.data.iter().flatten().map(|x| x.to_bits()).collect()
        };
        let first = same.iter().find(|&&m| bits(&recording.episodes[m]) == bits(episode));
        if let Some(first) = first {
            findings.push(Finding {
                kind: FindingKind::Duplicate,
                episode: Some(n),
                step: None,
                column: None,
                what: format!("the same as episode {first}"),
                advice: "drop it: it counts twice, and may stand on both sides of a split"
                    .to_string(),
            });
        }
        same.push(n);
    }
}

fn short(recording: &Recording, median: usize, findings: &mut Vec<Finding>) {
    for (n, episode) in recording.episodes.iter().enumerate() {
        if episode.length * 5 < median {
            findings.push(Finding {
                kind: FindingKind::Short,
                episode: Some(n),
                step: None,
                column: None,
                what: format!("{} steps, half of the episodes have {median}", episode.length),
                advice: "drop it if the demonstration was broken off".to_string(),
            });
        }
    }
}

/// The steps of each episode between its idle ends: nothing that is observed (or, without
/// observations, nothing at all) is farther than `still` standard deviations of a component from
/// where it stands at the end. Of an episode that is idle all the time one step is left.
pub fn moving(recording: &Recording, still: f64) -> Vec<Range<usize>> {
    let any = recording.columns.iter().any(|c| c.role() == Role::Observation);
    let looked_at: Vec<(usize, usize, Vec<f64>)> = recording
        .columns
        .iter()
        .enumerate()
        .filter(|(_, c)| c.role() == if any { Role::Observation } else { Role::Other })
        .map(|(c, column)| {
            let std = |i| Moments::of(samples(recording, c, i)).std;
            (c, column.width, (0..column.width).map(std).collect())
        })
        .collect();
    let rests = |episode: &crate::Episode, t: usize, end: usize| {
        looked_at.iter().all(|(c, width, stds)| {
            let row = |t: usize| &episode.data[*c][t * width..][..*width];
            let pairs = row(t).iter().zip(row(end)).zip(stds);
            pairs.into_iter().all(|((a, b), std)| (a - b).abs() <= still * std)
        })
    };
    recording
        .episodes
        .iter()
        .map(|episode| {
            let last = episode.length.saturating_sub(1);
            if looked_at.is_empty() || last == 0 {
                return 0..episode.length;
            }
            // The last step that rests at the start, the first that rests at the end.
            let start = (1..=last).take_while(|&t| rests(episode, t, 0)).last().unwrap_or(0);
            if start == last {
                return 0..1;
            }
            let end = (start..last).rev().take_while(|&t| rests(episode, t, last)).last();
            start..end.unwrap_or(last) + 1
        })
        .collect()
}

fn idle_ends(recording: &Recording, findings: &mut Vec<Finding>) {
    for (n, (range, episode)) in
        moving(recording, STILL).into_iter().zip(&recording.episodes).enumerate()
    {
        let (head, tail) = (range.start, episode.length - range.end);
        if (head + tail) * 10 <= episode.length {
            continue;
        }
        findings.push(Finding {
            kind: FindingKind::Idle,
            episode: Some(n),
            step: None,
            column: None,
            what: format!(
                "nothing moves in the first {head} and the last {tail} of {} steps",
                episode.length
            ),
            advice: "cut idle ends, or the policy learns to stand still".to_string(),
        });
    }
}

/// Steps at the end of each episode in which all that is observed and done is exactly 0: the padding
/// of arrays whose episodes were of unequal lengths. A robot is hardly ever so by itself. Of an
/// episode of zeros alone one step is left.
pub fn padded(recording: &Recording) -> Vec<usize> {
    let judged: Vec<(usize, usize)> = recording
        .columns
        .iter()
        .enumerate()
        .filter(|(_, c)| matches!(c.role(), Role::Observation | Role::Action | Role::Other))
        .map(|(at, column)| (at, column.width))
        .collect();
    let padding = |episode: &crate::Episode| {
        let zero = |&t: &usize| {
            judged
                .iter()
                .all(|&(c, width)| episode.data[c][t * width..][..width].iter().all(|&x| x == 0.0))
        };
        (1..episode.length).rev().take_while(zero).count()
    };
    recording.episodes.iter().map(padding).collect()
}

fn padding(recording: &Recording, findings: &mut Vec<Finding>) {
    for (n, (count, episode)) in padded(recording).into_iter().zip(&recording.episodes).enumerate()
    {
        if count == 0 {
            continue;
        }
        findings.push(Finding {
            kind: FindingKind::Padding,
            episode: Some(n),
            step: Some(episode.length - count),
            column: None,
            what: format!("all is 0 in the last {count} of {} steps", episode.length),
            advice: "this looks like padding: cut it, or say each episode's length".to_string(),
        });
    }
}

/// Lists the first findings of each kind, and counts the others.
fn shorten(findings: &mut Vec<Finding>) {
    findings.sort_by_key(|f| (f.kind, f.episode, f.step));
    let mut counts: BTreeMap<FindingKind, usize> = BTreeMap::new();
    let mut short: Vec<Finding> = vec![];
    for finding in findings.drain(..) {
        let count = counts.entry(finding.kind).or_default();
        *count += 1;
        if *count <= LISTED {
            short.push(finding);
        }
    }
    for (kind, count) in counts.into_iter().filter(|(_, n)| *n > LISTED) {
        let at = short.iter().rposition(|f| f.kind == kind).map_or(short.len(), |at| at + 1);
        let more = count - LISTED;
        short.insert(
            at,
            Finding {
                kind,
                episode: None,
                step: None,
                column: None,
                what: format!("{more} more of this kind"),
                advice: String::new(),
            },
        );
    }
    *findings = short;
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(episode) = self.episode {
            write!(f, "episode {episode}")?;
            if let Some(step) = self.step {
                write!(f, ", step {step}")?;
            }
            f.write_str(": ")?;
        }
        if let Some(column) = &self.column {
            write!(f, "{column}: ")?;
        }
        f.write_str(&self.what)?;
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [shortest, median, longest] = self.lengths;
        writeln!(
            f,
            "{} episodes, {} steps (each {shortest} to {longest}, half at least {median})",
            self.episodes, self.steps
        )?;
        if let Some(rate) = self.rate {
            write!(f, "{:.4} s a step ({:.1} Hz)", rate.dt_s, 1.0 / rate.dt_s)?;
            if rate.jitter_s > 0.0 {
                let (jitter, longest) = (1e3 * rate.jitter_s, 1e3 * rate.longest_s);
                write!(
                    f,
                    ", jitter {jitter:.2} ms (5th to 95th percentile), longest {longest:.1} ms"
                )?;
            }
            writeln!(f)?;
        }
        if self.extra_observations > 0 {
            writeln!(
                f,
                "{} episodes have an observation after their last action",
                self.extra_observations
            )?;
        }
        let width = self.components.iter().map(|c| c.column.len() + 5).max().unwrap_or(0);
        writeln!(
            f,
            "{:width$} {:>11} {:>11} {:>11} {:>11}  at bound",
            "component", "min", "mean", "max", "std"
        )?;
        for c in &self.components {
            let m = c.moments;
            let name = format!("{}[{}]", c.column, c.component);
            writeln!(
                f,
                "{name:width$} {:>11.4} {:>11.4} {:>11.4} {:>11.4}  {:>6.1} %",
                m.min,
                m.mean,
                m.max,
                m.std,
                100.0 * c.at_bound
            )?;
        }
        if self.findings.is_empty() {
            return writeln!(f, "nothing out of line");
        }
        writeln!(f, "{} findings:", self.findings.len())?;
        self.findings.iter().try_for_each(|finding| writeln!(f, "  {finding}"))
    }
}
