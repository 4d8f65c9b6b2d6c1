//! Emptying the logs of programs.

use rsv_proto::wire::{ClearLogsResponse, Outcome, Refusal, TargetResult};

use crate::capture::Capture;
use crate::hub::{HubGone, HubHandle, Key, Resolved};

/// Replaces the log files of the programs that the patterns name by empty ones.
pub(crate) async fn clear(
    hub: &HubHandle,
    capture: &Capture,
    patterns: &[String],
) -> Result<ClearLogsResponse, HubGone> {
    let Resolved { keys, unmatched } = hub.resolve(patterns).await?;
    let unknown = unmatched.into_iter().map(|unmatched| TargetResult {
        program: unmatched.pattern,
        outcome: Outcome::Failed.into(),
        refusal: unmatched.refusal,
        ..Default::default()
    });
    let mut results: Vec<TargetResult> = unknown.collect();
    let capture = capture.clone();
    let cleared = tokio::task::spawn_blocking(move || {
        let clear = |key: &Key| clear_one(&capture, key);
        keys.iter().map(clear).collect::<Vec<_>>()
    });
    results.extend(cleared.await.map_err(|_| HubGone)?);
    Ok(ClearLogsResponse { results })
}

fn clear_one(capture: &Capture, key: &Key) -> TargetResult {
    let (outcome, refusal, detail) = match capture.clear(&key.as_run_key()) {
        Ok(()) => (Outcome::Done, Refusal::Unspecified, String::new()),
        Err(error) => (Outcome::Failed, Refusal::Other, error.to_string()),
    };
    TargetResult {
        program: key.to_string(),
        outcome: outcome.into(),
        refusal: refusal.into(),
        detail,
        ..Default::default()
    }
}
