//! A small reproduction on a real Slurm of one node, with a task killed, held against one made without.
//!
//! Debian's `slurm-wlm` and `munge` run as they are; where they are not there and this user may not
//! install them, it is skipped, and said.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::shell::{cargo, output, root, step, target_dir};

/// What is reproduced, both ways.
const WHAT: [&str; 9] = [
    "reproduce",
    "table1",
    "--tasks",
    "circles",
    "--algos",
    "sog-bc,sog-gail",
    "--seeds=2",
    "--budget=0.05",
    "--out",
];

/// The longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// [`run`] where Slurm is here already.
pub(crate) fn check() -> anyhow::Result<()> {
    match missing() {
        None => run(),
        Some(program) => {
            println!(
                "\n== Slurm: skipped, {program} is not here (`cargo xtask slurm` installs it)"
            );
            Ok(())
        }
    }
}

pub(crate) fn run() -> anyhow::Result<()> {
    if let Some(why) = install() {
        println!("\n== Slurm: skipped, {why}");
        return Ok(());
    }
    step("build", &mut cargo(&["build", "--release", "--workspace", "--bin", "sog"]))?;
    let dir = target_dir().join("slurm");
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let single = dir.join("single");
    step("without a cluster", sog().args(WHAT).arg(&single))?;
    let cluster = Cluster::start(&dir)?;
    let out = dir.join("cluster");
    let submit = || {
        let mut command = sog_on(&cluster);
        command.args(WHAT).arg(&out).args(["--slurm", "--json"]);
        command
    };
    println!("\n== a task that is killed");
    let jobs: Value = serde_json::from_str(&output(&mut submit())?)?;
    let job = jobs.as_array().and_then(|jobs| jobs.iter().find(|job| job["stage"] == "runs"));
    let id = job.and_then(|job| job["id"].as_u64()).context("no job for the runs")?;
    let victim = job.and_then(|job| job["pieces"][0].as_str()).context("no piece in the job")?;
    wait("a run to begin", || Ok(state(&cluster, &out, victim)? == "running"))?;
    output(cluster.command("scancel").arg(format!("{id}_0")))?;
    wait("the queue to end", || {
        Ok(output(cluster.command("squeue").arg("--noheader"))?.trim().is_empty())
    })?;
    let found = state(&cluster, &out, victim)?;
    // Whoever starts from it has made it, or it is there to be submitted again.
    if !["failed", "finished"].contains(&found.as_str()) {
        bail!("{victim} was killed and is called {found}");
    }
    println!("{victim}: {found}; submitted again");
    output(&mut submit())?;
    wait("the queue to end", || {
        Ok(output(cluster.command("squeue").arg("--noheader"))?.trim().is_empty())
    })?;
    step("status", sog_on(&cluster).args(["reproduce", "status", "--out"]).arg(&out))?;
    for name in ["table1.json", "table1.md"] {
        let read = |dir: &Path| {
            let path = dir.join(name);
            fs::read(&path).with_context(|| format!("{}", path.display()))
        };
        if read(&single)? != read(&out)? {
            bail!("{name} in {} and in {} differ", single.display(), out.display());
        }
    }
    println!("== Slurm: the report is that of one machine, byte for byte");
    Ok(())
}

fn sog() -> Command {
    let mut command = Command::new(target_dir().join("release/sog"));
    command.current_dir(root());
    command
}

fn sog_on(cluster: &Cluster) -> Command {
    let mut command = sog();
    command.env("SLURM_CONF", &cluster.conf);
    command
}

/// Where `sog` says that a piece is.
fn state(cluster: &Cluster, out: &Path, piece: &str) -> anyhow::Result<String> {
    let command = &mut sog_on(cluster);
    // It ends with 1 where a piece has failed.
    let said = command.args(["reproduce", "status", "--json", "--out"]).arg(out).output()?;
    let all: Value = serde_json::from_slice(&said.stdout)
        .with_context(|| String::from_utf8_lossy(&said.stderr).into_owned())?;
    let of_piece =
        all["table1"].as_array().and_then(|all| all.iter().find(|p| p["piece"] == piece));
    let state = of_piece.and_then(|p| p["state"].as_str());
    Ok(state.with_context(|| format!("no state of {piece}"))?.to_string())
}

