//! The core's robot side, which knows no transport and no clock, under this crate's controller.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sog_core::{
    contract::ContractView,
    kinds::TermsView,
    link::{
        Key,
        robot::{Description, Duty, Heard, Observed, RobotSide, SideOptions},
        wire::{self, Frame, Message, WireCommand, put_numbers},
    },
};
use sog_runtime::{
    contract::Contract,
    io::{Command, IoError, RobotIo, RobotSpec},
    link::{LinkError, LinkOptions, LinkRobot, MAX_PACKET, Memory, Transport},
    policy::Terms,
};

const LOW: [f32; 2] = [-1.0; 2];
const HIGH: [f32; 2] = [1.0; 2];
const REST: [f32; 2] = [0.0; 2];
const STEP: [f32; 2] = [0.5; 2];

/// A cart that adds its two actions to its two positions.
fn cart() -> Description<'static> {
    Description {
        contract: ContractView {
            task: "cart",
            obs_terms: TermsView::as_written("position:2"),
            action_terms: TermsView::as_written("velocity:2"),
            dt_s: 0.01,
            action_low: LOW[..].into(),
            action_high: HIGH[..].into(),
        },
        damping_action: REST[..].into(),
        stop_action: REST[..].into(),
        max_action_step: STEP[..].into(),
    }
}

fn spec() -> RobotSpec {
    RobotSpec::new(Contract {
        task: "cart".to_string(),
        obs_terms: Terms::new(&[("position", 2)]),
        action_terms: Terms::new(&[("velocity", 2)]),
        dt_s: 0.01,
        action_low: LOW.to_vec(),
        action_high: HIGH.to_vec(),
    })
}

fn key() -> Option<Key> {
    Key::new(b"0123456789abcdef")
}

/// Serves the cart in lock step; gives the number of steps when told to stop.
fn serve(mut link: Memory, key: Option<Key>, stop: &AtomicBool) -> u64 {
    let options = SideOptions { lock_step: true, ..SideOptions::default() };
    let mut side = RobotSide::<16>::new(key, options);
    let (mut rx, mut tx) = (vec![0; MAX_PACKET], vec![0; MAX_PACKET]);
    let (mut position, mut step, mut now_ns) = ([0.0_f32; 2], 0_u64, 0);
    while !stop.load(Ordering::Relaxed) {
        now_ns += 1_000_000;
        let Some(len) = link.receive(&mut rx, Duration::from_millis(1)).unwrap() else { continue };
        let (heard, _, answer) = side.receive(now_ns, &rx[..len], &cart(), || 7, &mut tx);
        if let Some(len) = answer {
            link.send(&tx[..len]).unwrap();
        }
        match heard {
            Heard::Command { kind, step: seen, action } if seen == step => {
                if side.follow(kind) == WireCommand::Act {
                    position.iter_mut().zip(action.iter()).for_each(|(p, a)| *p += a);
                }
                step += 1;
            }
            Heard::Begun { .. } => position = [0.0; 2],
            Heard::Ready | Heard::Command { .. } => {}
            Heard::Nothing | Heard::Again { .. } => continue,
            Heard::Bye => {
                side.end(now_ns, &mut tx);
                continue;
            }
        }
        let mut bytes = [0; 8];
        let values = put_numbers(&position, &mut bytes);
        let observed = Observed {
            step,
            reward: None,
            terminated: false,
            values,
            applied: None,
            buttons: 0,
            taken_over: false,
        };
        let len = side.observe(now_ns, &observed, &mut tx).unwrap();
        link.send(&tx[..len]).unwrap();
    }
    step
}

