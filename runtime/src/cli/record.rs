//! `sog-run record`: demonstrations that a person gives with a robot.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use sog_runtime::{
    adapter::{Adapter, AdapterProgram, Between, RobotFile},
    contract::Contract,
    io::{Command, Guidance, IoError, Reading, RobotIo},
    link::{CountsToJson, LinkError, LinkOptions, LinkRobot, ObservationStream, Transport},
    os::{self, files::Outputs, pipe::note},
    recording::{self, Episode, Happened, Recorder, Saver, Store, Want},
};

use super::{
    args::RecordArgs,
    operator::{ControlSocket, Keys},
    run::check_adapter_rate,
};

/// How long a look for the next observation lasts before the operator is heard.
const WAIT: Duration = Duration::from_millis(20);

/// What it means if the disk takes no more.
const NOT_WRITTEN: &str = "the demonstration file cannot be written";

/// The keys, in one line for the operator.
const KEYS: &str = "keys: s start · e end · k keep · x discard · q quit";

type Stream = ObservationStream<Box<dyn Transport + Send>>;

/// The robot as the recorder sees it: at the other end of the link, or behind an adapter.
enum Source {
    Plain(Box<Stream>),
    Adapted(Box<Adapter<Stream>>),
}

impl Source {
    fn stream(&self) -> &Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Adapted(adapter) => adapter.inner(),
        }
    }

    fn contract(&self) -> &Contract {
        match self {
            Self::Plain(stream) => &stream.spec().contract,
            Self::Adapted(adapter) => &adapter.spec().contract,
        }
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        match self {
            Self::Plain(stream) => stream.read(obs),
            Self::Adapted(adapter) => adapter.read(obs),
        }
    }

    fn guidance(&self) -> Guidance<'_> {
        match self {
            Self::Plain(stream) => stream.guidance(),
            Self::Adapted(adapter) => adapter.guidance(),
        }
    }

    /// The last observation as the first of an episode.
    fn begin_episode(&mut self, obs: &mut [f32]) -> Result<(), IoError> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Adapted(adapter) => adapter.begin_episode(obs),
        }
    }

    /// In lock step only a command makes a step; a person who leads the robot overrules it.
    fn step(&mut self) -> Result<(), IoError> {
        match self {
            Self::Plain(stream) => stream.write(Command::Damp),
            Self::Adapted(adapter) => adapter.inner_mut().write(Command::Damp),
        }
    }
}

/// What an operator says, and where the answer goes.
enum Said {
    Want(Want),
    Status,
    Quit,
}

type Asked = (Said, mpsc::Sender<String>);

fn parse(line: &str) -> Result<Said, String> {
    Ok(match line.trim() {
        "start" => Said::Want(Want::Start),
        "end" => Said::Want(Want::End),
        "keep" => Said::Want(Want::Keep),
        "discard" => Said::Want(Want::Discard),
        "status" => Said::Status,
        "quit" => Said::Quit,
        other => return Err(format!("`{other}`: need start, end, keep, discard, status or quit")),
    })
}

fn said_by_key(key: u8) -> Option<Said> {
    Some(match key {
        b's' => Said::Want(Want::Start),
        b'e' => Said::Want(Want::End),
        b'k' => Said::Want(Want::Keep),
        b'x' => Said::Want(Want::Discard),
        // Without a terminal in charge, the interrupt key arrives as a character.
        b'q' | 3 => Said::Quit,
        _ => return None,
    })
}

/// The answer of the recorder's loop.
fn ask(to: &mpsc::Sender<Asked>, said: Said) -> String {
    let (answer, answered) = mpsc::channel();
    let gone = || "error the recorder has ended".to_string();
    if to.send((said, answer)).is_err() {
        return gone();
    }
    answered.recv().unwrap_or_else(|_| gone())
}