fn wait(what: &str, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !done()? {
        if begin.elapsed() > PATIENCE {
            bail!("waited {} s for {what}", PATIENCE.as_secs());
        }
        sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn there(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into()])
            .any(|dir| dir.join(program).is_file())
    })
}

/// The first program that is needed and not here.
fn missing() -> Option<&'static str> {
    let needed = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel"];
    needed.into_iter().find(|program| !there(program))
}

/// Installs what is missing, or says why it cannot.
fn install() -> Option<String> {
    let first = missing()?;
    if !there("apt-get") {
        return Some(format!("{first} is not here, and no apt-get that could install it"));
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        succeeds(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    println!("\n== install slurm-wlm and munge");
    let installed = apt(&["update", "--quiet"])
        && apt(&["install", "--yes", "--no-install-recommends", "slurm-wlm", "munge"]);
    missing().map(|first| {
        if installed {
            format!("slurm-wlm and munge bring no {first}")
        } else {
            format!("{first} is not here, and apt-get cannot install it")
        }
    })
}

/// Slurm on one node; it ends with this.
struct Cluster {
    conf: PathBuf,
    daemons: Vec<Child>,
}

impl Cluster {
    fn start(dir: &Path) -> anyhow::Result<Self> {
        println!("\n== a cluster of one node");
        // munge wants its socket's directory to be its own.
        let run = Path::new("/run/munge");
        fs::create_dir_all(run).context("cannot create /run/munge")?;
        output(Command::new("chown").args(["munge:munge"]).arg(run))?;
        fs::set_permissions(run, fs::Permissions::from_mode(0o755))?;
        let mut munged = Command::new("runuser");
        let munged =
            spawn(munged.args(["-u", "munge", "--", "munged", "--foreground"]), dir, "munged")?;
        let mut cluster = Self { conf: dir.join("slurm.conf"), daemons: vec![munged] };
        wait("munge", || Ok(succeeds(Command::new("munge").arg("--no-input"))))?;
        for folder in ["state", "spool"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        let host = output(&mut Command::new("hostname"))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        fs::write(&cluster.conf, conf(dir, host.trim(), cores))?;
        let conf = cluster.conf.clone();
        for (program, first) in [("slurmctld", "-c"), ("slurmd", "-Nnode")] {
            let mut command = Command::new(program);
            let child = spawn(command.args(["-D", first, "-f"]).arg(&conf), dir, program)?;
            cluster.daemons.push(child);
        }
        wait("the node", || {
            let command = &mut cluster.command("sinfo");
            let said = command.args(["--noheader", "--format=%T"]).output()?;
            Ok(String::from_utf8_lossy(&said.stdout).trim() == "idle")
        })?;
        Ok(cluster)
    }

    /// A program of Slurm's that speaks to this cluster.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", &self.conf);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for daemon in self.daemons.iter_mut().rev() {
            let pid = daemon.id().to_string();
            let _ = Command::new("kill").arg(&pid).status();
            let _ = daemon.wait();
        }
    }
}

fn spawn(command: &mut Command, dir: &Path, name: &str) -> anyhow::Result<Child> {
    let log = fs::File::create(dir.join(format!("{name}.log")))?;
    let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("could not start {name}"))
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// `slurm.conf` of one node that is this machine.
fn conf(dir: &Path, host: &str, cores: usize) -> String {
    let at = |name: &str| dir.join(name).display().to_string();
    format!(
        "ClusterName=sog\n\
         SlurmctldHost={host}(127.0.0.1)\n\
         SlurmUser=root\n\
         AuthType=auth/munge\n\
         ProctrackType=proctrack/linuxproc\n\
         TaskPlugin=task/none\n\
         JobAcctGatherType=jobacct_gather/none\n\
         SelectType=select/cons_tres\n\
         SelectTypeParameters=CR_Core\n\
         MpiDefault=none\n\
         ReturnToService=2\n\
         SchedulerParameters=sched_interval=1,bf_interval=1\n\
         StateSaveLocation={state}\n\
         SlurmdSpoolDir={spool}\n\
         SlurmctldPidFile={controller}\n\
         SlurmdPidFile={node}\n\
         NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN\n\
         PartitionName=main Nodes=node Default=YES MaxTime=INFINITE State=UP\n",
        state = at("state"),
        spool = at("spool"),
        controller = at("slurmctld.pid"),
        node = at("slurmd.pid"),
    )
}
