//! Tasks that another program simulates: here the simulated robot of this project, behind a link.
#![allow(clippy::unwrap_used)]

use std::{fs, net::UdpSocket, path::Path, sync::Arc};

use sog_sim::{
    error::SimError,
    tasks::{TaskFolder, TaskMaker, TaskOptions, check, make, open},
};

const TASK: &str = r#"schema = "sog.task/1"
name = "circles"
dt = 0.01
horizon = 1000

[[observation]]
name = "position_history"
width = 10

[[action]]
name = "displacement"
width = 2
low = -1.5
high = 1.5

[[mode]]
name = "any"

[sim]
"#;

fn folder(simulator: &str) -> (tempfile::TempDir, Arc<TaskFolder>) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("task.toml"), format!("{TASK}{simulator}\n")).unwrap();
    let task = open(directory.path().to_str().unwrap()).unwrap();
    (directory, task)
}

/// Starts the simulated robot, one an environment.
fn command(more: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_sog-sim")).display().to_string();
    format!(
        "command = [{program:?}, \"plant\", \"--task\", \"circles\", \"--listen\", \"{{port}}\", \
         \"--reward\", \"1\", \"--seed\", \"5\"{more}]"
    )
}

#[test]
fn a_program_of_ones_own_is_stepped_as_the_task_itself() {
    let (_directory, task) = folder(&command(", \"--lock-step\""));
    let maker = TaskMaker::of(&task, &TaskOptions::default()).unwrap();
    let (mut one, mut two) = (maker.make().unwrap(), maker.make().unwrap());
    // The robot's first episode went to the handshake; the reset began its second.
    let mut own = make("circles", &TaskOptions::default()).unwrap();
    own.reset(sog_sim::seed::derive(5, 1)).unwrap();
    let (mut seen, mut expected) = (vec![0.0; 10], vec![0.0; 10]);
    let (mut reward, mut rewards) = ([0.0], [0.0; 3]);
    for t in 0..200 {
        let action = [1.2, 0.4 * f64::from(t % 5)];
        let step = one.step(&action, &mut reward).unwrap();
        two.step(&action, &mut reward.clone()).unwrap();
        let same = own.step(&action.map(|a| f64::from(a as f32)), &mut rewards).unwrap();
        one.observe(&mut seen);
        own.observe(&mut expected);
        let expected: Vec<f64> = expected.iter().map(|&x| f64::from(x as f32)).collect();
        assert_eq!(seen, expected, "step {t}");
        assert_eq!((step, reward[0]), (same, rewards[1]), "step {t}");
        if step.terminated {
            break;
        }
    }
    one.reset(0).unwrap();
    one.observe(&mut seen);
    assert_eq!(seen, [0.0; 10], "a reset begins anew");
    assert!(one.start_from(&[0.0; 2], &[]).is_err());
    drop((one, two));
    assert_eq!(check(&task, &TaskOptions::default()).unwrap().steps, 100);
}

#[test]
fn a_program_that_does_not_answer_or_fit_is_refused() {
    let refused = |simulator: &str| {
        let (_directory, task) = folder(simulator);
        let error = TaskMaker::of(&task, &TaskOptions::default()).unwrap().make().err().unwrap();
        assert!(matches!(error, SimError::External { .. } | SimError::Definition(_)), "{error}");
        error.to_string()
    };
    let missing = refused("command = [\"./no-such-program\"]");
    assert!(missing.contains("cannot start `./no-such-program`"), "{missing}");
    let real_time = refused(&command(""));
    assert!(real_time.contains("not in lock step"), "{real_time}");
    let address = refused("external = \"carrier-pigeon\"");
    assert!(address.contains("task.toml:20: `sim.external`"), "{address}");
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = format!("external = \"udp://{}\"", silent.local_addr().unwrap());
    let silent = refused(&at);
    assert!(silent.contains("no robot answered"), "{silent}");
}