pub(super) fn main(args: &RecordArgs) -> Result<bool> {
    let reads = args.link.reads().chain(args.like.as_deref());
    // A file that is gone on with is replaced by itself and more.
    let mut outputs = Outputs::new(args.force || args.append).reads_all(reads);
    let output = outputs.claim(&args.out)?;
    let mut source = open(args)?;
    let contract = source.contract().clone();
    let generator = concat!("sog-run ", env!("CARGO_PKG_VERSION")).to_string();
    let provenance = vec![("expert", "recorded".to_string()), ("generator", generator)];
    let store = Store::new(output, contract, provenance);
    let store = if args.append { store.go_on()? } else { store };

    let (asked, asks) = mpsc::channel();
    let control = args.control.as_ref().map(|path| {
        let asked = asked.clone();
        let answer = move |line: &str| match parse(line) {
            Ok(said) => ask(&asked, said),
            Err(reason) => format!("error {reason}"),
        };
        ControlSocket::listen(path, answer)
            .with_context(|| format!("control socket {}", path.display()))
    });
    let control = control.transpose()?;
    let keyed = asked.clone();
    let pressed = move |key| said_by_key(key).map(|said| ask(&keyed, said));
    let keys = if args.no_keys { None } else { Keys::listen(pressed)? };
    let quit = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&quit);
    os::on_signals(move || flag.store(true, Ordering::Relaxed)).context("signal handlers")?;
    if !args.quiet {
        let link = source.stream().link();
        let pace = if link.lock_step() { "in lock step" } else { "in real time" };
        note(format_args!("watching `{}` {pace}; nothing is commanded", source.contract().task));
        keys.iter().for_each(|_| note(format_args!("{KEYS}")));
    }

    let mut session = Session {
        recorder: Recorder::new(source.contract().obs_dim(), source.contract().action_dim()),
        before: store.episodes().len(),
        saver: Saver::start(store).context("the thread that writes")?,
        untold: vec![],
        waits: source.stream().link().lock_step(),
        quiet: args.quiet,
        dropped: 0,
        told: false,
    };
    let end = session.run(&mut source, &asks, args.episodes, &quit);
    let finished = session.finish(args, &source, end);
    drop((keys, control));
    finished
}

/// Opens the link to the robot, and what lies between.
fn open(args: &RecordArgs) -> Result<Source> {
    let like = args.like.as_deref().map(|path| -> Result<Contract> {
        let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
        Ok(recording::contract_of(path, &bytes)?)
    });
    let like = like.transpose()?;
    let program = match (&args.link.adapter, &like) {
        (Some(path), Some(like)) => Some(AdapterProgram::new(&RobotFile::read(path)?, like)?),
        (Some(_), None) => bail!(
            "--adapter needs --like with a policy or demonstration file of the task: it lies between \
             that and the robot"
        ),
        (None, _) => None,
    };
    if program.as_ref().is_some_and(AdapterProgram::has_pd) {
        bail!(
            "the adapter computes torques from targets: of what the robot applied nobody can tell \
             which target it was for; record where targets are what the robot is told"
        );
    }
    if program.as_ref().is_some_and(|program| program.steps() > 1) {
        bail!("the adapter runs the robot faster than the policy; record at the policy's rate");
    }
    let expected = program.as_ref().map(AdapterProgram::robot_contract).or(like.as_ref());
    let period_ns = match args.link.rate {
        Some(rate) => {
            ensure!((1.0..=2000.0).contains(&rate), "--rate {rate}: need 1 to 2000 Hz");
            (1e9 / rate).round() as u64
        }
        None => 0,
    };
    let (transport, options) = args.link.open(period_ns)?;
    // What comes late is recorded all the same.
    let options = LinkOptions { late_periods: 0.0, ..options };
    let address = args.link.robot()?;
    let robot = LinkRobot::watch(transport, expected, &options).map_err(|error| {
        let asked = expected.is_none();
        let hint = match &error {
            LinkError::Refused { .. } | LinkError::Timeout { .. } if asked => {
                "; a robot that does not say what it is needs --like with a policy or demonstration \
                 file of its task"
            }
            _ => "",
        };
        anyhow::anyhow!("{error}{hint}").context(address.to_string())
    })?;
    ensure!(
        robot.version() >= 2,
        "{}: the robot speaks version 1 of the wire format, which does not tell the action that it \
         applied; docs/protocol.md says what version 2 needs",
        address
    );
    if let (Some(_), Some(like)) = (&program, &like)
        && period_ns != 0
        && !robot.lock_step()
    {
        check_adapter_rate(like.dt_s, period_ns)?;
    }
    let stream = ObservationStream::new(robot, WAIT);
    Ok(match &program {
        None => Source::Plain(Box::new(stream)),
        Some(program) => {
            let mut adapter = Adapter::new(stream, program, Between::Ticker)?;
            adapter.watch();
            Source::Adapted(Box::new(adapter))
        }
    })
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Quit,
    Enough,
    Robot(IoError),
}

