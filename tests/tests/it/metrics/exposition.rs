//! A strict reader of OpenMetrics: what it takes, any scraper takes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

/// Labels of a series.
pub(super) type Labels = BTreeMap<String, String>;

/// What a daemon told.
#[derive(Debug)]
pub(super) struct Exposition(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Labels,
    value: f64,
}

/// A family whose lines are being read.
#[derive(Debug)]
struct Family {
    name: String,
    kind: String,
}

impl Family {
    /// How the names of its samples may end.
    fn suffixes(&self) -> Result<&'static [&'static str]> {
        let all: &[&str] = match self.kind.as_str() {
            "counter" => &["_total", "_created"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count", "_created"],
            // The other types, as info, are not known to who reads the older format.
            other => bail!("a type {other}"),
        };
        Ok(all)
    }

    fn has(&self, sample: &str) -> bool {
        let suffix = sample.strip_prefix(&self.name);
        suffix.is_some_and(|suffix| self.suffixes().is_ok_and(|all| all.contains(&suffix)))
    }
}

impl Exposition {
    /// Reads all of it.
    ///
    /// # Errors
    /// If any line is not as it must be.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let lines = text.strip_suffix("# EOF\n").context("it does not end with # EOF")?;
        let (mut samples, mut families) = (Vec::<Sample>::new(), BTreeSet::new());
        let (mut help, mut family) = (None, None);
        for line in lines.lines() {
            if let Some(text) = line.strip_prefix("# HELP ") {
                let (name, words) = text.split_once(' ').context("a help without words")?;
                ensure!(is_name(name) && !words.is_empty(), "{line}");
                ensure!(families.insert(name.to_owned()), "{name} comes twice");
                help = Some(name.to_owned());
            } else if let Some(text) = line.strip_prefix("# TYPE ") {
                let (name, kind) = text.split_once(' ').context("a type without a word")?;
                ensure!(help.as_deref() == Some(name), "{line} follows the help of {help:?}");
                let begun = Family { name: name.to_owned(), kind: kind.to_owned() };
                begun.suffixes()?;
                family = Some(begun);
            } else {
                let sample = sample(line).with_context(|| line.to_owned())?;
                let family = family.as_ref().context("a sample before its family")?;
                ensure!(family.has(&sample.name), "{line} in the family {family:?}");
                ensure!(family.kind != "counter" || sample.value >= 0.0, "{line} is below 0");
                samples.push(sample);
            }
        }
        let read = Self(samples);
        read.check_once()?;
        read.check_histograms()?;
        Ok(read)
    }

    /// No series comes twice.
    fn check_once(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for Sample { name, labels, .. } in &self.0 {
            ensure!(seen.insert((name, labels)), "{name} comes twice with {labels:?}");
        }
        Ok(())
    }

    /// Buckets ascend, and the last of them has all.
    fn check_histograms(&self) -> Result<()> {
        let mut buckets = BTreeMap::<(String, Labels), Vec<(f64, f64)>>::new();
        for Sample { name, labels, value } in &self.0 {
            let Some(of) = name.strip_suffix("_bucket") else { continue };
            let mut labels = labels.clone();
            let bound = number(&labels.remove("le").context("a bucket without a bound")?)?;
            buckets.entry((of.to_owned(), labels)).or_default().push((bound, *value));
        }
        for ((of, labels), buckets) in buckets {
            let ascends = |pair: &[(f64, f64)]| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1;
            ensure!(buckets.windows(2).all(ascends), "{of} {labels:?}: {buckets:?}");
            let (bound, all) = buckets.last().copied().unwrap_or_default();
            let is_counted = |sample: &Sample| {
                sample.name == format!("{of}_count")
                    && sample.labels == labels
                    && sample.value == all
            };
            ensure!(bound == f64::INFINITY && self.0.iter().any(is_counted), "{of} {labels:?}");
        }
        Ok(())
    }

    /// The sum of the samples of this name that have these labels, and perhaps others.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &Sample, label: &str, value: &str| {
            sample.labels.get(label).is_some_and(|held| held == value)
        };
        let named = self.0.iter().filter(|sample| sample.name == name);
        let wanted = named.filter(|sample| labels.iter().all(|(l, v)| has(sample, l, v)));
        wanted.map(|sample| sample.value).sum()
    }

    /// The values that a label has in the samples of this name.
    pub(super) fn labels(&self, name: &str, label: &str) -> Vec<String> {
        let named = self.0.iter().filter(|sample| sample.name == name);
        named.filter_map(|sample| sample.labels.get(label).cloned()).collect()
    }

    /// All series.
    pub(super) fn series(self) -> impl Iterator<Item = (String, Labels)> {
        self.0.into_iter().map(|sample| (sample.name, sample.labels))
    }
}

/// `name{label="value",…} value`
fn sample(line: &str) -> Result<Sample> {
    let end = line.find(['{', ' ']).context("no value")?;
    let (name, rest) = line.split_at(end);
    ensure!(is_name(name), "the name {name}");
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value = number(value.strip_prefix(' ').context("a space before the value")?)?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// The labels up to the brace, and what follows it.
fn labels(mut rest: &str) -> Result<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        let (name, after) = rest.split_once("=\"").context("a label without a value")?;
        ensure!(is_name(name) && !name.contains(':'), "the label {name}");
        let (value, after) = quoted(after)?;
        ensure!(labels.insert(name.to_owned(), value).is_none(), "{name} comes twice");
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok((labels, after.strip_prefix('}').context("no closing brace")?)),
        }
    }
}

/// What stands before the next quote, and what stands behind it.
fn quoted(text: &str) -> Result<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next().map(|(_, escaped)| escaped) {
                Some('n') => '\n',
                Some(escaped @ ('\\' | '"')) => escaped,
                other => bail!("an escape of {other:?}"),
            }),
            c => value.push(c),
        }
    }
    bail!("no closing quote")
}

fn number(text: &str) -> Result<f64> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        text => text.parse().with_context(|| format!("the number '{text}'")),
    }
}

fn is_name(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.starts_with(is_letter) && text.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

#[test]
fn what_no_scraper_takes_is_refused() {
    let head = "# HELP a_b Help.\n# TYPE a_b counter\n";
    let good = format!("{head}a_b_total{{x=\"1\\\"\\n\",y=\"\"}} 2\n# EOF\n");
    let read = Exposition::parse(&good).unwrap();
    assert_eq!(read.sum("a_b_total", &[("x", "1\"\n"), ("y", "")]), 2.0);
    for wrong in [
        format!("{head}a_b_total 2\n"),
        format!("{head}a_b 2\n# EOF\n"),
        format!("{head}a_b_total -2\n# EOF\n"),
        format!("{head}a_b_total{{x=\"1\"}}2\n# EOF\n"),
        format!("{head}a_b_total{{x=\"1\" 2\n# EOF\n"),
        format!("{head}a_b_total{{x-y=\"1\"}} 2\n# EOF\n"),
        format!("{head}a_b_total 2\na_b_total 2\n# EOF\n"),
        format!("{head}{head}# EOF\n"),
        "a_b_total 2\n# EOF\n".to_owned(),
        "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1.0\"} 2\na_count 2\n# EOF\n".to_owned(),
    ] {
        assert!(Exposition::parse(&wrong).is_err(), "{wrong}");
    }
}
