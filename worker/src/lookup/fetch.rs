//! One fetch for one window: distinct keys to the store, in requests of a bounded size, and from
//! what it found the answers for each batch.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, BooleanArray},
    util::display::array_value_to_string,
};
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{
    Error, Result,
    lookup::{Answer, Fetch},
    misses::Missed,
};

use super::{
    LookupSettings,
    answer::AnswerBuilder,
    counters::Counters,
    keys::{Distinct, FlatKeys, Slot},
    misses::{BatchMisses, MissCounter},
};
use crate::store::{Found, KeyRows, MostRows, Request, Store};

/// The keys of a batch, and for each call the rows that need its answer (all, if `None`).
#[derive(Debug)]
pub(crate) struct Need {
    pub(crate) keys: ArrayRef,
    pub(crate) guards: Vec<Option<BooleanArray>>,
    /// How many rows each row stands for; one, if `None`.
    pub(crate) counts: Option<Vec<u64>>,
}

/// What a batch asks, by element.
#[derive(Debug)]
struct Ask {
    keys: FlatKeys,
    row_guards: Vec<Option<BooleanArray>>,
    guards: Vec<Option<BooleanArray>>,
    /// The elements that any call needs.
    needed: Option<BooleanArray>,
    /// How many rows each one stands for; one, if `None`.
    counts: Option<Vec<u64>>,
}

/// All that the answers for the batches of a window are made of.
#[derive(Debug)]
pub(crate) struct Fetched {
    asks: Vec<Ask>,
    distinct: Distinct,
    columns: Vec<usize>,
    found: Found,
    /// Where each key's rows are among those that were found, if it may have several.
    starts: Option<Vec<usize>>,
    /// Where misses are counted, if somebody is told.
    told: Option<MissCounter>,
    /// The code of each distinct key, if any is missing and somebody is told.
    codes: Vec<u64>,
    /// The number of the first row among those of the task.
    first_row: u64,
    /// The number of the first of them whose misses are not counted yet.
    told_until: u64,
    /// The first element that is left out. Keys with several rows are no lists: it is a row.
    complete: Option<usize>,
    /// How many rows of the store those before it get, and how many of them ask.
    answered: (usize, usize),
}

impl Ask {
    fn try_new(need: Need) -> Result<Self> {
        let keys = FlatKeys::try_new(&need.keys)?;
        let guards = need.guards.iter().map(|guard| keys.by_element(guard.as_ref()));
        let guards: Vec<_> = guards.collect();
        let needed = super::union(&guards)?;
        let of_row = |counts: &[u64], row: usize| counts.get(row).copied().unwrap_or(1);
        let counts = need.counts.map(|counts| {
            let elements = 0..keys.elements.len();
            elements.map(|element| of_row(&counts, keys.row_of(element))).collect()
        });
        Ok(Self { keys, row_guards: need.guards, guards, needed, counts })
    }

    /// How many rows an element stands for.
    fn count(&self, element: usize) -> u64 {
        self.counts.as_ref().and_then(|counts| counts.get(element)).copied().unwrap_or(1)
    }
}

