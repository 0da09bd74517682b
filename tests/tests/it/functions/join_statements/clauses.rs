//! Stores in the other clauses of statements: subqueries, limits, groups, conditions.

use super::Case;

/// Whether there are any.
pub(super) const EXIST: &[Case] = &[
    ("SELECT n FROM o WHERE who IN (SELECT name FROM people) ORDER BY n", &["1", "2", "4", "6"]),
    ("SELECT n FROM o WHERE item IN (SELECT item FROM reviews) ORDER BY n", &["1", "2", "3", "6"]),
    (
        "SELECT n FROM o WHERE EXISTS (SELECT 1 FROM reviews r WHERE r.item = o.item AND \
     r.stars = 5) ORDER BY n",
        &["1", "3", "6"],
    ),
    (
        "SELECT n FROM o WHERE EXISTS (SELECT * FROM reviews r WHERE r.item = o.item AND \
     r.by_whom = o.who) ORDER BY n",
        &["1", "6"],
    ),
    (
        "SELECT n FROM o WHERE NOT EXISTS (SELECT 1 FROM people WHERE name = who) ORDER BY n",
        &["3", "5"],
    ),
    (
        "SELECT n FROM o WHERE NOT EXISTS (SELECT 1 FROM reviews r WHERE r.item = o.item AND \
     stars < 4) ORDER BY n",
        &["4", "5"],
    ),
    ("SELECT n FROM o WHERE who NOT IN (SELECT name FROM people) ORDER BY n", &["5"]),
    ("SELECT n FROM o WHERE item NOT IN (SELECT item FROM reviews) ORDER BY n", &[]),
    (
        "SELECT n FROM o WHERE item NOT IN (SELECT item FROM reviews WHERE item IS NOT NULL) \
     ORDER BY n",
        &["5"],
    ),
    (
        "SELECT n FROM o WHERE qty > 4 OR EXISTS (SELECT 1 FROM people WHERE name = who AND age \
     > 20) ORDER BY n",
        &["1", "3", "4", "6"],
    ),
    (
        "SELECT n FROM o WHERE qty > 4 OR who IN (SELECT name FROM people WHERE city = 'rome') \
     ORDER BY n",
        &["2", "3", "6"],
    ),
    (
        "SELECT n, (SELECT max(age) FROM people WHERE name = who) AS age FROM o ORDER BY n",
        &["1 | 30", "2 | NULL", "3 | NULL", "4 | 30", "5 | NULL", "6 | NULL"],
    ),
    (
        "SELECT n, (SELECT age FROM people WHERE name = who) AS age FROM o ORDER BY n",
        &["1 | 30", "2 | NULL", "3 | NULL", "4 | 30", "5 | NULL", "6 | NULL"],
    ),
    (
        "SELECT n, (SELECT max(stars) FROM reviews r WHERE r.item = o.item) AS best FROM o \
     ORDER BY n",
        &["1 | 5", "2 | 1", "3 | 5", "4 | NULL", "5 | NULL", "6 | 5"],
    ),
    (
        "SELECT n, (SELECT count(*) FROM reviews r WHERE r.item = o.item) AS found FROM o ORDER \
     BY n",
        &["1 | 3", "2 | 1", "3 | 3", "4 | 0", "5 | 0", "6 | 3"],
    ),
    (
        "SELECT n FROM o WHERE qty > (SELECT min(stars) FROM reviews r WHERE r.item = o.item) \
     ORDER BY n",
        &["3", "6"],
    ),
    (
        "SELECT n FROM o LEFT SEMI JOIN reviews r ON o.item = r.item ORDER BY n",
        &["1", "2", "3", "6"],
    ),
    ("SELECT n FROM o LEFT ANTI JOIN reviews r ON o.item = r.item ORDER BY n", &["4", "5"]),
    (
        "SELECT n FROM o LEFT ANTI JOIN people ON who = name AND qty > 2 ORDER BY n",
        &["1", "2", "3", "5"],
    ),
    (
        "SELECT name FROM people WHERE EXISTS (SELECT 1 FROM o WHERE who = name) ORDER BY name",
        &["ann", "bob"],
    ),
    (
        "SELECT name FROM people WHERE name NOT IN (SELECT boss FROM people WHERE boss IS NOT \
     NULL) ORDER BY name",
        &["dan"],
    ),
];

