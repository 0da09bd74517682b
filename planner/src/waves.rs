//! Ordering pulled-out calls: into waves by what they depend on, and within a wave into fetches.

use std::sync::Arc;

use datafusion::{error::Result, physical_expr::PhysicalExpr};
use keyloom_common::{
    lookup::{Call, Fetch, Wave},
    store::Access,
};

use crate::hoist::{Hoisted, Hoister};

/// The waves of a node's calls, and where each call's answer stands behind the input's columns.
pub(crate) struct Layout {
    pub(crate) waves: Vec<Wave>,
    /// For each call, the position of its column after the input's.
    pub(crate) position: Vec<usize>,
}

/// Puts each call into the first wave in which all that it depends on is known.
pub(crate) fn layout(hoister: &Hoister) -> Result<Layout> {
    let groups = groups(hoister)?;
    let mut position = vec![0; hoister.calls().len()];
    let order = groups.iter().flatten().flatten();
    for (place, &call) in order.enumerate() {
        position[call] = place;
    }
    let fetch = |group: &Vec<usize>| fetch(hoister, group, &position);
    let wave = |fetches: &Vec<Vec<usize>>| -> Result<Wave> {
        Ok(Wave { fetches: fetches.iter().map(fetch).collect::<Result<_>>()? })
    };
    let waves = groups.iter().map(wave).collect::<Result<_>>()?;
    Ok(Layout { waves, position })
}

/// Calls by wave and, within a wave, by store and key.
fn groups(hoister: &Hoister) -> Result<Vec<Vec<Vec<usize>>>> {
    let calls = hoister.calls();
    let mut depths = vec![None; calls.len()];
    let mut waves: Vec<Vec<Vec<usize>>> = Vec::new();
    for index in 0..calls.len() {
        let depth = depth(hoister, index, &mut depths)?;
        if waves.len() <= depth {
            waves.resize(depth + 1, Vec::new());
        }
        let same = |group: &&mut Vec<usize>| shares_fetch(&calls[group[0]], &calls[index]);
        match waves[depth].iter_mut().find(same) {
            Some(group) => group.push(index),
            None => waves[depth].push(vec![index]),
        }
    }
    Ok(waves)
}

fn shares_fetch(one: &Hoisted, other: &Hoisted) -> bool {
    one.store == other.store && one.key.eq(&other.key)
}

/// One more than the deepest call that this one depends on. Dependencies have no cycles: a call is
/// only merged into one that it does not depend on.
fn depth(hoister: &Hoister, index: usize, known: &mut [Option<usize>]) -> Result<usize> {
    if let Some(depth) = known[index] {
        return Ok(depth);
    }
    let mut deepest = 0;
    for dependency in hoister.dependencies(&hoister.calls()[index])? {
        deepest = deepest.max(depth(hoister, dependency, known)? + 1);
    }
    known[index] = Some(deepest);
    Ok(deepest)
}

fn fetch(hoister: &Hoister, group: &[usize], position: &[usize]) -> Result<Fetch> {
    let first = &hoister.calls()[group[0]];
    let place = |expr: &Arc<dyn PhysicalExpr>| hoister.place(expr, position);
    let call = |&index: &usize| -> Result<Call> {
        let hoisted = &hoister.calls()[index];
        Ok(Call {
            name: hoister.name(index),
            answer: hoisted.answer.clone(),
            guard: hoisted.guard.expr()?.as_ref().map(place).transpose()?,
        })
    };
    Ok(Fetch {
        store: Arc::clone(&first.store),
        key: place(&first.key)?,
        calls: group.iter().map(call).collect::<Result<_>>()?,
        batch_size: group.iter().filter_map(|&index| hoister.calls()[index].batch_size).min(),
        access: Access::default(),
        reason: None,
        joined: group.iter().find_map(|&index| hoister.calls()[index].joined.clone()),
        key_set: None,
    })
}