/// Something to say once it is on the disk, and whom to answer.
type Untold = (String, Option<mpsc::Sender<String>>);

/// A recording under way.
struct Session {
    recorder: Recorder,
    saver: Saver,
    /// Episodes that were there before.
    before: usize,
    untold: Vec<Untold>,
    /// Whether the robot waits while the disk works.
    waits: bool,
    quiet: bool,
    dropped: u64,
    /// Whether it was said that the robot tells no action.
    told: bool,
}

impl Session {
    fn run(
        &mut self,
        source: &mut Source,
        asks: &mpsc::Receiver<Asked>,
        episodes: Option<u64>,
        quit: &AtomicBool,
    ) -> Result<End> {
        let mut obs = vec![0.0; source.contract().obs_dim()];
        loop {
            while let Ok((said, answer)) = asks.try_recv() {
                let end = matches!(said, Said::Quit);
                self.answer(said, answer)?;
                if end {
                    return Ok(End::Quit);
                }
            }
            self.tell()?;
            if quit.load(Ordering::Relaxed) {
                return Ok(End::Quit);
            }
            let recorded = self.saver.episodes().saturating_sub(self.before);
            if episodes.is_some_and(|n| recorded as u64 >= n) {
                return Ok(End::Enough);
            }
            match source.read(&mut obs) {
                Ok(reading) => {
                    if self.recorder.starts_with(source.guidance()) {
                        source.begin_episode(&mut obs)?;
                    }
                    self.warn_of_silence(source.guidance());
                    let happened = self.recorder.see(reading, &obs, source.guidance());
                    if let Some(happened) = happened {
                        self.take(happened, None)?;
                    }
                    if self.waits {
                        self.wait()?;
                        source.step()?;
                    }
                }
                Err(IoError::Stale) => {}
                Err(error) => return Ok(End::Robot(error)),
            }
        }
    }

    /// What the operator said is done, and answered.
    fn answer(&mut self, said: Said, to: mpsc::Sender<String>) -> Result<()> {
        let text = match said {
            Said::Want(want) => match self.recorder.want(want) {
                Ok(happened) => {
                    self.take(happened, Some(to))?;
                    return Ok(());
                }
                Err(error) => format!("error {error}"),
            },
            Said::Status => {
                let state = if self.recorder.is_recording() { "recording" } else { "waiting" };
                let (pairs, n) = (self.recorder.pairs(), self.saver.on_disk());
                format!("ok state={state} steps={pairs} episodes={n} dropped={}", self.dropped)
            }
            Said::Quit => "ok".to_string(),
        };
        // An operator who has gone needs no answer.
        let _ = to.send(text);
        Ok(())
    }

