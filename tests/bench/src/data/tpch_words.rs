//! The words that TPC-H's tables are made of.

use rand::{Rng, rngs::SmallRng};

pub(super) const REGIONS: [&str; 5] = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];

/// Nations and their regions.
pub(super) const NATIONS: [(&str, i64); 25] = [
    ("ALGERIA", 0),
    ("ARGENTINA", 1),
    ("BRAZIL", 1),
    ("CANADA", 1),
    ("EGYPT", 4),
    ("ETHIOPIA", 0),
    ("FRANCE", 3),
    ("GERMANY", 3),
    ("INDIA", 2),
    ("INDONESIA", 2),
    ("IRAN", 4),
    ("IRAQ", 4),
    ("JAPAN", 2),
    ("JORDAN", 4),
    ("KENYA", 0),
    ("MOROCCO", 0),
    ("MOZAMBIQUE", 0),
    ("PERU", 1),
    ("CHINA", 2),
    ("ROMANIA", 3),
    ("SAUDI ARABIA", 4),
    ("VIETNAM", 2),
    ("RUSSIA", 3),
    ("UNITED KINGDOM", 3),
    ("UNITED STATES", 1),
];

pub(super) const SEGMENTS: [&str; 5] =
    ["AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY"];

pub(super) const PRIORITIES: [&str; 5] =
    ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"];

pub(super) const MODES: [&str; 7] = ["AIR", "AIR REG", "FOB", "MAIL", "RAIL", "SHIP", "TRUCK"];

pub(super) const INSTRUCTIONS: [&str; 4] =
    ["COLLECT COD", "DELIVER IN PERSON", "NONE", "TAKE BACK RETURN"];

pub(super) const COLORS: [&str; 40] = [
    "almond", "antique", "azure", "beige", "black", "blue", "brown", "chiffon", "coral", "cream",
    "cyan", "drab", "forest", "ghost", "gold", "green", "grey", "honey", "indian", "ivory",
    "khaki", "lace", "lemon", "lime", "linen", "maroon", "mint", "navy", "olive", "orange", "peru",
    "pink", "plum", "red", "rose", "salmon", "sky", "snow", "tan", "white",
];

/// A type is a word of each.
pub(super) const TYPES: [&[&str]; 3] = [
    &["STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO"],
    &["ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED"],
    &["TIN", "NICKEL", "BRASS", "STEEL", "COPPER"],
];

/// A container is a word of each.
pub(super) const CONTAINERS: [&[&str]; 2] = [
    &["SM", "LG", "MED", "JUMBO", "WRAP"],
    &["CASE", "BOX", "BAG", "JAR", "PKG", "PACK", "CAN", "DRUM"],
];

const WORDS: [&str; 16] = [
    "accounts",
    "asymptotes",
    "beans",
    "bold",
    "deposits",
    "even",
    "final",
    "foxes",
    "furiously",
    "ideas",
    "packages",
    "pending",
    "quickly",
    "requests",
    "silent",
    "slyly",
];

pub(super) fn one_of<'a>(random: &mut SmallRng, words: &[&'a str]) -> &'a str {
    words[random.random_range(0..words.len())]
}

/// So many of them, with spaces between.
pub(super) fn several(random: &mut SmallRng, words: &[&str], count: usize) -> String {
    (0..count).map(|_| one_of(random, words)).collect::<Vec<_>>().join(" ")
}

/// One of each list.
pub(super) fn each_of(random: &mut SmallRng, lists: &[&[&str]]) -> String {
    lists.iter().map(|words| one_of(random, words)).collect::<Vec<_>>().join(" ")
}

pub(super) fn words(random: &mut SmallRng, count: usize) -> String {
    several(random, &WORDS, count)
}

/// Words, of which one text in a hundred says two more, with others between.
pub(super) fn remark(random: &mut SmallRng, pair: &str) -> String {
    match pair.split_once(' ') {
        Some((one, other)) if random.random_range(0..100) == 0 => {
            format!("{} {one} {} {other}", words(random, 3), words(random, 2))
        }
        _ => words(random, 8),
    }
}

pub(super) fn phone(nation: i64, random: &mut SmallRng) -> String {
    let mut digits = |from, to| random.random_range::<u32, _>(from..to);
    let (area, office) = (digits(100, 1000), digits(100, 1000));
    format!("{}-{area}-{office}-{}", 10 + nation, digits(1000, 10_000))
}