/// Joins within other clauses.
pub(super) const WITHIN: &[Case] = &[
    (
        "WITH known AS (SELECT n, item, age FROM o JOIN people ON who = name) SELECT n, age, \
     stars FROM known k LEFT JOIN reviews r ON k.item = r.item ORDER BY n, stars NULLS LAST",
        &[
            "1 | 30 | 3",
            "1 | 30 | 5",
            "1 | 30 | NULL",
            "2 | NULL | 1",
            "4 | 30 | NULL",
            "6 | NULL | 3",
            "6 | NULL | 5",
            "6 | NULL | NULL",
        ],
    ),
    (
        "WITH j AS (SELECT n, city FROM o LEFT JOIN people ON who = name) SELECT a.n, b.n FROM \
     j a JOIN j b ON a.city = b.city AND a.n < b.n ORDER BY 1, 2",
        &["1 | 4", "2 | 6"],
    ),
    (
        "SELECT n, age FROM o LEFT JOIN people ON who = name ORDER BY n DESC LIMIT 2",
        &["6 | NULL", "5 | NULL"],
    ),
    (
        "SELECT n, stars FROM o JOIN reviews r ON o.item = r.item ORDER BY n DESC, stars NULLS \
     LAST LIMIT 3 OFFSET 1",
        &["6 | 5", "6 | NULL", "3 | 3"],
    ),
    (
        "SELECT n, age FROM o LEFT JOIN people ON who = name ORDER BY age DESC NULLS LAST, n \
     LIMIT 3",
        &["1 | 30", "4 | 30", "2 | NULL"],
    ),
    (
        "SELECT n, age FROM (SELECT * FROM o ORDER BY n LIMIT 2) f LEFT JOIN people ON who = \
     name ORDER BY n",
        &["1 | 30", "2 | NULL"],
    ),
    (
        "SELECT city, count(*), sum(qty) FROM o JOIN people ON who = name GROUP BY city ORDER \
     BY city",
        &["paris | 2 | 5", "rome | 2 | 8"],
    ),
    (
        "SELECT city, count(*) FROM o LEFT JOIN people ON who = name GROUP BY city HAVING \
     count(*) > 1 ORDER BY city NULLS LAST",
        &["paris | 2", "rome | 2", "NULL | 2"],
    ),
    (
        "SELECT DISTINCT city FROM o LEFT JOIN people ON who = name ORDER BY city NULLS LAST",
        &["paris", "rome", "NULL"],
    ),
    (
        "SELECT who, total, age FROM (SELECT who, sum(qty) AS total FROM o GROUP BY who) LEFT \
     JOIN people ON who = name ORDER BY total, who NULLS LAST",
        &["eve | 4 | NULL", "ann | 5 | 30", "NULL | 5 | NULL", "bob | 8 | NULL"],
    ),
    (
        "SELECT n, age FROM o JOIN people ON who = name UNION ALL SELECT n, stars FROM o JOIN \
     reviews r ON o.item = r.item AND n < 3 ORDER BY 1, 2 NULLS LAST",
        &["1 | 3", "1 | 5", "1 | 30", "1 | NULL", "2 | 1", "2 | NULL", "4 | 30", "6 | NULL"],
    ),
    (
        "SELECT n, rank() OVER (ORDER BY coalesce(age, 0), n) FROM o LEFT JOIN people ON who = \
     name ORDER BY n",
        &["1 | 5", "2 | 1", "3 | 2", "4 | 6", "5 | 3", "6 | 4"],
    ),
    (
        "SELECT n, CASE WHEN age > 25 THEN city ELSE who END FROM o LEFT JOIN people ON who = \
     name ORDER BY n",
        &["1 | paris", "2 | bob", "3 | NULL", "4 | paris", "5 | eve", "6 | bob"],
    ),
    (
        "SELECT n, name FROM o JOIN people ON who = name OR qty > 6 ORDER BY n, name",
        &["1 | ann", "2 | bob", "4 | ann", "6 | ann", "6 | bob", "6 | cid", "6 | dan"],
    ),
    (
        "SELECT n, name FROM o JOIN people ON qty * 10 < age ORDER BY n, name",
        &["1 | ann", "1 | cid", "2 | ann", "2 | cid", "2 | dan", "4 | cid", "5 | cid"],
    ),
    (
        "SELECT n, name FROM o JOIN people ON who IS NOT DISTINCT FROM city ORDER BY n, name",
        &["3 | cid"],
    ),
    (
        "SELECT n, a.stars FROM o JOIN reviews a ON o.item = a.item JOIN reviews b ON o.item = \
     b.item AND a.stars < b.stars ORDER BY n",
        &["1 | 3", "3 | 3", "6 | 3"],
    ),
];

/// The stores alone.
pub(super) const ALONE: &[Case] = &[
    ("SELECT name FROM people WHERE name = 'bob'", &["bob"]),
    (
        "SELECT name, age FROM people WHERE name IN ('dan', 'eve', 'ann') ORDER BY name",
        &["ann | 30", "dan | 19"],
    ),
    (
        "SELECT item, stars FROM reviews WHERE item = 'tea' AND stars > 3 ORDER BY stars",
        &["tea | 5"],
    ),
    (
        "SELECT stars FROM reviews WHERE item IN ('tea', 'milk', NULL) ORDER BY stars NULLS \
     LAST",
        &["1", "3", "5", "NULL"],
    ),
    ("SELECT stars FROM reviews WHERE item IS NULL", &["4"]),
    (
        "SELECT stars FROM reviews WHERE item = 'tea' OR by_whom = 'ann' ORDER BY stars NULLS \
     LAST",
        &["2", "3", "4", "5", "NULL"],
    ),
    ("SELECT stars FROM reviews WHERE item <> 'tea' ORDER BY stars", &["1", "2"]),
    ("SELECT count(*) FROM reviews", &["6"]),
    (
        "SELECT item, count(*) FROM reviews GROUP BY item ORDER BY item NULLS LAST",
        &["milk | 1", "rice | 1", "tea | 3", "NULL | 1"],
    ),
    (
        "SELECT r.item, s.stars FROM reviews r JOIN reviews s ON r.item = s.item AND r.stars < \
     s.stars",
        &["tea | 5"],
    ),
    ("SELECT country FROM cities WHERE city = 'rome'", &["IT"]),
    ("SELECT city FROM cities WHERE country <> 'IT' ORDER BY city", &["oslo", "paris"]),
];