    /// What has happened is done to the file, and said once it is on the disk.
    fn take(&mut self, happened: Happened, to: Option<mpsc::Sender<String>>) -> Result<()> {
        let n = self.saver.episodes();
        let text = match happened {
            Happened::Started => format!("episode {n} begins"),
            Happened::Ended(episode) => {
                let Episode { missing, terminated, .. } = episode;
                let steps = episode.observations.len() / self.recorder.obs_dim();
                self.wait()?;
                self.saver.add(episode, None).context(NOT_WRITTEN)?;
                let missing = if missing > 0 {
                    format!(", {missing} more without an observation or an action")
                } else {
                    String::new()
                };
                let by = if terminated { ", ended by the robot" } else { "" };
                format!("episode {n} is on the disk: {steps} steps{missing}{by}")
            }
            Happened::Dropped(steps) => {
                self.dropped += 1;
                format!("an episode of {steps} steps is dropped")
            }
            Happened::Kept => format!("episode {} stays", n.saturating_sub(1)),
            Happened::Removed => {
                self.dropped += 1;
                self.wait()?;
                self.saver.remove_last().context(NOT_WRITTEN)?;
                format!("episode {} is removed", n.saturating_sub(1))
            }
        };
        self.untold.push((text, to));
        self.tell()
    }

    /// Says what has been done by now.
    fn tell(&mut self) -> Result<()> {
        if self.untold.is_empty() || !self.saver.is_done().context(NOT_WRITTEN)? {
            return Ok(());
        }
        for (text, to) in self.untold.drain(..) {
            if !self.quiet {
                note(format_args!("\r\x1b[2K{text}"));
            }
            // An operator who has gone needs no answer.
            to.into_iter().for_each(|to| drop(to.send(format!("ok {text}"))));
        }
        Ok(())
    }

    /// Waits for the disk, and says what is done.
    fn wait(&mut self) -> Result<()> {
        self.saver.wait().context(NOT_WRITTEN)?;
        self.tell()
    }

    /// A robot that does not tell what it applies cannot demonstrate.
    fn warn_of_silence(&mut self, guidance: Guidance<'_>) {
        let silent = self.recorder.is_recording() && self.recorder.pairs() == 0;
        if silent && guidance.applied.is_none() && !self.told {
            self.told = true;
            note(format_args!(
                "warning: the robot does not tell the action that it applies (`applied` of the \
                 message `guided`): such steps are left out"
            ));
        }
    }

    /// Prints what was done; whether all went well.
    fn finish(mut self, args: &RecordArgs, source: &Source, end: Result<End>) -> Result<bool> {
        let under_way = self.recorder.is_recording().then(|| self.recorder.pairs());
        if let Some(pairs) = under_way {
            note(format_args!(
                "the episode under way ({pairs} steps) has not ended and is not kept"
            ));
        }
        let end = end?;
        self.wait()?;
        let store = self.saver.finish().context(NOT_WRITTEN)?;
        let (episodes, lost) = (store.episodes(), source.stream().lost());
        let steps = |episode: &Episode| episode.observations.len() / self.recorder.obs_dim();
        let all: usize = episodes.iter().map(steps).sum();
        let missing: u64 = episodes.iter().map(|episode| episode.missing).sum();
        if args.json {
            println!(
                "{}",
                json!({
                    "path": args.out.display().to_string(), "episodes": episodes.len(),
                    "recorded": episodes.len().saturating_sub(self.before), "steps": all,
                    "missing": missing, "dropped": self.dropped, "lost": lost,
                    "under_way": under_way, "link": source.stream().link().counts().to_json(),
                    "end": match end {
                        End::Quit => "quit".to_string(),
                        End::Enough => "enough".to_string(),
                        End::Robot(error) => error.to_string(),
                    },
                })
            );
        } else {
            println!(
                "{}: {} episodes, {all} steps, {missing} missing; {} dropped",
                args.out.display(),
                episodes.len(),
                self.dropped
            );
            if let End::Robot(error) = end {
                println!("ended by the robot: {error}");
            }
        }
        Ok(!matches!(end, End::Robot(_)))
    }
}
