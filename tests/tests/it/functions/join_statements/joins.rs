//! Joins of the table with one store, and with several.

use super::Case;

/// Rows that find one, and once for each that they find.
pub(super) const INNER: &[Case] = &[
    (
        "SELECT n, age FROM o JOIN people ON who = name ORDER BY n",
        &["1 | 30", "2 | NULL", "4 | 30", "6 | NULL"],
    ),
    (
        "SELECT n, p.city FROM people p JOIN o ON p.name = o.who ORDER BY n",
        &["1 | paris", "2 | rome", "4 | paris", "6 | rome"],
    ),
    (
        "SELECT n, stars FROM o JOIN reviews r ON o.item = r.item ORDER BY n, stars NULLS LAST",
        &[
            "1 | 3", "1 | 5", "1 | NULL", "2 | 1", "3 | 3", "3 | 5", "3 | NULL", "6 | 3", "6 | 5",
            "6 | NULL",
        ],
    ),
    (
        "SELECT o.*, r.* FROM o, reviews r WHERE r.item = o.item AND n = 1 ORDER BY stars NULLS \
     LAST",
        &[
            "1 | ann | tea | 2 | tea | 3 | bob",
            "1 | ann | tea | 2 | tea | 5 | ann",
            "1 | ann | tea | 2 | tea | NULL | zoe",
        ],
    ),
    (
        "SELECT n, stars FROM o JOIN reviews USING (item) WHERE stars > 1 ORDER BY n, stars",
        &["1 | 3", "1 | 5", "3 | 3", "3 | 5", "6 | 3", "6 | 5"],
    ),
    (
        "SELECT n, stars FROM o NATURAL JOIN reviews WHERE who = 'bob' ORDER BY n, stars NULLS \
     LAST",
        &["2 | 1", "6 | 3", "6 | 5", "6 | NULL"],
    ),
    (
        "SELECT count(*), count(stars), sum(stars), max(by_whom) FROM o JOIN reviews r ON \
     o.item = r.item",
        &["10 | 7 | 25 | zoe"],
    ),
    (
        "SELECT n, r.stars FROM o JOIN reviews r ON o.item = r.item AND r.by_whom = o.who ORDER \
     BY n",
        &["1 | 5", "6 | 3"],
    ),
    ("SELECT n FROM o JOIN people ON who = name AND age IS NULL ORDER BY n", &["2", "6"]),
    (
        "SELECT n, name FROM o JOIN people ON who = name AND qty > 2 ORDER BY n",
        &["4 | ann", "6 | bob"],
    ),
    (
        "SELECT n, age FROM o JOIN people ON upper(who) = upper(name) ORDER BY n",
        &["1 | 30", "2 | NULL", "4 | 30", "6 | NULL"],
    ),
    (
        "SELECT n, age FROM o JOIN people ON substr(who, 1, 3) = name ORDER BY n",
        &["1 | 30", "2 | NULL", "4 | 30", "6 | NULL"],
    ),
    (
        "SELECT n, age FROM o JOIN people ON coalesce(who, 'cid') = name ORDER BY n",
        &["1 | 30", "2 | NULL", "3 | 41", "4 | 30", "6 | NULL"],
    ),
];

