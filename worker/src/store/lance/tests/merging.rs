//! Maps of small fragments, which become one when they are too many.

use std::{fs, path::PathBuf};

use super::*;

/// So many fragments at most have maps of their own.
const SMALL: i64 = 8;

#[tokio::test]
async fn maps_stay_until_the_one_in_their_place_is_made() {
    let env = env();
    let access = ForcedAccess { keys: Some(KeyPath::Map), rows: Some(RowPath::Take) };
    let store = async |rows: &StoredRows| {
        let spec = LanceSpec { access, ..rows.spec("id") };
        env.open(&describe(&env, spec).await.unwrap()).await.unwrap()
    };
    let mut written = write(rows(0..10), WriteParams::default()).await;
    for count in 1..=SMALL {
        let found = ids(&store(&written).await, Int64Array::from(vec![count * 10 - 1])).await;
        assert_eq!(found, [Some(count * 10 - 1)]);
        assert_eq!(caches(&env).maps.len(), count as usize);
        written.append(rows(count * 10..count * 10 + 10)).await;
    }

    // The keys of the last fragment cannot be read for now.
    let last = written.dataset.get_fragment(SMALL as usize).unwrap();
    let file = PathBuf::from(&written.uri).join("data").join(&last.metadata().files[0].path);
    let (elsewhere, merged) = (file.with_extension("away"), store(&written).await);
    fs::rename(&file, &elsewhere).unwrap();
    ask(&merged, Int64Array::from(vec![5]), &[]).await.unwrap_err();
    assert_eq!(caches(&env).maps.len(), SMALL as usize);
    fs::rename(&elsewhere, &file).unwrap();
    let found = ask(&merged, Int64Array::from(vec![5, 85]), &[]).await.unwrap();
    assert_eq!((held(&found), found.stats.keys_scanned), (vec![true, true], 10));
    assert_eq!(caches(&env).maps.len(), 1);
}