impl Fetched {
    /// Finds the rows of the keys of all batches.
    pub(crate) async fn try_new(
        fetch: &Fetch,
        store: &Arc<dyn Store>,
        counters: &Counters,
        needs: Vec<Need>,
        row_bytes: u64,
        settings: &LookupSettings,
    ) -> Result<Self> {
        let asks = needs.into_iter().map(Ask::try_new).collect::<Result<Vec<_>>>()?;
        let keys = asks.iter().map(|ask| (&ask.keys.elements, ask.needed.as_ref()));
        let distinct = Distinct::try_new(&keys.collect::<Vec<_>>(), &fetch.store.key_type())?;
        let most = settings.most_rows(row_bytes);
        let rows = key_rows(fetch, most);
        let request = Request {
            keys: Arc::clone(&distinct.keys),
            columns: fetch.columns(),
            access: fetch.access.clone(),
            rows,
        };
        let columns = request.columns.clone();
        let found = request_all(fetch, store, counters, request, settings).await?;
        let starts = found.starts();
        // Of the rows of one key, each row that asks gets its own.
        let most = if asks_for_all(fetch) { most.at_once } else { usize::MAX };
        let (complete, rows) = answered(&distinct.slots, &found, starts.as_deref(), most);
        // What is left out is counted when it is asked for again.
        let asked = match complete {
            None => distinct.asked,
            Some(end) => {
                distinct.slots[..end].iter().filter(|slot| **slot != Slot::Nothing).count()
            }
        };
        counters.keys.add(rows_of(&asks, &distinct.slots, complete).unwrap_or(asked));
        counters.distinct.add(found.held.len());
        let hits = found.held.iter().filter(|held| **held).count();
        counters.hits.add(hits);
        counters.misses.add(found.held.len() - hits);
        let (told, mut codes) = (counters.told.clone(), Vec::new());
        if let Some(told) = &told {
            codes = told.codes(&distinct.keys)?;
            told.count_keys(&codes);
        }
        if hits == found.held.len() {
            codes = Vec::new();
        }
        let answered = (rows, asked);
        let (first_row, told_until) = (0, 0);
        Ok(Self {
            asks,
            distinct,
            columns,
            found,
            starts,
            told,
            codes,
            first_row,
            told_until,
            complete,
            answered,
        })
    }

    /// The same for rows that begin with this one of their task, and whose misses are counted from
    /// another one on.
    pub(super) fn starting_at(self, first_row: u64, told_until: u64) -> Self {
        Self { first_row, told_until, ..self }
    }

    /// How many rows of all batches, from the first on, have their answers, if that is not all of
    /// them: keys have too many rows for one fetch. It is one row at least.
    pub(crate) fn complete_rows(&self) -> Option<usize> {
        self.complete
    }

    /// How many rows of the store the rows get that have their answers, and how many a key has,
    /// about.
    pub(super) fn rows(&self) -> (u64, u64) {
        let (rows, asked) = (self.answered.0 as u64, self.answered.1 as u64);
        let (found, keys) = (self.found.rows() as u64, self.found.held.len() as u64);
        let of_a_key = found.div_ceil(keys.max(1)).max(rows.div_ceil(asked.max(1)));
        (rows, of_a_key.max(1))
    }

    /// A column for each call, for one of the batches, of which only the first rows count, so many
    /// of them: the others get none, and ask again.
    pub(crate) fn answers_to(
        &self,
        fetch: &Fetch,
        batch: usize,
        rows: usize,
        settings: &LookupSettings,
    ) -> Result<Vec<ArrayRef>> {
        let Ask { keys, row_guards, guards, .. } = &self.asks[batch];
        let builder = AnswerBuilder {
            fetch,
            keys,
            row_guards,
            guards,
            slots: self.slots(batch),
            until: keys.elements_of(rows),
            columns: &self.columns,
            found: &self.found,
            starts: self.starts.as_deref(),
            keys_named: settings.missing_keys_named,
        };
        let answers = builder.all()?;
        if let Some(told) = &self.told {
            told.add(self.misses(fetch, batch, rows, told)?)?;
        }
        Ok(answers)
    }

    /// What each element of a batch asks for.
    fn slots(&self, batch: usize) -> &[Slot] {
        let before: usize = self.asks[..batch].iter().map(|ask| ask.keys.elements.len()).sum();
        &self.distinct.slots[before..before + self.asks[batch].keys.elements.len()]
    }

