use super::*;

fn fragment(at: u32) -> Stored {
    let name = FileColumn {
        dataset: Arc::from("dataset"),
        file: format!("file {at}").into(),
        column: Arc::from("column"),
    };
    (name, 10)
}

fn fragments(of: impl IntoIterator<Item = u32>) -> Vec<Stored> {
    of.into_iter().map(fragment).collect()
}

fn key() -> KeyName {
    KeyName { dataset: Arc::from("dataset"), columns: Arc::from("column") }
}

/// The places of the fragments of each part.
fn places(parts: &[Part]) -> Vec<Vec<usize>> {
    parts.iter().map(|part| part.view.present().collect()).collect()
}

#[test]
fn small_fragments_share_a_run_and_a_later_version_finds_it() {
    let runs = Runs::default();
    let first = runs.cover(&key(), &fragments(0..4), |_| true);
    assert_eq!(places(&first), [[0, 1, 2, 3]]);
    let later = runs.cover(&key(), &fragments(0..5), |_| true);
    assert_eq!(places(&later), [vec![0, 1, 2, 3], vec![4]]);
    assert_eq!(later[0].run.id, first[0].run.id);
    // One that lost a fragment uses what is kept, and makes no map that it could not read.
    let fewer = runs.cover(&key(), &fragments([0, 2, 3]), |_| true);
    assert_eq!((places(&fewer), fewer[0].run.id), (vec![vec![0, 1, 2]], first[0].run.id));
    let none = runs.cover(&key(), &fragments([0, 2, 3]), |_| false);
    assert!(none.iter().all(|part| part.view.is_whole()) && none[0].run.id != first[0].run.id);
}

#[test]
fn small_runs_that_are_too_many_become_one() {
    let (runs, mut held) = (Runs::default(), Vec::new());
    for count in 1..=SMALL_MAPS as u32 {
        held = runs.cover(&key(), &fragments(0..count), |_| true);
        assert_eq!(held.len(), count as usize);
    }
    let one = runs.cover(&key(), &fragments(0..SMALL_MAPS as u32 + 1), |_| true);
    assert_eq!(places(&one), [(0..=SMALL_MAPS).collect::<Vec<_>>()]);
    let merged: Vec<u64> = one[0].run.merged.iter().map(|merged| merged.id).collect();
    let before: Vec<u64> = held.iter().map(|part| part.run.id).collect();
    assert_eq!(merged[..SMALL_MAPS], before);
    // Whoever comes while its map is being made may be the one to make it.
    let is_kept = |id| before.contains(&id);
    let again = runs.cover(&key(), &fragments(0..SMALL_MAPS as u32 + 1), is_kept);
    assert!(Arc::ptr_eq(&again[0].run, &one[0].run));
}

#[test]
fn runs_that_nobody_holds_are_forgotten() {
    let runs = Runs::default();
    let first = runs.cover(&key(), &fragments(0..4), |_| true)[0].run.id;
    assert!(runs.cover(&key(), &fragments(0..4), |_| true)[0].run.id != first);
}
