//! The one column that USING and NATURAL make of two.

use super::Case;

/// Where a row may stand on one side alone.
pub(super) const OUTER: &[Case] = &[
    (
        "SELECT item, count(n), count(*) FROM o RIGHT JOIN reviews USING (item) GROUP BY item \
     ORDER BY item NULLS LAST",
        &["milk | 1 | 1", "rice | 0 | 1", "tea | 9 | 9", "NULL | 0 | 1"],
    ),
    (
        "SELECT item, count(n), count(stars) FROM o FULL JOIN reviews USING (item) GROUP BY item \
     ORDER BY item NULLS LAST",
        &["milk | 1 | 1", "rice | 0 | 1", "salt | 1 | 0", "tea | 9 | 6", "NULL | 1 | 1"],
    ),
    (
        "SELECT * FROM reviews LEFT JOIN o USING (item) WHERE stars < 3 ORDER BY stars",
        &["milk | 1 | cid | 2 | bob | 1", "rice | 2 | ann | NULL | NULL | NULL"],
    ),
    (
        "SELECT * FROM o RIGHT JOIN reviews USING (item) WHERE stars < 3 ORDER BY item",
        &["2 | bob | milk | 1 | 1 | cid", "NULL | NULL | rice | NULL | 2 | ann"],
    ),
    (
        "SELECT * REPLACE (item || '!' AS item) FROM o RIGHT JOIN reviews USING (item) WHERE stars \
     < 3 ORDER BY stars",
        &["2 | bob | milk! | 1 | 1 | cid", "NULL | NULL | rice! | NULL | 2 | ann"],
    ),
    (
        "SELECT * EXCLUDE (item) FROM o RIGHT JOIN reviews USING (item) WHERE stars < 3 ORDER BY \
     stars",
        &["2 | bob | 1 | 1 | cid", "NULL | NULL | NULL | 2 | ann"],
    ),
    (
        "SELECT DISTINCT ON (item) item, n FROM o RIGHT JOIN reviews USING (item) ORDER BY item \
     NULLS LAST, n",
        &["milk | 2", "rice | NULL", "tea | 1", "NULL | NULL"],
    ),
    (
        "SELECT item, count(n) FROM o RIGHT JOIN reviews USING (item) GROUP BY item ORDER BY \
     max(item) DESC NULLS LAST",
        &["tea | 9", "rice | 0", "milk | 1", "NULL | 0"],
    ),
    (
        "SELECT * FROM (SELECT item, n FROM o WHERE n > 3) FULL JOIN (SELECT item, stars FROM \
     reviews WHERE stars < 3) USING (item) ORDER BY item NULLS LAST",
        &[
            "milk | NULL | 1",
            "rice | NULL | 2",
            "salt | 5 | NULL",
            "tea | 6 | NULL",
            "NULL | 4 | NULL",
        ],
    ),
    (
        "SELECT item, n, stars, price FROM (SELECT * FROM o WHERE n > 4) a FULL JOIN (SELECT * \
     FROM reviews WHERE stars < 3) b USING (item) LEFT JOIN (SELECT item, price FROM prices WHERE \
     city = 'rome') c USING (item) ORDER BY item",
        &[
            "milk | NULL | 1 | 2",
            "rice | NULL | 2 | NULL",
            "salt | 5 | NULL | NULL",
            "tea | 6 | NULL | 4",
        ],
    ),
];

/// Its place among the columns, and what its name means.
pub(super) const PLACE: &[Case] = &[
    (
        "SELECT * FROM prices JOIN cities USING (city) ORDER BY item, city",
        &[
            "milk | paris | 1 | FR",
            "milk | rome | 2 | IT",
            "tea | paris | 3 | FR",
            "tea | rome | 4 | IT",
        ],
    ),
    (
        "SELECT * EXCLUDE (price) FROM prices JOIN cities USING (city) ORDER BY item, city",
        &["milk | paris | FR", "milk | rome | IT", "tea | paris | FR", "tea | rome | IT"],
    ),
    (
        "SELECT * FROM prices NATURAL JOIN cities WHERE price > 2 ORDER BY price",
        &["tea | paris | 3 | FR", "tea | rome | 4 | IT"],
    ),
    (
        "SELECT * FROM reviews JOIN o USING (item) WHERE item = 'milk'",
        &["milk | 1 | cid | 2 | bob | 1"],
    ),
    (
        "SELECT * FROM o JOIN reviews USING (item) JOIN (SELECT item, price FROM prices WHERE city \
     = 'rome') p USING (item) WHERE stars < 4 ORDER BY n",
        &[
            "1 | ann | tea | 2 | 3 | bob | 4",
            "2 | bob | milk | 1 | 1 | cid | 2",
            "3 | NULL | tea | 5 | 3 | bob | 4",
            "6 | bob | tea | 7 | 3 | bob | 4",
        ],
    ),
    (
        "SELECT n, stars FROM o JOIN reviews USING (item) WHERE item NOT IN (SELECT item FROM \
     prices WHERE price > 2) ORDER BY n",
        &["2 | 1"],
    ),
    (
        "SELECT n, stars FROM o LEFT JOIN reviews USING (item) WHERE item NOT IN (SELECT item FROM \
     prices WHERE price > 2) ORDER BY n",
        &["2 | 1", "5 | NULL"],
    ),
    (
        "SELECT n, stars FROM o JOIN reviews USING (item) WHERE EXISTS (SELECT 1 FROM (SELECT \
     'milk' AS wanted) w WHERE wanted = item)",
        &["2 | 1"],
    ),
    (
        "SELECT item, count(*) FROM o JOIN reviews USING (item) JOIN prices USING (item) GROUP BY \
     item HAVING item > 'n' ORDER BY item",
        &["tea | 18"],
    ),
    (
        "SELECT DISTINCT item, count(*) OVER (PARTITION BY item) FROM o JOIN reviews USING (item) \
     JOIN prices USING (item) ORDER BY item",
        &["milk | 2", "tea | 18"],
    ),
    (
        "SELECT n, stars FROM o JOIN reviews USING (item) JOIN prices USING (item) QUALIFY \
     row_number() OVER (PARTITION BY item ORDER BY n, stars) = 1 ORDER BY n",
        &["1 | 3", "2 | 1"],
    ),
    (
        "SELECT max(n) AS item FROM o JOIN reviews USING (item) GROUP BY item HAVING item > 'n'",
        &["6"],
    ),
    (
        "SELECT item, n, stars FROM (SELECT item, n FROM o WHERE n > 4) a NATURAL FULL JOIN \
     (SELECT item, stars FROM reviews WHERE stars < 3) b ORDER BY item",
        &["milk | NULL | 1", "rice | NULL | 2", "salt | 5 | NULL", "tea | 6 | NULL"],
    ),
    (
        "SELECT * FROM prices JOIN cities USING (city) FULL JOIN (SELECT item, stars FROM reviews \
     WHERE stars < 3) r USING (item) WHERE price > 2 OR stars > 1 ORDER BY price NULLS LAST",
        &[
            "tea | paris | 3 | FR | NULL",
            "tea | rome | 4 | IT | NULL",
            "rice | NULL | NULL | NULL | 2",
        ],
    ),
    (
        "SELECT r.* FROM o RIGHT JOIN reviews r USING (item) WHERE stars < 3 ORDER BY item",
        &["milk | 1 | cid", "rice | 2 | ann"],
    ),
];