    /// What the first rows of a batch asked for and missed, but for those that are counted.
    fn misses(
        &self,
        fetch: &Fetch,
        batch: usize,
        rows: usize,
        told: &MissCounter,
    ) -> Result<BatchMisses> {
        let ask = &self.asks[batch];
        let rows_before: usize = self.asks[..batch].iter().map(|ask| ask.keys.rows()).sum();
        let first_row = self.first_row + rows_before as u64;
        let counted = self.told_until.saturating_sub(first_row);
        let from = ask.keys.elements_of(usize::try_from(counted).unwrap_or(usize::MAX));
        let slots = &self.slots(batch)[..ask.keys.elements_of(rows)];
        let calls = || fetch.calls.iter().zip(&ask.guards);
        let of_limit = calls().filter(|(call, _)| call.answer.max_misses().is_some());
        let limits = of_limit.map(|(_, guard)| self.count(ask, slots, from, guard.as_ref()));
        let limits = limits.collect();
        let missable = calls().filter(|(call, _)| call.answer.on_missing().is_some());
        let guards: Vec<_> = missable.map(|(_, guard)| guard.clone()).collect();
        if guards.is_empty() {
            return Ok(BatchMisses::default());
        }
        let needed = super::union(&guards)?;
        let (asked, missed) = self.count(ask, slots, from, needed.as_ref());
        let mut misses = BatchMisses { asked, missed, limits, ..BatchMisses::default() };
        if missed == 0 {
            return Ok(misses);
        }
        for (element, slot) in slots.iter().enumerate().skip(from) {
            if !is_needed(needed.as_ref(), element) || !self.is_missing(*slot) {
                continue;
            }
            let wants_row = told.wants_row(misses.rows.len());
            if let Slot::Key(key) = slot {
                misses.codes.push(self.codes[*key as usize]);
                if !wants_row {
                    continue;
                }
            }
            let key = array_value_to_string(&ask.keys.elements, element)?;
            if *slot == Slot::OutOfRange {
                misses.codes.push(told.code_of(&key));
            }
            if wants_row && (told.keeps_rows() || misses.rows.iter().all(|row| row.key != key)) {
                let row = first_row + ask.keys.row_of(element) as u64;
                misses.rows.push(Missed { row, key });
            }
        }
        Ok(misses)
    }

    /// How many elements ask, from one on and where these need an answer, and how many of them miss
    /// their keys. One that stands for several counts as so many.
    fn count(
        &self,
        ask: &Ask,
        slots: &[Slot],
        from: usize,
        needed: Option<&BooleanArray>,
    ) -> (u64, u64) {
        let (mut asked, mut missed) = (0_u64, 0_u64);
        for (element, slot) in slots.iter().enumerate().skip(from) {
            if *slot != Slot::Nothing && is_needed(needed, element) {
                let rows = ask.count(element);
                asked = asked.saturating_add(rows);
                if self.is_missing(*slot) {
                    missed = missed.saturating_add(rows);
                }
            }
        }
        (asked, missed)
    }

    fn is_missing(&self, slot: Slot) -> bool {
        match slot {
            Slot::Nothing => false,
            Slot::OutOfRange => true,
            Slot::Key(key) => !self.found.held[key as usize],
        }
    }
}

/// How many rows ask with the first elements of all batches (with all, if `None`), where some stand
/// for several; `None` if each stands for one.
fn rows_of(asks: &[Ask], slots: &[Slot], elements: Option<usize>) -> Option<usize> {
    if asks.iter().all(|ask| ask.counts.is_none()) {
        return None;
    }
    let counts = asks.iter().flat_map(|ask| {
        let elements = 0..ask.keys.elements.len();
        elements.map(move |element| ask.count(element))
    });
    let of_elements = slots.iter().zip(counts).take(elements.unwrap_or(usize::MAX));
    let asking = of_elements.filter(|(slot, _)| **slot != Slot::Nothing);
    let rows = asking.fold(0_u64, |rows, (_, count)| rows.saturating_add(count));
    Some(usize::try_from(rows).unwrap_or(usize::MAX))
}

/// Whether an element needs an answer, if these do (all, if `None`).
fn is_needed(needed: Option<&BooleanArray>, element: usize) -> bool {
    needed.is_none_or(|needed| needed.value(element))
}

/// The first element that is left out, if one is, and how many rows of the store those before it
/// get: about so many at most, unless one gets more.
fn answered(
    slots: &[Slot],
    found: &Found,
    starts: Option<&[usize]>,
    most: usize,
) -> (Option<usize>, usize) {
    let mut rows = 0_usize;
    for (element, slot) in slots.iter().enumerate() {
        let Slot::Key(key) = slot else { continue };
        let key = *key as usize;
        let Some(held) = found.held.get(key) else { return (Some(element), rows) };
        let of_key = starts.map_or(usize::from(*held), |starts| starts[key + 1] - starts[key]);
        let with_it = rows.saturating_add(of_key);
        if starts.is_some() && with_it > most && rows > 0 {
            return (Some(element), rows);
        }
        rows = with_it;
    }
    (None, rows)
}

