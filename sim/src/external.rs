//! A task that another program simulates, by the link's lock-step protocol.
//!
//! To that program this is a controller: it is told to reset, is sent one action, and answers with
//! one observation, the step's reward and whether the episode has failed. Randomness is its own;
//! the one reward that it reports stands for every mode.

use std::{
    net::UdpSocket,
    path::Path,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sog_runtime::io::{Command, Reading, RobotIo};
use sog_runtime::link::{Address, LinkOptions, LinkRobot, Transport};

use crate::{
    checks::{check_action, check_width},
    definition::Engine,
    error::SimError,
    robot,
    task::{Modes, Probe, Step, Task, TaskInfo},
    tasks::folder::TaskFolder,
};

/// How long a program that is already running may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a program that is started for the purpose may take.
const START: Duration = Duration::from_secs(60);
/// What stands for the port in a command.
const PORT: &str = "{port}";

/// Who simulates, and whether it is taken.
#[derive(Clone, Debug)]
pub(crate) struct External {
    task: Arc<TaskFolder>,
    /// A program that is already running serves one environment at a time.
    taken: Arc<AtomicBool>,
}

impl External {
    pub(crate) fn new(task: &Arc<TaskFolder>) -> Self {
        Self { task: Arc::clone(task), taken: Arc::default() }
    }

    /// Connects one environment.
    ///
    /// # Errors
    /// [`SimError::External`] if nobody answers, what answers is another robot or does not keep
    /// in step, or the program serves an environment already.
    pub(crate) fn connect(&self) -> Result<Box<dyn Task>, SimError> {
        let info = self.task.info();
        let refuse = |reason: String| SimError::External { task: info.name.clone(), reason };
        let engine = self.task.definition().sim.as_ref().map(|sim| &sim.engine);
        let (address, program, lease, timeout) = match engine {
            Some(Engine::External(named)) => {
                let address: Address = named
                    .name
                    .parse()
                    .map_err(|e| SimError::from(named.at.error(format!("{e}"))))?;
                let lease = Lease::take(&self.taken).ok_or_else(|| {
                    let who = &named.name;
                    refuse(format!(
                        "the program at {who} serves one environment and has one; ask for one \
                         environment, or say `command` in place of `external`, which is started \
                         for each"
                    ))
                })?;
                (address, None, Some(lease), ANSWER)
            }
            Some(Engine::Command(words)) => {
                let port =
                    free_port().map_err(|e| refuse(format!("there is no free port: {e}")))?;
                let words: Vec<String> =
                    words.iter().map(|w| w.name.replace(PORT, &port.to_string())).collect();
                let folder = self.task.folder().on_disk();
                let program = Program::start(&words, port, folder)
                    .map_err(|e| refuse(format!("cannot start `{}`: {e}", words[0])))?;
                let address = format!("udp://127.0.0.1:{port}").parse::<Address>();
                (address.map_err(|e| refuse(e.to_string()))?, Some(program), None, START)
            }
            _ => return Err(refuse("no other program simulates it".to_string())),
        };
        let transport = address.connect(None).map_err(|e| refuse(format!("{address}: {e}")))?;
        let options = LinkOptions { timeout, ..LinkOptions::default() };
        let link = LinkRobot::connect(transport, &robot::spec(info), &options)
            .map_err(|e| refuse(format!("{address}: {e}")))?;
        if !link.lock_step() {
            return Err(refuse(format!(
                "the program at {address} runs in real time, not in lock step"
            )));
        }
        let mut task = ExternalTask {
            info: info.clone(),
            link,
            obs: vec![0.0; info.obs_dim()],
            action: vec![0.0; info.action_dim()],
            _program: program,
            _lease: lease,
        };
        // What the handshake left: the answer to a command comes after it.
        task.link.read(&mut task.obs).map_err(|e| refuse(e.to_string()))?;
        task.reset(0)?;
        Ok(Box::new(task))
    }
}

/// A port that nobody listens on at the moment.
fn free_port() -> std::io::Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The right to the one environment of a program.
struct Lease(Arc<AtomicBool>);

impl Lease {
    fn take(taken: &Arc<AtomicBool>) -> Option<Self> {
        (!taken.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(taken)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A program that was started for one environment and ends with it.
struct Program(Child);

impl Program {
    /// Starts it in the task's folder; the port stands in its words as `{port}` and in the
    /// environment as `SOG_PORT`.
    fn start(words: &[String], port: u16, folder: Option<&Path>) -> std::io::Result<Self> {
        let mut command = std::process::Command::new(&words[0]);
        command.args(&words[1..]).env("SOG_PORT", port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        command.spawn().map(Self)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One environment.
struct ExternalTask {
    info: TaskInfo,
    // Dropped before the program, so that it hears of the end.
    link: LinkRobot<Box<dyn Transport + Send>>,
    obs: Vec<f32>,
    action: Vec<f32>,
    _program: Option<Program>,
    _lease: Option<Lease>,
}

impl ExternalTask {
    /// Sends a command and waits for the observation that answers it.
    fn exchange(&mut self, command: Command<'_>) -> Result<Reading, SimError> {
        self.link
            .write(command)
            .and_then(|()| self.link.read(&mut self.obs))
            .map_err(|e| SimError::External { task: self.info.name.clone(), reason: e.to_string() })
    }
}

impl Task for ExternalTask {
    fn info(&self) -> &TaskInfo {
        &self.info
    }

    fn reset(&mut self, _seed: u64) -> Result<(), SimError> {
        self.exchange(Command::Reset).map(drop)
    }

    fn start_from(&mut self, _qpos: &[f64], _qvel: &[f64]) -> Result<(), SimError> {
        let reason = "another program simulates it and starts where it likes".to_string();
        Err(SimError::External { task: self.info.name.clone(), reason })
    }

    fn observe(&self, obs: &mut [f64]) {
        obs.iter_mut().zip(&self.obs).for_each(|(wide, &x)| *wide = f64::from(x));
    }

    fn step(&mut self, action: &[f64], rewards: &mut [f64]) -> Result<Step, SimError> {
        check_action(&self.info.name, action, self.action.len())?;
        check_width(&self.info.name, "rewards", rewards.len(), self.reward_count())?;
        let mut single = std::mem::take(&mut self.action);
        single.iter_mut().zip(action).for_each(|(x, &a)| *x = a as f32);
        let reading = self.exchange(Command::Act(&single));
        self.action = single;
        let reading = reading?;
        rewards.fill(reading.reward.unwrap_or(0.0));
        Ok(Step { terminated: reading.terminated })
    }

    fn reward_count(&self) -> usize {
        match &self.info.modes {
            Modes::Discrete(modes) => modes.len(),
            Modes::Continuous(space) => space.default.len() / space.dims(),
        }
    }

    fn probe(&self) -> Probe {
        Probe::default()
    }
}
