//! Outputs beside those that a document shows.

/// Whether this was printed where a document shows that: `…` stands for anything, line breaks
/// among it, and times are not compared.
pub(super) fn is_like(printed: &str, shown: &str) -> bool {
    let (printed, shown) = (timeless(printed.trim_end()), timeless(shown.trim_end()));
    let mut parts = shown.split('…');
    let Some(mut rest) = printed.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// The text with `#` for each time in it, a number with its unit, and for the spaces before it,
/// which depend on how long the number is.
fn timeless(text: &str) -> String {
    let mut timeless = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|character: char| character.is_ascii_digit()) {
        let (before, number) = rest.split_at(start);
        timeless.push_str(before);
        let end = number.find(|character: char| !character.is_ascii_digit() && character != '.');
        let (number, after) = number.split_at(end.unwrap_or(number.len()));
        rest = after;
        if let Some(after) = after_unit(after) {
            timeless.truncate(timeless.trim_end_matches(' ').len());
            timeless.push('#');
            rest = after;
        } else {
            timeless.push_str(number);
        }
    }
    timeless + rest
}

/// What follows a unit of time, if one stands here.
fn after_unit(text: &str) -> Option<&str> {
    let text = text.strip_prefix(' ').unwrap_or(text);
    let units = ["ns", "µs", "ms", "s"];
    let after = units.into_iter().find_map(|unit| text.strip_prefix(unit))?;
    let ends = after.chars().next().is_none_or(|next| !next.is_alphanumeric());
    ends.then_some(after)
}

#[test]
fn outputs_are_compared_but_for_times_and_what_is_left_out() {
    for (printed, shown, expected) in [
        ("one\ntwo\n", "one\ntwo\n", true),
        ("one\ntwo\n", "one\n", false),
        ("one\n", "one\ntwo\n", false),
        ("one\ntwo\nthree\n", "one\n…\nthree\n", true),
        ("one\nthree\n", "one\n…\nthree\n", false),
        ("one\ntwo\n", "…\n", true),
        ("to /tmp/a/b.csv\n", "to …/b.csv\n", true),
        ("to /tmp/a/b.csv\n", "to …/c.csv\n", false),
        ("a b a\n", "a…b…a\n", true),
        ("a b\n", "a…b…b\n", false),
        ("4 rows in 12.30 s; 1 task\n", "4 rows in 0.01 s; 1 task\n", true),
        ("4 rows in 12.30 s; 2 tasks\n", "4 rows in 0.01 s; 1 task\n", false),
        ("elapsed=1.02s (9%)\n", "elapsed=31.4ms (9%)\n", true),
        ("a    1.2 ms  7 B\n", "a  116.2 ms  7 B\n", true),
        ("a  1.2 MB\n", "a  1.3 MB\n", false),
        ("5 stores\n", "6 stores\n", false),
    ] {
        assert_eq!(is_like(printed, shown), expected, "{printed:?} for {shown:?}");
    }
}