/// Whether all rows of its keys are wanted.
pub(super) fn asks_for_all(fetch: &Fetch) -> bool {
    fetch.calls.iter().any(|call| matches!(call.answer, Answer::All { .. }))
}

async fn request_all(
    fetch: &Fetch,
    store: &Arc<dyn Store>,
    counters: &Counters,
    all: Request,
    settings: &LookupSettings,
) -> Result<Found> {
    let (keys, columns) = (&all.keys, all.columns.len());
    let size = fetch.batch_size.map_or(keys.len().max(1), Into::into);
    let requests = (0..keys.len()).step_by(size).map(|start| {
        let keys = keys.slice(start, size.min(keys.len() - start));
        ask(store, counters, Request { keys, ..all.clone() })
    });
    let answers = stream::iter(requests).buffered(settings.requests_in_flight.max(1));
    let found = Found::concat(answers.try_collect().await?, columns)?;
    let (answered, asked) = (found.held.len(), keys.len());
    if answered == asked || (found.is_cut && (1..asked).contains(&answered)) {
        return Ok(found);
    }
    Err(Error::internal(format!("a store answered {answered} of {asked} keys")))
}

/// Which rows of a key the calls read that stands in several.
fn key_rows(fetch: &Fetch, most: MostRows) -> KeyRows {
    let mut rows = KeyRows::Any;
    for call in &fetch.calls {
        match call.answer {
            Answer::All { .. } => return KeyRows::All(most),
            Answer::Row { .. } => rows = KeyRows::One,
            Answer::Exists => {}
        }
    }
    rows
}

async fn ask(store: &Arc<dyn Store>, counters: &Counters, request: Request) -> Result<Found> {
    counters.requests.add(1);
    let timer = counters.fetch_time.timer();
    let found = store.lookup(request).await?;
    timer.done();
    counters.count(&found.stats);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Int64Array, ListArray},
        datatypes::Int64Type,
    };

    use super::*;

    fn asking(keys: ArrayRef, counts: Option<Vec<u64>>) -> Ask {
        Ask::try_new(Need { keys, guards: vec![None], counts }).unwrap()
    }

    #[test]
    fn rows_that_stand_for_several_count_as_so_many() {
        let ints = || Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
        let slots = [Slot::Key(0), Slot::Nothing, Slot::OutOfRange];
        assert_eq!(rows_of(&[asking(ints(), None)], &slots, None), None);
        let one = asking(ints(), Some(vec![4, 50, 600]));
        assert_eq!(rows_of(&[one], &slots, None), Some(604));
        // A list counts once for each of its elements, and some may be left for the next time.
        let lists = [Some(vec![Some(1), Some(2)]), Some(vec![Some(3)])];
        let lists = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)) as ArrayRef;
        let asks = [asking(lists, Some(vec![5, 70])), asking(ints(), None)];
        let slots = [Slot::Key(0); 6];
        assert_eq!(rows_of(&asks, &slots, None), Some(83));
        assert_eq!(rows_of(&asks, &slots, Some(4)), Some(81));
    }

    fn found(counts: &[u32]) -> Found {
        let held = counts.iter().map(|count| *count > 0).collect();
        Found { held, counts: Some(counts.to_vec()), ..Found::default() }
    }

    #[test]
    fn rows_that_many_ask_for_count_for_each() {
        let slots = [0, 0, 9, 1, 2, 0].map(|key| match key {
            9 => Slot::Nothing,
            key => Slot::Key(key),
        });
        let all = found(&[2, 0, 3]);
        let of = |found: &Found, most| answered(&slots, found, found.starts().as_deref(), most);
        assert_eq!(of(&all, 9), (None, 9));
        assert_eq!(of(&all, 8), (Some(5), 7));
        assert_eq!(of(&all, 4), (Some(4), 4));
        // One row is answered in any case.
        assert_eq!(of(&all, 1), (Some(1), 2));
        // The last key was left out by the store.
        assert_eq!(of(&found(&[2, 0]), 9), (Some(4), 4));
        // Where keys have one row each, windows are bounded by those that ask.
        let single = Found { counts: None, ..all };
        assert_eq!(of(&single, 1), (None, 4));
    }
}
