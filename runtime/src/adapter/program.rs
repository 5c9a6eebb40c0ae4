//! A robot's file held against the policy's contract, ready to run.

use alloc::{format, vec::Vec};

use super::{acting::Acting, file::RobotFile, observation::Wanted, sensing::Sensing};
use crate::{
    contract::Contract,
    definition::{At, DefinitionError, Read, hint},
    policy::Terms,
    terms::{TermProgram, TermSpec, TermWidths},
};

/// Most of the robot's periods in one of the policy's.
const MOST_STEPS: f64 = 1000.0;

/// An adapter between one robot and one kind of policy.
#[derive(Clone, Debug)]
pub struct AdapterProgram {
    pub(super) file: RobotFile,
    pub(super) robot: Contract,
    pub(super) policy: Contract,
    /// The robot's periods in one of the policy's.
    pub(super) steps: u32,
    pub(super) sensing: Sensing,
    pub(super) acting: Acting,
    /// The observation's terms in the policy's order.
    pub(super) specs: Vec<TermSpec>,
    pub(super) operator: Vec<f64>,
}

impl AdapterProgram {
    /// Holds a robot's file against what a policy was made for.
    ///
    /// # Errors
    /// [`DefinitionError`], naming the term, joint or channel that does not fit.
    pub fn new(file: &RobotFile, policy: &Contract) -> Result<Self, DefinitionError> {
        let robot = file.robot_contract();
        robot.check().map_err(|fault| file.at.error(format!("the robot's side: {fault}")))?;
        let wanted = in_order(
            &policy.obs_terms,
            "observation",
            &file.observation,
            |w| (&w.spec.name, &w.at),
            &file.at,
        )?;
        let action = in_order(
            &policy.action_terms,
            "action",
            &file.action,
            |term| (&term.name, &term.at),
            &file.at,
        )?;
        for (term, action) in policy.action_terms.0.iter().zip(&action) {
            check_width(&action.name, action.width(), term.width, &action.at)?;
        }
        let program = terms(file, policy, &wanted)?;
        Ok(Self {
            robot,
            policy: policy.clone(),
            steps: steps(file, policy)?,
            sensing: Sensing::new(file, program),
            acting: Acting::new(file, &action)?,
            specs: wanted.into_iter().map(|w| w.spec.clone()).collect(),
            operator: file.has.operator.iter().map(|(_, value)| *value).collect(),
            file: file.clone(),
        })
    }

    /// The robot's side of the link.
    pub fn robot_contract(&self) -> &Contract {
        &self.robot
    }

    /// What the policy was made for.
    pub fn policy_contract(&self) -> &Contract {
        &self.policy
    }

    /// The file.
    pub fn file(&self) -> &RobotFile {
        &self.file
    }

    /// The robot's periods in one of the policy's: more than 1 where the robot is read and told
    /// faster than the policy runs.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Whether torque is computed here, by a PD loop.
    pub fn has_pd(&self) -> bool {
        self.acting.has_pd()
    }
}

/// What the file says of each of the policy's terms, in the policy's order.
fn in_order<'a, T>(
    terms: &Terms,
    kind: &str,
    given: &'a [T],
    name_of: impl Fn(&'a T) -> (&'a String, &'a At),
    at: &At,
) -> Read<Vec<&'a T>> {
    for one in given {
        let (name, at) = name_of(one);
        if !terms.0.iter().any(|term| term.name == *name) {
            let hint = hint(name, terms.0.iter().map(|term| term.name.as_str()));
            return Err(at.error(format!("the policy has no {kind} term `{name}`{hint}")));
        }
    }
    let find = |term: &crate::policy::Term| {
        given.iter().find(|one| *name_of(one).0 == term.name).ok_or_else(|| {
            at.error(format!(
                "the policy needs the {kind} term `{}` ({} numbers), and no [[{kind}]] gives it",
                term.name, term.width
            ))
        })
    };
    terms.0.iter().map(find).collect()
}

fn check_width(name: &str, found: usize, needed: usize, at: &At) -> Read<()> {
    match found == needed {
        true => Ok(()),
        false => {
            Err(at.error(format!("`{name}` is {found} numbers here, the policy's is {needed}")))
        }
    }
}

fn terms(file: &RobotFile, policy: &Contract, wanted: &[&Wanted]) -> Read<TermProgram> {
    let velocities = file.has.velocities.iter().map(|v| file.has.channels[v.of].holds.width());
    let sent: usize = file.has.channels.iter().map(|channel| channel.holds.width()).sum();
    let widths = TermWidths {
        raw: sent + velocities.sum::<usize>(),
        action: policy.action_dim(),
        commands: file.has.operator.len(),
    };
    let specs: Vec<TermSpec> = wanted.iter().map(|w| w.spec.clone()).collect();
    let program = TermProgram::compile(&specs, widths, policy.dt_s).map_err(|error| {
        let term = wanted.iter().find(|w| w.spec.name == error.term);
        let mut at = term.map_or_else(|| file.at.clone(), |w| w.at.clone());
        if let Some(key) = error.problem.key() {
            at.key = format!("{}.{key}", at.key);
        }
        at.error(format!("{error}"))
    })?;
    let all = program.terms().0.iter().zip(&policy.obs_terms.0).zip(wanted);
    for ((found, needed), wanted) in all {
        check_width(&needed.name, found.width, needed.width, &wanted.at)?;
    }
    Ok(program)
}

fn steps(file: &RobotFile, policy: &Contract) -> Read<u32> {
    let ratio = policy.dt_s / file.dt_s;
    let steps = ratio.round();
    if (1.0..=MOST_STEPS).contains(&steps) && (ratio - steps).abs() <= 1e-6 * steps {
        return Ok(steps as u32);
    }
    Err(file.dt_at.error(format!(
        "a period of {} s is no whole part of the policy's {} s; need 1 to {MOST_STEPS} of the \
         robot's periods in one of the policy's",
        file.dt_s, policy.dt_s
    )))
}
