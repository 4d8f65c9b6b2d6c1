//! What an operation is to do, settled at its submission: its deed, its hosts, and what each of them is
//! asked for. It never changes.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use rsv_proto::{
    name::HostName,
    wire::{Outcome, TargetResult},
};
use serde::{Deserialize, Serialize};

use super::{Deed, Program, Rollout, RolloutError, Row, text};

/// How long an operation waits for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// A host may begin until then, counted from its turn.
    pub deadline: Duration,
    /// A host that has not answered by then is given up; absent: it is waited for while its session
    /// lives.
    pub timeout: Option<Duration>,
}

/// A host's part of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which host.
    #[serde(with = "text")]
    pub host: HostName,
    /// Exactly these programs; absent: they are not known, and the host resolves the patterns itself.
    pub programs: Option<Vec<Program>>,
    /// The host had no session at the submission, for this reason: it is not asked.
    pub away: Option<String>,
    /// Patterns that name nothing there.
    pub unmatched: Vec<Row>,
}

/// What an operation is to do, settled at its submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Names the operation.
    pub id: String,
    /// What is done.
    pub deed: Deed,
    /// In which steps.
    pub rollout: Rollout,
    /// How long each host is waited for.
    pub patience: Patience,
    /// The hosts in natural order.
    pub parts: Vec<Part>,
    /// Names that were said and that no host has.
    pub missing: Vec<String>,
}
impl Plan {
    /// Whether the rollout can be kept with these targets.
    pub fn check(&self) -> Result<(), RolloutError> {
        self.rollout.check(self.deed)?;
        let Some(limit) = self
            .rollout
            .at_most_down
            .filter(|_| self.deed == Deed::Stop)
        else {
            return Ok(());
        };
        let mut targets: BTreeMap<&Program, usize> = BTreeMap::new();
        let asked = self.parts.iter().filter(|part| part.away.is_none());
        for program in asked.flat_map(|part| part.programs.iter().flatten()) {
            *targets.entry(program).or_default() += 1;
        }
        let limit = limit.get();
        let many = targets.into_iter().find(|(_, n)| *n > limit as usize);
        many.map_or(Ok(()), |(program, targets)| {
            Err(RolloutError::StopsTooMany {
                program: program.to_string(),
                targets,
                limit,
            })
        })
    }
}

impl Part {
    /// How many targets it counts for.
    pub fn size(&self) -> usize {
        self.programs.as_ref().map_or(1, Vec::len)
    }

    /// The same fate for all of it.
    pub(super) fn all(&self, outcome: Outcome, detail: &str) -> Vec<Row> {
        match &self.programs {
            None => vec![Row::new("", outcome, detail)],
            Some(programs) => programs
                .iter()
                .map(|program| Row::new(&program.to_string(), outcome, detail))
                .collect(),
        }
    }

    /// What a host's answer says of each target.
    pub(super) fn answers(&self, results: Vec<TargetResult>) -> Vec<Row> {
        const NOTHING: &str = "the host answered without a result";
        if results.is_empty() {
            return self.all(Outcome::Failed, NOTHING);
        }
        let mut rows: Vec<Row> = results.into_iter().map(Row::from).collect();
        let Some(programs) = &self.programs else {
            return rows;
        };
        // One fate of the whole host is that of each of its targets.
        let whole = rows.iter().find(|row| row.program.is_empty()).cloned();
        let mut of_program: HashMap<String, Row> = rows
            .drain(..)
            .map(|row| (row.program.clone(), row))
            .collect();
        let row = |program: &Program| {
            let program = program.to_string();
            let told = of_program.remove(&program).or_else(|| whole.clone());
            match told {
                Some(row) => Row { program, ..row },
                None => Row::new(&program, Outcome::Failed, NOTHING),
            }
        };
        programs.iter().map(row).collect()
    }
}