/// All rows of the left side, with nulls where nothing is found.
pub(super) const OUTER: &[Case] = &[
    (
        "SELECT n, age, city FROM o LEFT JOIN people ON who = name ORDER BY n",
        &[
            "1 | 30 | paris",
            "2 | NULL | rome",
            "3 | NULL | NULL",
            "4 | 30 | paris",
            "5 | NULL | NULL",
            "6 | NULL | rome",
        ],
    ),
    (
        "SELECT n, p.* FROM o LEFT JOIN people p ON who = name WHERE n IN (1, 3, 5) ORDER BY n",
        &[
            "1 | ann | 30 | paris | bob",
            "3 | NULL | NULL | NULL | NULL",
            "5 | NULL | NULL | NULL | NULL",
        ],
    ),
    (
        "SELECT n, stars FROM o LEFT JOIN reviews r ON o.item = r.item ORDER BY n, stars NULLS \
     LAST",
        &[
            "1 | 3", "1 | 5", "1 | NULL", "2 | 1", "3 | 3", "3 | 5", "3 | NULL", "4 | NULL",
            "5 | NULL", "6 | 3", "6 | 5", "6 | NULL",
        ],
    ),
    ("SELECT n FROM o LEFT JOIN people ON who = name WHERE name IS NULL ORDER BY n", &["3", "5"]),
    (
        "SELECT n FROM o LEFT JOIN people ON who = name WHERE age IS NULL ORDER BY n",
        &["2", "3", "5", "6"],
    ),
    (
        "SELECT n, age FROM o LEFT JOIN people ON who = name WHERE age > 10 ORDER BY n",
        &["1 | 30", "4 | 30"],
    ),
    (
        "SELECT n, age FROM o LEFT JOIN people ON who = name AND age > 10 ORDER BY n",
        &["1 | 30", "2 | NULL", "3 | NULL", "4 | 30", "5 | NULL", "6 | NULL"],
    ),
    (
        "SELECT n, age FROM o LEFT JOIN people ON who = name AND qty > 2 ORDER BY n",
        &["1 | NULL", "2 | NULL", "3 | NULL", "4 | 30", "5 | NULL", "6 | NULL"],
    ),
    (
        "SELECT n, age FROM o LEFT JOIN people ON who = name AND qty > 2 AND age > 10 ORDER BY \
     n",
        &["1 | NULL", "2 | NULL", "3 | NULL", "4 | 30", "5 | NULL", "6 | NULL"],
    ),
    (
        "SELECT n, stars FROM o LEFT JOIN reviews r ON o.item = r.item AND stars > 3 ORDER BY n",
        &["1 | 5", "2 | NULL", "3 | 5", "4 | NULL", "5 | NULL", "6 | 5"],
    ),
    (
        "SELECT n, stars FROM o LEFT JOIN reviews r ON o.item = r.item AND stars > qty ORDER BY \
     n, stars",
        &["1 | 3", "1 | 5", "2 | NULL", "3 | NULL", "4 | NULL", "5 | NULL", "6 | NULL"],
    ),
    (
        "SELECT n, age FROM o LEFT JOIN people ON who = name AND false ORDER BY n",
        &["1 | NULL", "2 | NULL", "3 | NULL", "4 | NULL", "5 | NULL", "6 | NULL"],
    ),
    (
        "SELECT n, age FROM (SELECT * FROM o WHERE qty > 2) o LEFT JOIN people ON who = name \
     ORDER BY n",
        &["3 | NULL", "4 | 30", "5 | NULL", "6 | NULL"],
    ),
    (
        "SELECT n, title FROM o LEFT JOIN (SELECT name, city || '!' AS title FROM people) p ON \
     who = name ORDER BY n",
        &["1 | paris!", "2 | rome!", "3 | NULL", "4 | paris!", "5 | NULL", "6 | rome!"],
    ),
    (
        "SELECT n, title FROM o LEFT JOIN (SELECT name, coalesce(city, '?') AS title FROM \
     people WHERE age > 20) p ON who = name ORDER BY n",
        &["1 | paris", "2 | NULL", "3 | NULL", "4 | paris", "5 | NULL", "6 | NULL"],
    ),
    (
        "SELECT n, title FROM o LEFT JOIN (SELECT name, coalesce(city, '?') AS title FROM \
     people) p ON who = name ORDER BY n",
        &["1 | paris", "2 | rome", "3 | NULL", "4 | paris", "5 | NULL", "6 | rome"],
    ),
    (
        "SELECT n, flag FROM o LEFT JOIN (SELECT name, 1 AS flag FROM people) p ON who = name \
     ORDER BY n",
        &["1 | 1", "2 | 1", "3 | NULL", "4 | 1", "5 | NULL", "6 | 1"],
    ),
    (
        "SELECT n FROM o LEFT JOIN (SELECT name, 1 AS flag FROM people) p ON who = name WHERE \
     flag IS NULL ORDER BY n",
        &["3", "5"],
    ),
    (
        "SELECT n, seen FROM o LEFT JOIN (SELECT item, true AS seen FROM reviews) r ON o.item = \
     r.item WHERE n > 3 ORDER BY n",
        &["4 | NULL", "5 | NULL", "6 | true", "6 | true", "6 | true"],
    ),
    (
        "SELECT n, age FROM people RIGHT JOIN o ON who = name ORDER BY n",
        &["1 | 30", "2 | NULL", "3 | NULL", "4 | 30", "5 | NULL", "6 | NULL"],
    ),
];

