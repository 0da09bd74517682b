//! What a job asks for in vain, so that whoever hands it in is told: a shuffle, where rows that
//! miss their keys are limited or kept, or where there are not workers enough.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    physical_plan::ExecutionPlan,
};
use keyloom_common::{
    JobId, Result, lookup::KvLookupExec, misses::MissPolicy, plan::by_hash, report::LogKind,
};

use crate::link::Link;

/// Why a plan that is always to be shuffled is not; none if it is, or has nothing to shuffle. Where
/// calls have limits, no plan tells any more whether it had.
pub(super) fn shuffle(
    plan: &Arc<dyn ExecutionPlan>,
    misses: MissPolicy,
) -> Result<Option<&'static str>> {
    let (mut calls_limit, mut looks_up, mut shuffles) = (false, false, false);
    plan.apply(|node| {
        if let Some(lookup) = node.downcast_ref::<KvLookupExec>() {
            looks_up = true;
            calls_limit |= lookup.limits_misses();
        }
        shuffles |= by_hash(node).is_some();
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(why(calls_limit, looks_up && shuffles, misses))
}

/// Says that a job that was handed in lacks workers to be shuffled among, if so. The coordinator
/// knows which there are.
pub(super) async fn tell_of_workers(link: &Link, job: JobId) {
    match link.connection.job_log(job).await {
        Ok(log) => {
            let lacks = log.lines.iter().find(|line| line.kind == LogKind::NotShuffled);
            if let Some(line) = lacks {
                link.warnings.say(&format!("shuffle = always has no effect: {}", line.text));
            }
        }
        // The job runs all the same.
        Err(error) => tracing::warn!(%job, %error, "whether it is shuffled is not known"),
    }
}

fn why(calls_limit: bool, would_shuffle: bool, misses: MissPolicy) -> Option<&'static str> {
    match misses {
        _ if calls_limit => Some(
            "shuffle = always has no effect: max_misses of a call limits the rows that may miss \
             their keys, and such a job does not shuffle",
        ),
        _ if !would_shuffle => None,
        MissPolicy { max: Some(_), .. } => Some(
            "shuffle = always has no effect: max_misses limits the rows that may miss their keys, \
             and such a job does not shuffle",
        ),
        MissPolicy { max: None, keep: true } => Some(
            "shuffle = always has no effect: the rows that miss their keys are kept, and such a \
             job does not shuffle",
        ),
        MissPolicy { max: None, keep: false } => None,
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::misses::MaxMisses;

    use super::*;

    #[test]
    fn what_keeps_a_job_from_shuffling_is_named() {
        let policy = |max: Option<u64>, keep| MissPolicy { max: max.map(MaxMisses::Count), keep };
        let check = |calls_limit, would_shuffle, misses, words: Option<&str>| {
            let why = why(calls_limit, would_shuffle, misses);
            let is_named = words.is_some_and(|words| why.is_some_and(|why| why.contains(words)));
            assert_eq!(is_named, words.is_some(), "{why:?}");
            assert_eq!(why.is_some(), words.is_some(), "{why:?}");
        };
        check(false, true, policy(None, false), None);
        check(false, false, policy(Some(1), true), None);
        check(false, true, policy(Some(1), true), Some(": max_misses limits"));
        check(false, true, policy(None, true), Some("are kept"));
        check(true, false, policy(None, false), Some("max_misses of a call"));
    }
}