#[test]
fn a_controller_drives_it_in_lock_step_with_and_without_a_key() {
    for key in [None, key()] {
        let (here, there) = Memory::pair();
        let stop = Arc::new(AtomicBool::new(false));
        let (robot_key, told) = (key.clone(), Arc::clone(&stop));
        let robot_side = std::thread::spawn(move || serve(there, robot_key, &told));
        let options = LinkOptions { key, ..LinkOptions::default() };
        let mut robot = LinkRobot::connect(here, &spec(), &options).unwrap();
        assert!(robot.lock_step() && robot.spec().max_action_step == STEP);
        let mut obs = [0.0; 2];
        for i in 0..300 {
            robot.read(&mut obs).unwrap();
            let n = i as f32;
            assert_eq!(obs, [0.5 * n, -0.25 * n]);
            robot.write(Command::Act(&[0.5, -0.25])).unwrap();
        }
        robot.read(&mut obs).unwrap();
        robot.write(Command::Stop).unwrap();
        robot.read(&mut obs).unwrap();
        let stopped = obs;
        robot.write(Command::Act(&[0.5, 0.5])).unwrap();
        assert!(matches!(robot.read(&mut obs), Err(IoError::Robot(_))), "it follows no action");
        robot.write(Command::Reset).unwrap();
        robot.read(&mut obs).unwrap();
        assert_eq!(obs, stopped, "nothing moved since the stop");
        drop(robot);
        stop.store(true, Ordering::Relaxed);
        // 300 actions, the stop and what it did not follow; the reset may still be on its way.
        assert!(robot_side.join().unwrap() >= 302);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_both_sides() {
    let (here, there) = Memory::pair();
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let robot_side = std::thread::spawn(move || serve(there, None, &told));
    let mut other = spec();
    other.contract.obs_terms = Terms::new(&[("speed", 2)]);
    let Err(refused) = LinkRobot::connect(here, &other, &LinkOptions::default()) else {
        panic!("taken");
    };
    assert!(matches!(refused, LinkError::Refused { .. }));
    let text = refused.to_string();
    assert!(text.contains("`speed:2`") && text.contains("`position:2`"), "{text}");
    stop.store(true, Ordering::Relaxed);
    assert_eq!(robot_side.join().unwrap(), 0);
}

/// A controller by hand: its packets, numbered.
struct Hand {
    session: u64,
    seq: u32,
    now_ns: u64,
}

impl Hand {
    fn packet(&mut self, message: Message<'_>) -> Vec<u8> {
        self.seq += 1;
        let (session, seq, sent_ns) = (self.session, self.seq, self.now_ns);
        let frame =
            Frame { version: 2, session, seq, sent_ns, echo_seq: 0, echo_hold_ns: 0, message };
        let mut packet = vec![0; 4096];
        let len = wire::seal(&frame, None, &mut packet).unwrap();
        packet.truncate(len);
        packet
    }
}

#[test]
fn who_asks_what_it_is_gets_no_period_that_it_cannot_keep() {
    let asked = |period_ns: u64| {
        let mut side = RobotSide::<16>::new(None, SideOptions::default());
        let mut hand = Hand { session: 0, seq: 0, now_ns: 1 };
        let contract = wire::Contract {
            task: "",
            obs_terms: "",
            action_terms: "",
            dt_s: 0.0,
            action_low: &[],
            action_high: &[],
        };
        let hello = hand.packet(Message::Hello { nonce: 3, contract, period_ns });
        let mut answer = [0; 512];
        let (_, _, len) = side.receive(1, &hello, &cart(), || 8, &mut answer);
        match wire::open(&answer[..len.unwrap()], None).unwrap().message {
            Message::Refuse { reason, .. } => Err(reason.to_string()),
            message => Ok(matches!(message, Message::Welcome { .. })),
        }
    };
    for granted in [0, 500_000, 1_000_000_000] {
        assert_eq!(asked(granted), Ok(true));
    }
    for refused in [1, 499_999, 1_000_000_001, u64::MAX] {
        let reason = asked(refused).unwrap_err();
        assert_eq!(reason, format!("a period of {refused} ns, need 0.5 ms to 1 s"));
    }
}

/// A side in a session of real time, at 10 ms a period, with its controller.
fn in_session() -> (RobotSide<16>, Hand) {
    let mut side = RobotSide::<16>::new(None, SideOptions::default());
    let mut hand = Hand { session: 0, seq: 0, now_ns: 1 };
    let mut answer = [0; 512];
    let contract = sog_core::link::robot::sent(&cart().contract).unwrap();
    let hello = hand.packet(Message::Hello { nonce: 3, contract, period_ns: 10_000_000 });
    let (_, _, len) = side.receive(1, &hello, &cart(), || 8, &mut answer);
    let welcome = wire::open(&answer[..len.unwrap()], None).unwrap();
    assert!(matches!(welcome.message, Message::Welcome { nonce: 3, lock_step: false, .. }));
    (hand.session, hand.seq) = (welcome.session, 0);
    let ready = hand.packet(Message::Ready);
    let (heard, ..) = side.receive(2, &ready, &cart(), || 8, &mut answer);
    assert!(matches!(heard, Heard::Begun { period_ns: 10_000_000 }));
    (side, hand)
}

fn command(side: &mut RobotSide<16>, hand: &mut Hand, kind: WireCommand, action: &[f32]) -> bool {
    let bytes: Vec<u8> = action.iter().flat_map(|v| v.to_le_bytes()).collect();
    let packet = hand.packet(Message::Command { step: 0, kind, action: &bytes });
    let (heard, ..) = side.receive(3, &packet, &cart(), || 8, &mut [0; 512]);
    matches!(heard, Heard::Command { .. })
}

#[test]
fn an_action_does_not_outlive_its_controller() {
    let (mut side, mut hand) = in_session();
    assert!(command(&mut side, &mut hand, WireCommand::Act, &[0.1, 0.2]));
    // Three periods without a command are borne; then it damps itself until a reset.
    for expected in [WireCommand::Act, WireCommand::Act, WireCommand::Act, WireCommand::Damp] {
        assert_eq!(side.tick(), Duty::Obey(expected));
    }
    assert_eq!((side.watchdog(), side.follows()), (1, false));
    assert!(command(&mut side, &mut hand, WireCommand::Act, &[0.1, 0.2]));
    assert_eq!(side.tick(), Duty::Obey(WireCommand::Damp));
    assert!(command(&mut side, &mut hand, WireCommand::Reset, &[]));
    assert_eq!(side.follow(WireCommand::Reset), WireCommand::Reset);
    assert_eq!(side.tick(), Duty::Rest);
    assert!(command(&mut side, &mut hand, WireCommand::Act, &[0.1, 0.2]));
    assert_eq!(side.tick(), Duty::Obey(WireCommand::Act));
    // A second of silence ends the session: 100 periods and those of the watchdog.
    let ticks = (1..).find(|_| side.tick() == Duty::End).unwrap();
    assert_eq!(ticks, 103);
}

#[test]
fn a_stop_stays_a_stop_until_a_reset_or_the_next_session() {
    let (mut side, mut hand) = in_session();
    assert!(command(&mut side, &mut hand, WireCommand::Stop, &[]));
    assert_eq!(side.follow(WireCommand::Stop), WireCommand::Stop);
    for (kind, action) in [(WireCommand::Damp, &[][..]), (WireCommand::Act, &[0.1, 0.2])] {
        assert!(command(&mut side, &mut hand, kind, action));
        assert_eq!(side.tick(), Duty::Obey(WireCommand::Stop), "{kind:?}");
    }
    assert!(command(&mut side, &mut hand, WireCommand::Reset, &[]));
    assert_eq!(side.follow(WireCommand::Reset), WireCommand::Reset);
    assert!(!side.is_stopped() && side.follows());
    assert_eq!(side.follow(WireCommand::Stop), WireCommand::Stop);
    side.end(4, &mut [0; 512]);
    assert!(side.is_stopped(), "its end clears nothing");
}

#[test]
fn an_emergency_stop_is_never_late() {
    let (mut side, mut hand) = in_session();
    assert!(command(&mut side, &mut hand, WireCommand::Act, &[0.1, 0.2]));
    // From now on packets take ten periods longer.
    for (kind, heard) in [(WireCommand::Damp, false), (WireCommand::Stop, true)] {
        let packet = hand.packet(Message::Command { step: 0, kind, action: &[] });
        let (found, ..) = side.receive(100_000_000, &packet, &cart(), || 8, &mut [0; 512]);
        assert_eq!(matches!(found, Heard::Command { .. }), heard, "{kind:?}");
    }
    assert_eq!(side.counts().get(sog_core::link::Fate::Late), 1);
    assert_eq!(side.tick(), Duty::Obey(WireCommand::Stop));
}

#[test]
fn what_cannot_be_followed_is_no_command() {
    let (mut side, mut hand) = in_session();
    assert!(!command(&mut side, &mut hand, WireCommand::Act, &[0.1]));
    assert!(!command(&mut side, &mut hand, WireCommand::Act, &[0.1, f32::NAN]));
    let misfits = side.counts().get(sog_core::link::Fate::Misfit);
    assert_eq!((misfits, side.tick()), (2, Duty::Obey(WireCommand::Damp)));
    // After one that could be followed, before and within its period.
    assert!(command(&mut side, &mut hand, WireCommand::Act, &[0.1, 0.2]));
    assert_eq!(side.tick(), Duty::Obey(WireCommand::Act));
    assert!(!command(&mut side, &mut hand, WireCommand::Act, &[f32::NAN, 0.2]));
    assert_eq!(side.tick(), Duty::Obey(WireCommand::Damp));
    assert!(command(&mut side, &mut hand, WireCommand::Act, &[0.1, 0.2]));
    assert!(!command(&mut side, &mut hand, WireCommand::Act, &[0.1]));
    assert_eq!(side.tick(), Duty::Obey(WireCommand::Damp));
    assert!(command(&mut side, &mut hand, WireCommand::Act, &[0.1, 0.2]));
    assert_eq!(side.tick(), Duty::Obey(WireCommand::Act));
    // It is no command: the watchdog counts on.
    for expected in [WireCommand::Damp, WireCommand::Damp, WireCommand::Damp] {
        assert!(!command(&mut side, &mut hand, WireCommand::Act, &[f32::INFINITY, 0.2]));
        assert_eq!(side.tick(), Duty::Obey(expected));
    }
    assert_eq!((side.watchdog(), side.follows()), (1, false));

    let mut answer = [0; 512];
    let mut other = Hand { session: 0, seq: 0, now_ns: 4 };
    let contract = sog_core::link::robot::sent(&cart().contract).unwrap();
    let hello = other.packet(Message::Hello { nonce: 4, contract, period_ns: 10_000_000 });
    let (_, _, len) = side.receive(5, &hello, &cart(), || 8, &mut answer);
    let refusal = wire::open(&answer[..len.unwrap()], None).unwrap().message;
    assert!(matches!(refusal, Message::Refuse { nonce: 4, reason } if reason.starts_with("busy")));
}
