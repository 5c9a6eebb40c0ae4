//! The contract: what policies, demonstrations, tasks and robots must agree on.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use sog_core::{
    contract::{Component, ContractView, Mismatch},
    kinds::TermsView,
};

use crate::policy::Terms;

/// What a policy was made for, a demonstration was recorded with, and a robot is.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "host", derive(serde::Serialize, serde::Deserialize))]
pub struct Contract {
    /// Task name.
    pub task: String,
    /// Observation terms, in order; their widths add to S.
    #[cfg_attr(feature = "host", serde(with = "terms_as_text"))]
    pub obs_terms: Terms,
    /// Action terms, in order; their widths add to A.
    #[cfg_attr(feature = "host", serde(with = "terms_as_text"))]
    pub action_terms: Terms,
    /// Control period in seconds.
    pub dt_s: f64,
    /// Lower action bounds, `[A]`.
    pub action_low: Vec<f32>,
    /// Upper action bounds, `[A]`.
    pub action_high: Vec<f32>,
}

impl Contract {
    /// Observation width S.
    pub fn obs_dim(&self) -> usize {
        self.obs_terms.width()
    }

    /// Action width A.
    pub fn action_dim(&self) -> usize {
        self.action_terms.width()
    }

    /// Whether the contract holds together in itself: a name, terms, a positive period, and a
    /// finite lower bound below a finite upper one for every action component.
    ///
    /// # Errors
    /// [`ContractFault`], naming what does not.
    pub fn check(&self) -> Result<(), ContractFault> {
        let fault = |what, found: String, needed| Err(ContractFault { what, found, needed });
        if self.task.is_empty() {
            return fault("task", "no name".to_string(), "a name");
        }
        for (what, terms) in
            [("observation terms", &self.obs_terms), ("action terms", &self.action_terms)]
        {
            if terms.0.is_empty() || terms.0.iter().any(|t| t.width == 0 || t.name.is_empty()) {
                return fault(what, format!("`{terms}`"), "names, each with a width of 1 or more");
            }
            let twice = |(i, t): (usize, &crate::policy::Term)| {
                terms.0[..i].iter().any(|other| other.name == t.name)
            };
            if let Some((_, term)) = terms.0.iter().enumerate().find(|&t| twice(t)) {
                return fault(what, format!("`{}` twice", term.name), "each name once");
            }
        }
        if !(self.dt_s.is_finite() && self.dt_s > 0.0) {
            return fault("control period", format!("{} s", self.dt_s), "a positive time");
        }
        let width = self.action_dim();
        for (what, bounds) in
            [("lower action bounds", &self.action_low), ("upper action bounds", &self.action_high)]
        {
            if bounds.len() != width {
                return fault(what, format!("{} numbers", bounds.len()), "one a component");
            }
        }
        let range = self.action_low.iter().zip(&self.action_high);
        for (i, (low, high)) in range.enumerate() {
            if !(low.is_finite() && high.is_finite() && low < high) {
                let text = self.action_terms.to_string();
                let name = Component { terms: TermsView::as_written(&text), index: i };
                let found = format!("{low} to {high} for `{name}`");
                return fault("action bounds", found, "finite numbers, the lower one first");
            }
        }
        Ok(())
    }

    /// Whether two contracts are the same.
    ///
    /// # Errors
    /// [`ContractError`]: the first thing in which they differ, with both sides;
    /// [`between`](ContractError::between) gives the sides their names.
    pub fn check_fits(&self, other: &Self) -> Result<(), ContractError> {
        let texts = [&self.obs_terms, &self.action_terms, &other.obs_terms, &other.action_terms];
        let [ours @ .., their_obs, their_action] = texts.map(Terms::to_string);
        let fits = self.view(&ours[0], &ours[1]).check_fits(&other.view(&their_obs, &their_action));
        fits.map_err(|Mismatch { what, ours, theirs }| ContractError {
            what,
            ours: ours.to_string(),
            theirs: theirs.to_string(),
            sides: ["this side", "the other"],
        })
    }

    /// Borrowed, with its terms as they are written.
    pub(crate) fn view<'a>(
        &'a self,
        obs_terms: &'a str,
        action_terms: &'a str,
    ) -> ContractView<'a> {
        ContractView {
            task: &self.task,
            obs_terms: TermsView::as_written(obs_terms),
            action_terms: TermsView::as_written(action_terms),
            dt_s: self.dt_s,
            action_low: self.action_low.as_slice().into(),
            action_high: self.action_high.as_slice().into(),
        }
    }
}