/// All rows of the store, too.
pub(super) const ALL: &[Case] = &[
    (
        "SELECT n, name FROM o RIGHT JOIN people ON who = name ORDER BY n NULLS LAST, name",
        &["1 | ann", "2 | bob", "4 | ann", "6 | bob", "NULL | cid", "NULL | dan"],
    ),
    (
        "SELECT n, stars FROM o RIGHT JOIN reviews r ON o.item = r.item WHERE n IS NULL ORDER \
     BY stars",
        &["NULL | 2", "NULL | 4"],
    ),
    (
        "SELECT n, name FROM o FULL JOIN people ON who = name ORDER BY n NULLS LAST, name",
        &[
            "1 | ann",
            "2 | bob",
            "3 | NULL",
            "4 | ann",
            "5 | NULL",
            "6 | bob",
            "NULL | cid",
            "NULL | dan",
        ],
    ),
    (
        "SELECT name, n FROM people LEFT JOIN o ON who = name ORDER BY name, n",
        &["ann | 1", "ann | 4", "bob | 2", "bob | 6", "cid | NULL", "dan | NULL"],
    ),
    (
        "SELECT name, count(n) FROM people LEFT JOIN o ON who = name GROUP BY name ORDER BY \
     name",
        &["ann | 2", "bob | 2", "cid | 0", "dan | 0"],
    ),
    (
        "SELECT a.name, b.name FROM people a LEFT JOIN people b ON a.boss = b.name ORDER BY 1",
        &["ann | bob", "bob | cid", "cid | NULL", "dan | ann"],
    ),
    (
        "SELECT a.name, c.name FROM people a JOIN people b ON a.boss = b.name JOIN people c ON \
     b.boss = c.name ORDER BY 1",
        &["ann | cid", "dan | bob"],
    ),
    (
        "SELECT p.name, c.country FROM people p FULL JOIN cities c ON p.city = c.city ORDER BY \
     1 NULLS LAST",
        &["ann | FR", "bob | IT", "cid | NULL", "dan | NO"],
    ),
];

