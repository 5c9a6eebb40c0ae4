//! `sog task new|check|list`: tasks as folders.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use sog_runtime::os::files::Output;
use sog_sim::{
    render::Renderer,
    tasks::{Checked, NewTask, TaskOptions, check, new_task},
};

use super::{OpenTask, Outcome, environments, list_tasks, outputs, task_parser};
use crate::figures::encode;

#[derive(Subcommand)]
pub(super) enum TaskCommand {
    /// Write a `task.toml` to start from, each choice in it explained
    New(NewArgs),
    /// Read a task, compile it, take a hundred random steps, and say what is wrong
    Check(CheckArgs),
    /// List the built-in tasks
    List(list_tasks::TasksArgs),
}

#[derive(Args)]
pub(super) struct NewArgs {
    /// Folder to write into; it is made if it is not there
    dir: PathBuf,
    /// The robot: all its joints, actuators and sensors are taken
    #[arg(long, value_name = "FILE")]
    mjcf: Option<PathBuf>,
    /// Control period in seconds [default: about 0.02]
    #[arg(long, value_name = "S", value_parser = parse_period)]
    dt: Option<f64>,
}

#[derive(Args)]
pub(super) struct CheckArgs {
    /// Folder of the task, or the name of a built-in one
    #[arg(value_parser = task_parser())]
    task: OpenTask,
    /// Draw the robot as an episode begins
    #[arg(long, value_name = "FILE.png")]
    picture: Option<PathBuf>,
    /// Replace the picture if it is there
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &TaskCommand) -> Result<Outcome> {
    match command {
        TaskCommand::New(args) => {
            let from = NewTask { mjcf: args.mjcf.clone(), dt_s: args.dt };
            let path = new_task(&args.dir, &from)?;
            println!(
                "wrote {}; look through it, then `sog task check {}`",
                path.display(),
                args.dir.display()
            );
            Ok(Outcome::Good)
        }
        TaskCommand::Check(args) => {
            let picture = args.picture.as_deref();
            let mut outputs = outputs(args.force, Some(&args.task));
            let picture = picture.map(|path| outputs.claim(path)).transpose()?;
            let checked = check(&args.task, &TaskOptions::default())?;
            if args.json {
                println!("{}", serde_json::to_string_pretty(&checked.to_json())?);
            } else {
                print(&checked);
            }
            if let Some(output) = &picture {
                draw(&args.task, output)?;
                if !args.json {
                    println!("wrote {}", output.path().display());
                }
            }
            Ok(Outcome::Good)
        }
        TaskCommand::List(args) => list_tasks::run(args),
    }
}

fn parse_period(text: &str) -> Result<f64, String> {
    let period = text.parse().ok().filter(|&s: &f64| s > 0.0 && s.is_finite());
    period.ok_or_else(|| "need a positive number of seconds".to_string())
}

/// Size of the picture in pixels.
const PICTURE: (u32, u32) = (960, 720);

/// The robot as an episode begins.
fn draw(task: &OpenTask, output: &Output) -> Result<()> {
    let name = task.info().name();
    let Some(maker) = environments(task)? else {
        bail!("nothing simulates `{name}`: there is nothing to draw")
    };
    let environment = maker.make()?;
    let Some(physics) = environment.physics() else {
        bail!("`{name}` has no robot in MuJoCo: there is nothing to draw")
    };
    let mut renderer = Renderer::new(physics.model(), PICTURE)?;
    let frame = renderer.draw(physics.data().qpos(), name)?;
    let bytes = encode(&frame.rgb, PICTURE)?;
    output.write(&bytes).with_context(|| format!("cannot write {}", output.path().display()))
}

fn print(checked: &Checked) {
    let info = &checked.info;
    println!(
        "{}: {} numbers seen, {} commanded, every {} s, {} steps; simulator: {}",
        info.name(),
        info.obs_dim(),
        info.action_dim(),
        info.dt_s,
        info.horizon,
        checked.simulator
    );
    for (what, terms) in [("sees", &info.obs_terms), ("does", &info.action_terms)] {
        let terms: Vec<String> =
            terms.0.iter().map(|t| format!("{} ({})", t.name, t.width)).collect();
        println!("  {what}: {}", terms.join(", "));
    }
    if !checked.modes.is_empty() {
        println!("  modes: {}", checked.modes.join(", "));
    }
    if checked.steps > 0 {
        println!("  in {} random steps:", checked.steps);
        for range in checked.observations.iter().chain(&checked.rewards) {
            println!("    {:<28} {:>12.4} to {:>12.4}", range.name, range.low, range.high);
        }
    }
    for warning in &checked.warnings {
        println!("  warning: {warning}");
    }
}