/// Terms are written as their text.
#[cfg(feature = "host")]
mod terms_as_text {
    use alloc::string::String;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::policy::Terms;

    pub(super) fn serialize<S: Serializer>(terms: &Terms, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(terms)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Terms, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Two contracts differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {} is `{ours}`, of {} it is `{theirs}`", sides[0], sides[1])]
pub struct ContractError {
    /// What differs.
    pub what: &'static str,
    /// Ours.
    pub ours: String,
    /// Theirs.
    pub theirs: String,
    sides: [&'static str; 2],
}

impl ContractError {
    /// The same with names for both sides, as in `between("the policy", "the robot")`.
    #[must_use]
    pub fn between(self, ours: &'static str, theirs: &'static str) -> Self {
        Self { sides: [ours, theirs], ..self }
    }
}

/// A contract does not hold together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: found {found}, need {needed}")]
pub struct ContractFault {
    /// Which part of it.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// What is needed.
    pub needed: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn contract() -> Contract {
        Contract {
            task: "arm".to_string(),
            obs_terms: Terms::new(&[("joint_pos", 2), ("goal", 1)]),
            action_terms: Terms::new(&[("torque", 2), ("grip", 1)]),
            dt_s: 0.02,
            action_low: vec![-1.0, -1.0, 0.0],
            action_high: vec![1.0; 3],
        }
    }

    #[test]
    fn what_differs_is_named_with_both_sides() {
        let ours = contract();
        assert_eq!(ours.check_fits(&ours), Ok(()));
        let message = |change: fn(&mut Contract)| {
            let mut theirs = contract();
            change(&mut theirs);
            let error = ours.check_fits(&theirs).unwrap_err();
            let back = theirs.check_fits(&ours).unwrap_err();
            assert_eq!((error.what, &error.ours), (back.what, &back.theirs));
            error.between("the policy", "the robot").to_string()
        };
        assert_eq!(
            message(|c| c.task = "leg".to_string()),
            "task of the policy is `arm`, of the robot it is `leg`"
        );
        // As many numbers in another order.
        let found = message(|c| c.obs_terms = Terms::new(&[("goal", 1), ("joint_pos", 2)]));
        assert!(found.contains("`joint_pos:2,goal:1`") && found.contains("`goal:1,joint_pos:2`"));
        assert!(
            message(|c| c.action_terms = Terms::new(&[("torque", 3)])).contains("action terms")
        );
        assert!(
            message(|c| c.dt_s = 0.021).contains("0.02 s")
                && message(|c| c.dt_s = f64::NAN).contains("NaN")
        );
        let found = message(|c| c.action_high[1] = 57.3);
        assert!(found.contains("1 for torque.1") && found.contains("57.3 for torque.1"), "{found}");
        assert!(message(|c| c.action_low[2] = f32::NAN).contains("for grip"));
        assert!(message(|c| c.action_low.truncate(2)).contains("2 numbers"));
        // Rounding is no difference.
        let mut rounded = contract();
        rounded.dt_s = 1.0 / 50.0 + 1e-15;
        rounded.action_high[0] += 1e-7;
        assert_eq!(ours.check_fits(&rounded), Ok(()));
    }

    #[test]
    fn a_contract_that_does_not_hold_together_is_refused_by_its_part() {
        assert_eq!(contract().check(), Ok(()));
        let refused = |change: fn(&mut Contract)| {
            let mut bad = contract();
            change(&mut bad);
            bad.check().unwrap_err().to_string()
        };
        assert!(refused(|c| c.task.clear()).contains("task"));
        assert!(refused(|c| c.obs_terms.0.clear()).contains("observation terms"));
        assert!(refused(|c| c.action_terms.0[1].width = 0).contains("action terms"));
        assert!(
            refused(|c| c.obs_terms.0[1].name = "joint_pos".into()).contains("`joint_pos` twice")
        );
        for dt_s in [0.0, -0.1, f64::NAN, f64::INFINITY] {
            assert!(Contract { dt_s, ..contract() }.check().is_err(), "{dt_s}");
        }
        assert!(refused(|c| c.action_high.truncate(2)).contains("upper action bounds"));
        assert!(refused(|c| c.action_low[2] = 1.0).contains("1 to 1 for `grip`"));
        assert!(refused(|c| c.action_high[0] = f32::INFINITY).contains("torque.0"));
    }
}