/// Several stores, and stores through others.
pub(super) const SEVERAL: &[Case] = &[
    (
        "SELECT n, age, c.country FROM o JOIN people p ON who = name JOIN cities c ON p.city = \
     c.city ORDER BY n",
        &["1 | 30 | FR", "2 | NULL | IT", "4 | 30 | FR", "6 | NULL | IT"],
    ),
    (
        "SELECT n, age, c.country FROM o LEFT JOIN people p ON who = name LEFT JOIN cities c ON \
     p.city = c.city ORDER BY n",
        &[
            "1 | 30 | FR",
            "2 | NULL | IT",
            "3 | NULL | NULL",
            "4 | 30 | FR",
            "5 | NULL | NULL",
            "6 | NULL | IT",
        ],
    ),
    (
        "SELECT n, b.name, b.age FROM o LEFT JOIN people p ON who = p.name LEFT JOIN people b \
     ON p.boss = b.name ORDER BY n",
        &[
            "1 | bob | NULL",
            "2 | cid | 41",
            "3 | NULL | NULL",
            "4 | bob | NULL",
            "5 | NULL | NULL",
            "6 | cid | 41",
        ],
    ),
    (
        "SELECT n, stars, age FROM o LEFT JOIN reviews r ON o.item = r.item LEFT JOIN people ON \
     by_whom = name ORDER BY n, stars NULLS LAST",
        &[
            "1 | 3 | NULL",
            "1 | 5 | 30",
            "1 | NULL | NULL",
            "2 | 1 | 41",
            "3 | 3 | NULL",
            "3 | 5 | 30",
            "3 | NULL | NULL",
            "4 | NULL | NULL",
            "5 | NULL | NULL",
            "6 | 3 | NULL",
            "6 | 5 | 30",
            "6 | NULL | NULL",
        ],
    ),
    (
        "SELECT n, stars, age FROM o JOIN reviews r ON o.item = r.item JOIN people ON who = \
     name ORDER BY n, stars NULLS LAST",
        &[
            "1 | 3 | 30",
            "1 | 5 | 30",
            "1 | NULL | 30",
            "2 | 1 | NULL",
            "6 | 3 | NULL",
            "6 | 5 | NULL",
            "6 | NULL | NULL",
        ],
    ),
    (
        "SELECT n, age, stars FROM o LEFT JOIN people ON who = name JOIN reviews r ON o.item = \
     r.item AND r.stars > 1 ORDER BY n, stars",
        &[
            "1 | 30 | 3",
            "1 | 30 | 5",
            "3 | NULL | 3",
            "3 | NULL | 5",
            "6 | NULL | 3",
            "6 | NULL | 5",
        ],
    ),
    (
        "SELECT n, c.country FROM o JOIN (people p JOIN cities c ON p.city = c.city) ON who = \
     name ORDER BY n",
        &["1 | FR", "2 | IT", "4 | FR", "6 | IT"],
    ),
    (
        "SELECT n, p.name, q.name FROM o LEFT JOIN people p ON who = p.name LEFT JOIN people q \
     ON coalesce(p.boss, 'dan') = q.name ORDER BY n",
        &[
            "1 | ann | bob",
            "2 | bob | cid",
            "3 | NULL | dan",
            "4 | ann | bob",
            "5 | NULL | dan",
            "6 | bob | cid",
        ],
    ),
    (
        "SELECT n, country FROM o LEFT JOIN people p ON who = name JOIN cities c ON \
     coalesce(p.city, 'oslo') = c.city ORDER BY n",
        &["1 | FR", "2 | IT", "3 | NO", "4 | FR", "5 | NO", "6 | IT"],
    ),
];

/// Keys of several columns, all of them and some.
pub(super) const SEVERAL_COLUMNS: &[Case] = &[
    (
        "SELECT n, price FROM o JOIN people ON who = name JOIN prices p ON p.item = o.item AND \
     p.city = people.city ORDER BY n",
        &["1 | 3", "2 | 2", "6 | 4"],
    ),
    (
        "SELECT n, price FROM o LEFT JOIN prices p ON p.city = 'rome' AND p.item = o.item ORDER \
     BY n",
        &["1 | 4", "2 | 2", "3 | 4", "4 | NULL", "5 | NULL", "6 | 4"],
    ),
    (
        "SELECT n, price FROM o LEFT JOIN people ON who = name LEFT JOIN prices p ON p.item = \
     o.item AND p.city = people.city ORDER BY n",
        &["1 | 3", "2 | 2", "3 | NULL", "4 | NULL", "5 | NULL", "6 | 4"],
    ),
    (
        "SELECT n, price FROM o LEFT JOIN prices p ON p.item = o.item AND p.city = 'paris' AND \
     price < qty ORDER BY n",
        &["1 | NULL", "2 | NULL", "3 | 3", "4 | NULL", "5 | NULL", "6 | 3"],
    ),
    (
        "SELECT n, price FROM o JOIN prices p ON p.item = o.item WHERE n < 3 ORDER BY n, price",
        &["1 | 3", "1 | 4", "2 | 1", "2 | 2"],
    ),
    (
        "SELECT n FROM o WHERE EXISTS (SELECT 1 FROM prices p WHERE p.item = o.item AND p.city \
     = 'paris' AND p.price < 3) ORDER BY n",
        &["2"],
    ),
    (
        "SELECT price FROM prices WHERE item = 'tea' AND city IN ('rome', 'paris', 'oslo') \
     ORDER BY price",
        &["3", "4"],
    ),
    (
        "SELECT price FROM prices WHERE item IN ('tea', 'milk') AND city = 'rome' ORDER BY \
     price",
        &["2", "4"],
    ),
];
